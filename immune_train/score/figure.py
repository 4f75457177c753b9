"""Scores as a picture: a point and its interval for each model and metric in, SVG or PNG out."""

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

# Okabe and Ito's colours that stand out on white; each model has a shape of its own too.
_COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_SHAPES = ("D", "o", "s", "^", "v", "P", "X")
_INK, _MUTED, GRID = "#1d2630", "#55606d", "#d5dbe1"


def draw(scores: list[Score], models: Sequence[str]) -> Figure:
    """The shares, and the lengths, of every model: a point and its interval each."""
    of = {metric.name: metric for metric in METRICS}
    with styled():
        from matplotlib.figure import Figure

        shares = [
            [one for one in scores if one.task == task and of[one.metric].is_share]
            for task in TASKS
        ]
        heights = [len({one.metric for one in some}) for some in shares]
        each = 0.19 * len(models) + 0.22
        figure = Figure(figsize=(8.6, each * sum(heights) + 1.7), layout="constrained")
        grid = figure.subplots(
            3, 2, width_ratios=(3, 1.3), height_ratios=[max(1, height) for height in heights]
        )
        for task, row, some in zip(TASKS, grid, shares, strict=True):
            lengths = [one for one in scores if one.task == task and one.metric == "tokens"]
            for axes, shown in zip(row, (some, lengths), strict=True):
                panel(axes, shown, models, {name: metric.title for name, metric in of.items()})
            row[0].set_xlim(-0.02, 1.02)
            row[0].xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
            title(row[0], task)
            row[1].set_xlim(left=0)
            row[1].set_yticks([])
        grid[2][0].set_xlabel("share of answers, with Wilson's 95 % interval")
        grid[2][1].set_xlabel("mean tokens, 95 % bootstrap")
        legend(figure, grid[0][0], len(models))
    return figure


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib with our letters and colours, whatever its user has set."""
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
    """Which model has which colour and shape, above all panels."""
    handles, labels = axes.get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    figure.legend(
        named.values(),
        named.keys(),
        loc="outside upper left",
        ncols=min(4, models),
        frameon=False,
    )


def panel(
    axes: Axes, scores: list[Score], models: Sequence[str], titles: Mapping[str, str]
) -> None:
    """A point and its interval for each score, in a row for each metric."""
    names = list(dict.fromkeys(one.metric for one in scores))
    step = 0.8 / max(1, len(models))
    for one in scores:
        if one.value is None or one.low is None or one.high is None:
            continue
        i = models.index(one.model)
        y = names.index(one.metric) + (i - (len(models) - 1) / 2) * step
        colour, shape = _COLOURS[i % len(_COLOURS)], _SHAPES[i % len(_SHAPES)]
        axes.plot([one.low, one.high], [y, y], color=colour, linewidth=1.4, zorder=2)
        axes.plot(
            [one.value],
            [y],
            marker=shape,
            color=colour,
            markersize=5,
            linestyle="none",
            label=one.model,
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
    """Write the picture; the same scores give the same bytes."""
    mpl = plotting.library()
    image = io.BytesIO()
    kind = path.suffix.removeprefix(".")
    metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[kind]
    with mpl.rc_context({"svg.hashsalt": "immune-scores", "svg.fonttype": "none"}):
        figure.savefig(image, format=kind, dpi=160, metadata=metadata, facecolor="#ffffff")
    with files.replacing(path) as beside:
        beside.write_bytes(image.getvalue())
