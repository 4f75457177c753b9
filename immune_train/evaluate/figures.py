"""An evaluation as pictures: points and their intervals, each task's scores, shares and costs."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from immune_data.common.drawing import GRID, KEPT, LOST, MUTED, OTHER, Drawing, Key, draw
from immune_data.common.text import one_line
from immune_data.prompts import TASKS
from immune_train.evaluate import phrases
from immune_train.evaluate.evaluation import Evaluation
from immune_train.evaluate.incidents import ALL
from immune_train.evaluate.resampling import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_KINDS = {"model": KEPT, "reference": OTHER, "baseline": LOST}
_SHAPES = {"model": "o", "reference": "D", "baseline": "s"}
_TITLE = 30  # characters of a line of a panel's title
_NAME = 26  # characters of a candidate's name


@dataclass(frozen=True)
class Panel:
    """Candidates, best at the top as they are given, on one scale."""

    title: str
    axis: str
    rows: tuple[tuple[str, Estimate], ...]  # a candidate's name and its estimate
    is_share: bool = False


def drawn(of: Evaluation) -> list[Drawing]:
    """Every figure of which there is something to draw."""
    kinds = {one.name: str(one.kind) for one in of.candidates}
    made = []
    for name, title, panels in _figures(of):
        if shown := [panel for panel in panels if panel.rows]:
            made.append(
                draw(name, title, _described(shown), _legend(shown, kinds), _plot(shown, kinds))
            )
    return made


def _figures(of: Evaluation) -> Iterator[tuple[str, str, list[Panel]]]:
    for cell in of.cells:
        if cell.part != ALL:
            continue
        raw, adjusted, rates = (
            tuple(
                (one.candidate, value)
                for one in cell.standings
                if (value := getattr(one, of_what)) is not None
            )
            for of_what in ("score", "adjusted", "win_rate")
        )
        yield (
            f"scores-{cell.task}",
            f"What the judge gave: {cell.task}",
            [
                Panel("score", "points", raw),
                Panel("score at equal length", "points", adjusted),
                Panel("win rate", "share of incidents", rates, True),
            ],
        )
    for task in TASKS:
        measures = [one for one in of.measured.measures if one.task == task and one.k is not None]
        titles = {one.metric: one.title for one in measures}
        yield (
            f"measures-{task}",
            f"Measured without a judge: {task}",
            [
                Panel(
                    title,
                    "share of answers",
                    tuple(
                        (one.candidate, one.estimate)
                        for one in measures
                        if one.metric == metric and one.estimate
                    ),
                    True,
                )
                for metric, title in titles.items()
            ],
        )
    yield (
        "costs",
        "What the risk levels cost",
        [
            Panel(
                f"against the {against}",
                "points an incident",
                tuple(
                    (one.candidate, cost)
                    for one in of.levels.levels
                    if (cost := getattr(one, f"cost_by_{against}")) is not None
                ),
            )
            for against in ("category", "reference")
        ],
    )


def _described(panels: Sequence[Panel]) -> str:
    """The figure in words, with all its numbers."""
    return " ".join(
        f"{panel.title.capitalize()}: "
        + "; ".join(
            f"{name} {phrases.rate(of) if panel.is_share else phrases.estimate(of)}"
            for name, of in panel.rows
        )
        + "."
        for panel in panels
    )


def _legend(panels: Sequence[Panel], kinds: dict[str, str]) -> list[Key]:
    """The kinds of candidates that are drawn."""
    drawn = {kinds[name] for panel in panels for name, _ in panel.rows}
    return [Key(_KINDS[kind], kind, _SHAPES[kind]) for kind in _KINDS if kind in drawn]


def _plot(panels: Sequence[Panel], kinds: dict[str, str]) -> Callable[[bool], Figure]:
    def plot(narrow: bool) -> Figure:
        from matplotlib.figure import Figure

        columns = 1 if narrow else min(3, len(panels))
        lines = -(-len(panels) // columns)
        # Every panel has a row for every candidate, so that one column of names will do.
        names = list(dict.fromkeys(name for panel in panels for name, _ in panel.rows))
        rows = len(names)
        size = (3.6, lines * (0.9 + 0.22 * rows)) if narrow else (8.8, lines * (0.9 + 0.22 * rows))
        figure = Figure(figsize=size)
        grid = figure.subplots(lines, columns, squeeze=False)
        for place, axes in enumerate(grid.flat):
            if place < len(panels):
                _panel(axes, panels[place], names, kinds, named=narrow or place % columns == 0)
            else:
                axes.set_axis_off()
        return figure

    return plot


def _panel(
    axes: Axes, panel: Panel, names: Sequence[str], kinds: dict[str, str], *, named: bool
) -> None:
    for name, of in panel.rows:
        y, colour, shape = names.index(name), _KINDS[kinds[name]], _SHAPES[kinds[name]]
        axes.plot([of.low, of.high], [y, y], color=colour, linewidth=1.6, zorder=2)
        axes.plot([of.value], [y], marker=shape, color=colour, markersize=4.5, zorder=3)
    shown = [one_line(name, _NAME) if named else "" for name in names]
    axes.set_yticks(range(len(names)), shown)
    axes.set_ylim(len(names) - 0.5, -0.5)
    if panel.is_share:
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_title(textwrap.fill(panel.title, _TITLE))
    axes.set_xlabel(panel.axis, color=MUTED)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
