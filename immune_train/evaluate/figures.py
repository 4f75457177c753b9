"""An evaluation as figures: points with intervals for each task's scores, shares and costs."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from immune_data.common.drawing import GRID, KEPT, LOST, MUTED, OTHER, Drawing, Key
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
    """Candidates on one scale, in the given order, the best at the top."""

    title: str
    axis: str
    rows: tuple[tuple[str, Estimate], ...]  # a candidate's name and its estimate
    is_share: bool = False


def drawings(evaluation: Evaluation) -> list[Drawing]:
    """Every figure that has something to draw."""
    kinds = {candidate.name: str(candidate.kind) for candidate in evaluation.candidates}
    drawings = []
    for name, title, panels in _figures(evaluation):
        if filled := [panel for panel in panels if panel.rows]:
            drawings.append(
                Drawing(
                    name,
                    title,
                    _description(filled),
                    tuple(_legend(filled, kinds)),
                    _plot(filled, kinds),
                )
            )
    return drawings


def _figures(evaluation: Evaluation) -> Iterator[tuple[str, str, list[Panel]]]:
    for cell in evaluation.cells:
        if cell.part != ALL:
            continue
        raw, adjusted, rates = (
            tuple(
                (standing.candidate, value)
                for standing in cell.standings
                if (value := getattr(standing, field)) is not None
            )
            for field in ("score", "adjusted", "win_rate")
        )
        yield (
            f"scores-{cell.task}",
            f"The judge's scores: {cell.task}",
            [
                Panel("score", "points", raw),
                Panel("score at equal length", "points", adjusted),
                Panel("win rate", "share of incidents", rates, True),
            ],
        )
    for task in TASKS:
        measures = [
            measure
            for measure in evaluation.measured.measures
            if measure.task == task and measure.k is not None
        ]
        titles = {measure.metric: measure.title for measure in measures}
        yield (
            f"measures-{task}",
            f"Measured without a judge: {task}",
            [
                Panel(
                    title,
                    "share of answers",
                    tuple(
                        (measure.candidate, measure.estimate)
                        for measure in measures
                        if measure.metric == metric and measure.estimate
                    ),
                    True,
                )
                for metric, title in titles.items()
            ],
        )
    yield (
        "costs",
        "The cost of risk levels",
        [
            Panel(
                f"compared with the {against}",
                "points per incident",
                tuple(
                    (level.candidate, cost)
                    for level in evaluation.levels.levels
                    if (cost := getattr(level, f"cost_by_{against}")) is not None
                ),
            )
            for against in ("category", "reference")
        ],
    )


def _description(panels: Sequence[Panel]) -> str:
    """A description of the figure, with all its numbers."""
    return " ".join(
        f"{panel.title.capitalize()}: "
        + "; ".join(
            f"{name} {phrases.rate(value) if panel.is_share else phrases.estimate(value)}"
            for name, value in panel.rows
        )
        + "."
        for panel in panels
    )


def _legend(panels: Sequence[Panel], kinds: dict[str, str]) -> list[Key]:
    """The kinds of candidates that are drawn."""
    visible = {kinds[name] for panel in panels for name, _ in panel.rows}
    return [Key(_KINDS[kind], kind, _SHAPES[kind]) for kind in _KINDS if kind in visible]


def _plot(panels: Sequence[Panel], kinds: dict[str, str]) -> Callable[[bool], Figure]:
    def plot(narrow: bool) -> Figure:
        from matplotlib.figure import Figure

        columns = 1 if narrow else min(3, len(panels))
        lines = -(-len(panels) // columns)
        # Every panel has a row for every candidate, so one column of names is enough.
        names = list(dict.fromkeys(name for panel in panels for name, _ in panel.rows))
        rows = len(names)
        size = (3.6, lines * (0.9 + 0.22 * rows)) if narrow else (8.8, lines * (0.9 + 0.22 * rows))
        figure = Figure(figsize=size)
        grid = figure.subplots(lines, columns, squeeze=False)
        for place, axes in enumerate(grid.flat):
            if place < len(panels):
                _panel(axes, panels[place], names, kinds, with_names=narrow or place % columns == 0)
            else:
                axes.set_axis_off()
        return figure

    return plot


def _panel(
    axes: Axes, panel: Panel, names: Sequence[str], kinds: dict[str, str], *, with_names: bool
) -> None:
    for name, estimate in panel.rows:
        y, colour, shape = names.index(name), _KINDS[kinds[name]], _SHAPES[kinds[name]]
        axes.plot([estimate.low, estimate.high], [y, y], color=colour, linewidth=1.6, zorder=2)
        axes.plot([estimate.value], [y], marker=shape, color=colour, markersize=4.5, zorder=3)
    labels = [one_line(name, _NAME) if with_names else "" for name in names]
    axes.set_yticks(range(len(names)), labels)
    axes.set_ylim(len(names) - 0.5, -0.5)
    if panel.is_share:
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_title(textwrap.fill(panel.title, _TITLE))
    axes.set_xlabel(panel.axis, color=MUTED)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
