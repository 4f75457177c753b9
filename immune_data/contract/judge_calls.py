"""Check the calls behind a verdict: calls and scores in, a sentence on what is wrong out.

A verdict is the mean over its calls. One that its own calls contradict is worthless to any reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from immune_data.contract.agreement import Call

_TOLERANCE = 0.01  # a mean may be written with two decimals


def inconsistency(task: str, calls: Sequence[Call]) -> str | None:
    """Why a call contradicts itself; None if none does."""
    for number, call in enumerate(calls, start=1):
        for place, name in enumerate(call.order):
            if name in call.order[:place]:
                return f"call {number} shows {name} twice"
            if name not in call.scores:
                return f"call {number} shows {name}, and has no {task} score for it"
        for name in call.scores:
            if name not in call.order:
                return f"call {number} has a {task} score for {name}, and does not show it"
    return None


def contradiction(task: str, scores: Mapping[str, float], calls: Sequence[Call]) -> str | None:
    """Why a verdict's scores are not the means over its calls; None if they are or it has none."""
    if not calls:
        return None
    scores_by_name: dict[str, list[float]] = {}
    for call in calls:
        for name, score in call.scores.items():
            scores_by_name.setdefault(name, []).append(score)
    for name in sorted(scores_by_name.keys() | scores.keys()):
        if name not in scores:
            return f"calls have {task} scores for {name}, and the verdict has none"
        if name not in scores_by_name:
            return f"the verdict has a {task} score for {name}, and no call has"
        mean = sum(scores_by_name[name]) / len(scores_by_name[name])
        if abs(mean - scores[name]) > _TOLERANCE:
            return (
                f"the {task} score of {name} is {scores[name]:g}, and the mean of its calls "
                f"{mean:g}"
            )
    return None
