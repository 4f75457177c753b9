"""A summary as a picture: ratios, seconds and decoding steps in, SVG or PNG out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from immune_data.common.errors import ImmuneError
from immune_data.common.text import counted, one_line
from immune_train.bench_edge.summary import PairedResult, SideMeans, Summary
from immune_train.score import figure as drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINT, _PAIR, _READING, _WRITING, _LIMIT = "#0072b2", "#56b4e9", "#e69f00", "#0072b2", "#000000"
_NAME = 40  # characters of a model's and of a processor's name
# Where a logarithmic axis is marked, if it comes so far.
_MARKS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0)
_MARGIN = 1.04  # of that axis


def check(path: Path) -> None:
    """Said before anything is measured, not after.

    Raises:
        ImmuneError: its name does not say which kind of picture it is to be.
    """
    if path.suffix not in drawing.SUFFIXES:
        ends = " or ".join(drawing.SUFFIXES)
        raise ImmuneError(f"--figure {path}: name a file that ends in {ends}")


def write(summary: Summary, path: Path) -> None:
    """Draw it to a file; the same summary gives the same bytes."""
    with drawing.styled():
        drawing.save(_drawn(summary), path)


def _drawn(of: Summary) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    run = of.run
    height = 0.27 * (len(of.comparisons) + len(of.sides)) + 2.6
    layout = ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.08)
    figure = Figure(figsize=(8.6, height), layout=layout)
    figure.suptitle(
        f"{one_line(run.model, _NAME)} on {counted(run.threads, 'thread')} of"
        f" {one_line(run.processor, _NAME)}",
        fontsize=10,
        fontweight="bold",
    )
    grid = figure.add_gridspec(
        2, 2, height_ratios=[max(1, len(of.comparisons)) + 1, max(1, len(of.sides)) + 1]
    )
    ratios, seconds, steps = (
        figure.add_subplot(place) for place in (grid[0, :], grid[1, 0], grid[1, 1])
    )
    _ratios(ratios, of.comparisons)
    _seconds(seconds, of.sides)
    _steps(steps, of.sides)
    return figure


def _ratios(axes: Axes, comparisons: Sequence[PairedResult]) -> None:
    drawing.title(axes, "Seconds an incident takes with it, as a multiple of those without it")
    axes.axvline(1, color=_LIMIT, linewidth=0.8)
    for y, one in enumerate(comparisons):
        named = y == 0
        axes.plot(
            *(one.ratios, [y] * one.pairs),
            linestyle="none",
            marker="|",
            color=_PAIR,
            markersize=8,
            label="a pair: the same incident, the same round" if named else None,
        )
        axes.plot([one.median.low, one.median.high], [y, y], color=_POINT, linewidth=2)
        axes.plot(
            *([one.median.value], [y]),
            linestyle="none",
            marker="o",
            color=_POINT,
            markersize=5,
            label="median of the pairs, with its 95% bootstrap interval" if named else None,
        )
    ratios = [1.0, *(ratio for one in comparisons for ratio in one.ratios)]
    low, high = min(ratios) / _MARGIN, max(ratios) * _MARGIN
    marks = [mark for mark in _MARKS if low <= mark <= high]
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_xticks(marks, [f"{mark:g}×" for mark in marks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("logarithmic; left of 1 is faster")
    _rows(axes, [f"{one.title} ({counted(one.pairs, 'pair')})" for one in comparisons])
    _legend(axes, 2)


def _seconds(axes: Axes, sides: Sequence[SideMeans]) -> None:
    drawing.title(axes, "Seconds of an incident's three tasks")
    reading = [one.read_seconds for one in sides]
    writing = [one.write_seconds for one in sides]
    places = range(len(sides))
    axes.barh(places, reading, height=0.6, color=_READING, label="reading prompts")
    axes.barh(places, writing, height=0.6, left=reading, color=_WRITING, label="writing answers")
    axes.set_xlabel("seconds, means of incidents")
    _rows(axes, [one.side for one in sides])
    _legend(axes, 2)


def _steps(axes: Axes, sides: Sequence[SideMeans]) -> None:
    drawing.title(axes, "A decoding step beside its floor")
    steps = [one.step_seconds * 1000 for one in sides]
    axes.barh(range(len(sides)), steps, height=0.6, color=_WRITING, label="a step")
    if sides:
        axes.axvline(
            sides[0].floor_seconds * 1000,
            color=_LIMIT,
            linestyle="--",
            linewidth=1.2,
            label="weights ÷ memory bandwidth",
        )
    axes.set_xlabel("milliseconds, means")
    _rows(axes, [""] * len(sides))
    _legend(axes, 2)


def _rows(axes: Axes, names: Sequence[str]) -> None:
    """A row for each name, the first at the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(max(1, len(names)) - 0.5, -0.5)
    axes.grid(axis="x", color=drawing.GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)


def _legend(axes: Axes, columns: int) -> None:
    """What is drawn how, under the axis."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(0, -0.2),
            ncols=columns,
            frameon=False,
            borderaxespad=0,
            handlelength=1.4,
        )
