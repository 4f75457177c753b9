"""Scores as people read them: a table a task, a row for each metric, a column for each model."""

from __future__ import annotations

from collections.abc import Sequence

from immune_data.common import table
from immune_data.prompts import TASKS
from immune_train.score.metrics import METRICS, Metric, Score


def show(scores: list[Score], models: Sequence[str]) -> None:
    """Print a table for each task, a row for each metric and a column for each model."""
    of = {metric.name: metric for metric in METRICS}
    found = {(one.task, one.metric, one.model): one for one in scores}
    for task in TASKS:
        rows = [
            [of[name].title, *(_cell(found.get((task, name, model)), of[name]) for model in models)]
            for name in dict.fromkeys(one.metric for one in scores if one.task == task)
        ]
        if any(one.n for one in scores if one.task == task):
            table.show(task, ("", *models), rows)


def _cell(one: Score | None, metric: Metric) -> str:
    """A value, its interval, and the number of answers that it is of."""
    if one is None:
        return "–"
    if one.value is None:
        return f"– n={one.n}"
    if metric.is_share:
        return f"{_share(one.value)} ({one.low:.0%}–{one.high:.0%}) n={one.n}"
    digits = 0 if metric.name == "tokens" else 2
    return f"{one.value:.{digits}f} ({one.low:.{digits}f}–{one.high:.{digits}f}) n={one.n}"


def _share(value: float) -> str:
    """A share in per cent; only all of them are 100 %, and only none are 0 %."""
    return f"{value:.0%}" if value in (0, 1) or 0.005 <= value < 0.995 else f"{value:.1%}"
