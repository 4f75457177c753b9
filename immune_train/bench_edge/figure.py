"""A summary as a picture: ratios and seconds and steps in, SVG or PNG out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from immune_data.common.text import one_line
from immune_train.bench_edge.summary import Compared, Means, Summary
from immune_train.score import figure as drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINT, _PAIR, _READ, _WRITE, _FLOOR = "#0072b2", "#56b4e9", "#e69f00", "#0072b2", "#000000"
_NAME = 40  # characters of a model's name


def write(summary: Summary, path: Path) -> None:
    """Draw it to a file; the same summary gives the same bytes."""
    with drawing.styled():
        made = _drawn(summary)
        drawing.save(made, path)


def _drawn(of: Summary) -> Figure:
    from matplotlib.figure import Figure

    run = of.run
    rows = len(of.comparisons) + 2 * len(of.sides)
    made = Figure(figsize=(8.6, 0.3 * rows + 3.6), layout="constrained")
    made.suptitle(
        f"{one_line(run.model, _NAME)}, {run.threads} threads of {one_line(run.processor, _NAME)}",
        fontsize=10,
        fontweight="bold",
    )
    heights = [max(1, len(some)) for some in (of.comparisons, of.sides, of.sides)]
    ratios, seconds, steps = made.subplots(3, 1, height_ratios=[one + 1 for one in heights])
    _ratios(ratios, of.comparisons)
    _seconds(seconds, of.sides)
    _steps(steps, of.sides)
    return made


def _ratios(axes: Axes, comparisons: list[Compared]) -> None:
    drawing.title(axes, "Seconds of an incident, with and without")
    axes.axvline(1, color=_FLOOR, linewidth=0.8)
    for y, one in enumerate(comparisons):
        axes.plot(
            one.ratios,
            [y] * one.pairs,
            *("|",),
            color=_PAIR,
            markersize=7,
            label="a pair" if y == 0 else None,
        )
        axes.plot([one.median.low, one.median.high], [y, y], color=_POINT, linewidth=2)
        axes.plot(
            [one.median.value],
            [y],
            "o",
            color=_POINT,
            markersize=4.5,
            label="median of the pairs, 95 % bootstrap" if y == 0 else None,
        )
    axes.set_xscale("log")
    ticks = _ticks([ratio for one in comparisons for ratio in one.ratios])
    axes.set_xticks(ticks, [f"{tick:g}×" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("seconds with it ÷ seconds without it, in the same round (logarithmic)")
    _rows(axes, [f"{one.title} ({one.pairs})" for one in comparisons])


def _ticks(ratios: list[float]) -> list[float]:
    """Round numbers around the ratios."""
    low, high = min([1.0, *ratios]), max([1.0, *ratios])
    near = (0.9, 0.95, 1.0, 1.05, 1.1)
    far = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
    return [one for one in (near if low >= 0.9 and high <= 1.1 else far) if one <= 1.0 or high > 1]


def _seconds(axes: Axes, sides: list[Means]) -> None:
    drawing.title(axes, "Seconds of an incident's three tasks")
    names = [one.side for one in sides]
    reading = [one.read_seconds for one in sides]
    places = range(len(sides))
    axes.barh(places, reading, height=0.6, color=_READ, label="reading the prompts")
    axes.barh(
        places,
        [one.write_seconds for one in sides],
        height=0.6,
        left=reading,
        color=_WRITE,
        label="writing the answers",
    )
    axes.set_xlabel("seconds, mean of incidents")
    _rows(axes, names)


def _steps(axes: Axes, sides: list[Means]) -> None:
    drawing.title(axes, "A decoding step, and the least that it can take")
    axes.barh(
        range(len(sides)),
        [one.step_seconds * 1000 for one in sides],
        height=0.6,
        color=_WRITE,
        label="a step, mean",
    )
    if sides:
        axes.axvline(
            sides[0].floor_seconds * 1000,
            color=_FLOOR,
            linestyle="--",
            linewidth=1.2,
            label="floor: weights ÷ memory bandwidth",
        )
    axes.set_xlabel("milliseconds")
    _rows(axes, [one.side for one in sides])


def _rows(axes: Axes, names: list[str]) -> None:
    """A row for each name, the first at the top, and what the colours mean beside them."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(max(1, len(names)) - 0.5, -0.5)
    axes.grid(axis="x", color=drawing.GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    if names:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
