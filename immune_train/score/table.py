"""Scores as text: one table per task, with a row for each metric and a column for each model."""

from __future__ import annotations

from collections.abc import Sequence

from immune_data.common import table
from immune_data.prompts import TASKS
from immune_train.score.metrics import METRICS, Metric, Score


def show(scores: list[Score], models: Sequence[str]) -> None:
    """Print a table for each task, a row for each metric and a column for each model."""
    metrics = {metric.name: metric for metric in METRICS}
    by_key = {(score.task, score.metric, score.model): score for score in scores}
    for task in TASKS:
        rows = [
            [
                metrics[name].title,
                *(_cell(by_key.get((task, name, model)), metrics[name]) for model in models),
            ]
            for name in dict.fromkeys(score.metric for score in scores if score.task == task)
        ]
        if any(score.n for score in scores if score.task == task):
            table.show(task, ("", *models), rows)


def _cell(score: Score | None, metric: Metric) -> str:
    """A value, its interval, and the number of answers that it is computed from."""
    if score is None:
        return "–"
    if score.value is None:
        return f"– n={score.n}"
    if metric.is_share:
        return f"{_share(score.value)} ({score.low:.0%}–{score.high:.0%}) n={score.n}"
    digits = 0 if metric.name == "tokens" else 2
    return f"{score.value:.{digits}f} ({score.low:.{digits}f}–{score.high:.{digits}f}) n={score.n}"


def _share(value: float) -> str:
    """A share in per cent, rounded so that only all of them are 100% and only none are 0%."""
    return f"{value:.0%}" if value in (0, 1) or 0.005 <= value < 0.995 else f"{value:.1%}"
