"""What the calls behind a verdict must be: calls in, a sentence on what contradicts out.

A verdict is the mean over its calls. One that its own calls contradict is worth nothing, whoever
reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from immune_data.contract.agreement import Call

_NEARLY = 0.01  # a mean may be written with two decimals


def broken(task: str, calls: Sequence[Call]) -> str | None:
    """Why a call does not hold together; None if all do."""
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


def contradicted(task: str, scores: Mapping[str, float], calls: Sequence[Call]) -> str | None:
    """Why a verdict's scores are not the means over its calls; None if they are, or it has none."""
    if not calls:
        return None
    said: dict[str, list[float]] = {}
    for call in calls:
        for name, score in call.scores.items():
            said.setdefault(name, []).append(score)
    for name in sorted(said.keys() | scores.keys()):
        if name not in scores:
            return f"calls have {task} scores for {name}, and the verdict has none"
        if name not in said:
            return f"the verdict has a {task} score for {name}, and no call has"
        mean = sum(said[name]) / len(said[name])
        if abs(mean - scores[name]) > _NEARLY:
            return (
                f"the {task} score of {name} is {scores[name]:g}, and the mean of its calls "
                f"{mean:g}"
            )
    return None
