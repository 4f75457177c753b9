"""A run's losses as a figure: the lines of `metrics.jsonl` in, `curves.svg` and `.png` out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from immune_data.common import plotting
from immune_train.artifacts import run

# Colours and marks that colour-blind readers and grey prints distinguish (Okabe and Ito, 2008).
_LINES = {
    "loss": ("train", "#999999", "-", ""),
    "eval_loss": ("eval, all tasks", "#000000", "-", "o"),
    "eval_summary_loss": ("eval, summary", "#0072B2", "--", "s"),
    "eval_cause_loss": ("eval, cause", "#D55E00", "--", "^"),
    "eval_risk_loss": ("eval, risk", "#009E73", "--", "D"),
}


def draw(folder: Path, title: str) -> None:
    """Draw the losses of the run in `folder`, next to its metrics."""
    mpl = plotting.library()
    from matplotlib.figure import Figure

    lines = run.metrics(folder)
    with mpl.rc_context({"svg.hashsalt": "immune", "font.size": 9, "svg.fonttype": "path"}):
        figure = Figure(figsize=(7, 4))
        axes = figure.subplots()
        for key, (label, colour, style, mark) in _LINES.items():
            steps, values = _points(lines, key)
            if steps:
                axes.plot(steps, values, style, color=colour, marker=mark, ms=4, label=label)
        axes.set_xlabel("optimiser step")
        axes.set_ylabel("loss per answer token (nats)")
        axes.set_title(title, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#dddddd", lw=0.6)
        if axes.lines:
            axes.legend(frameon=False)
        plotting.arrange(figure)
        for suffix in ("svg", "png"):
            temporary = folder / f".{run.CURVES}.{suffix}"
            without_clock = {"Date": None} if suffix == "svg" else {"Software": None}
            figure.savefig(temporary, dpi=160, metadata=without_clock)
            temporary.replace(folder / f"{run.CURVES}.{suffix}")


def _points(lines: Sequence[dict[str, Any]], key: str) -> tuple[list[int], list[float]]:
    points = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
    return [step for step, _ in points], [value for _, value in points]
