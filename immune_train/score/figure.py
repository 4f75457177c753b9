"""Scores as a figure: scores with intervals in, points in an SVG or PNG file out."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from immune_data.common import files, plotting
from immune_data.prompts import TASKS
from immune_train.score.metrics import METRICS, Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png")

# Okabe and Ito's colours that are visible on white; each model also has its own shape.
_COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_SHAPES = ("D", "o", "s", "^", "v", "P", "X")
_INK, _MUTED, GRID = "#1d2630", "#55606d", "#d5dbe1"


def draw(scores: list[Score], models: Sequence[str]) -> Figure:
    """The shares and lengths of every model, each a point with its interval."""
    metrics = {metric.name: metric for metric in METRICS}
    with styled():
        from matplotlib.figure import Figure

        shares = [
            [score for score in scores if score.task == task and metrics[score.metric].is_share]
            for task in TASKS
        ]
        heights = [len({score.metric for score in group}) for group in shares]
        row_height = 0.19 * len(models) + 0.22
        figure = Figure(figsize=(8.6, row_height * sum(heights) + 1.7), layout="constrained")
        grid = figure.subplots(
            3, 2, width_ratios=(3, 1.3), height_ratios=[max(1, height) for height in heights]
        )
        for task, row, group in zip(TASKS, grid, shares, strict=True):
            lengths = [score for score in scores if score.task == task and score.metric == "tokens"]
            for axes, subset in zip(row, (group, lengths), strict=True):
                panel(
                    axes, subset, models, {name: metric.title for name, metric in metrics.items()}
                )
            row[0].set_xlim(-0.02, 1.02)
            row[0].xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
            title(row[0], task)
            row[1].set_xlim(left=0)
            row[1].set_yticks([])
        grid[2][0].set_xlabel("share of answers, with Wilson's 95% interval")
        grid[2][1].set_xlabel("mean tokens, 95% bootstrap")
        legend(figure, grid[0][0], len(models))
    return figure


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib with our fonts and colours, regardless of the user's settings."""
    mpl = plotting.library()
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "font.family": ["DejaVu Sans"],
                "font.size": 8,
                "text.color": _INK,
                "axes.edgecolor": GRID,
                "axes.labelcolor": _MUTED,
                "xtick.color": _MUTED,
                "ytick.color": _INK,
            }
        )
        yield


def title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=9, fontweight="bold", color=_INK)


def legend(figure: Figure, axes: Axes, models: int) -> None:
    """The colour and shape of each model, above all panels."""
    handles, labels = axes.get_legend_handles_labels()
    by_label = dict(zip(labels, handles, strict=True))
    figure.legend(
        by_label.values(),
        by_label.keys(),
        loc="outside upper left",
        ncols=min(4, models),
        frameon=False,
    )


def panel(
    axes: Axes, scores: list[Score], models: Sequence[str], titles: Mapping[str, str]
) -> None:
    """A point and its interval for each score, in a row for each metric."""
    names = list(dict.fromkeys(score.metric for score in scores))
    step = 0.8 / max(1, len(models))
    for score in scores:
        if score.value is None or score.low is None or score.high is None:
            continue
        i = models.index(score.model)
        y = names.index(score.metric) + (i - (len(models) - 1) / 2) * step
        colour, shape = _COLOURS[i % len(_COLOURS)], _SHAPES[i % len(_SHAPES)]
        axes.plot([score.low, score.high], [y, y], color=colour, linewidth=1.4, zorder=2)
        axes.plot(
            [score.value],
            [y],
            marker=shape,
            color=colour,
            markersize=5,
            linestyle="none",
            label=score.model,
            zorder=3,
        )
    axes.set_yticks(range(len(names)), [titles[name] for name in names])
    axes.set_ylim(max(1, len(names)) - 0.5, -0.5)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)


def save(figure: Figure, path: Path) -> None:
    """Write the figure; the same scores give the same bytes."""
    mpl = plotting.library()
    image = io.BytesIO()
    kind = path.suffix.removeprefix(".")
    metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[kind]
    with mpl.rc_context({"svg.hashsalt": "immune-scores", "svg.fonttype": "none"}):
        figure.savefig(image, format=kind, dpi=160, metadata=metadata, facecolor="#ffffff")
    with files.replacing(path) as temporary:
        temporary.write_bytes(image.getvalue())
