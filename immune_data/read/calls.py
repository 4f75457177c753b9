"""The calls behind a verdict: `calls` and `spread` of a judge's row in, rows of tables out.

A judge that was asked several times about an incident lists its calls: the models in the order
shown, with their scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from immune_data.common import textfile
from immune_data.contract import judge_calls
from immune_data.contract.agreement import Call
from immune_data.read.rows import Rejected
from immune_data.recipes import SCORE_MAX


def call_rows(
    task: str,
    scores: Mapping[str, float],
    calls: Sequence[Call],
    spellings: Mapping[str, str],
) -> list[dict[str, Any]]:
    """(call, model, position, score) of each answer in each call, of declared models only.

    `scores` are those of the verdict, by canonical name.

    Raises:
        Rejected: a call contradicts itself or the verdict, or a score is out of range.
    """
    calls = [Call(tuple(map(textfile.composed, call.order)), call.scores) for call in calls]
    if contradiction := judge_calls.inconsistency(task, calls):
        raise _contradiction(contradiction)
    rows = []
    for number, call in enumerate(calls, start=1):
        models = set()
        for position, name in enumerate(call.order, start=1):
            score, model = call.scores[name], spellings.get(name)
            _check(task, f"score of {name} in call {number}", score)
            if model is None:
                continue
            if model in models:
                raise _contradiction(f"call {number} shows {model} twice")
            models.add(model)
            rows.append({"call": number, "model": model, "position": position, "score": score})
    declared_calls = [
        Call(
            (), {spellings[name]: score for name, score in call.scores.items() if name in spellings}
        )
        for call in calls
    ]
    if contradiction := judge_calls.contradiction(task, scores, declared_calls):
        raise _contradiction(contradiction)
    return rows


def spreads(
    task: str,
    spread: Mapping[str, float | None],
    rows: Sequence[Mapping[str, Any]],
    spellings: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """For each model the number of calls that scored it, and the spread of their scores.

    Raises:
        Rejected: a spread is out of range, or is not of two calls.
    """
    by_model: dict[str, dict[str, Any]] = {}
    for row in rows:
        entry = by_model.setdefault(row["model"], {"calls": 0, "spread": None})
        entry["calls"] += 1
    for name, value in spread.items():
        model = spellings.get(name)
        if model is None or value is None:
            continue
        entry = by_model.get(model, {"calls": 0, "spread": None})
        if entry["calls"] < 2:
            raise _contradiction(f"{model} has a spread of {task} scores, and not two calls")
        if entry["spread"] is not None:
            raise _contradiction(f"spread has {model} twice")
        _check(task, f"spread of {name}", value)
        entry["spread"] = value
    return by_model


def _check(task: str, name: str, value: float) -> None:
    if not 0 <= value <= SCORE_MAX[task]:
        raise Rejected(
            "score_out_of_range", f"{task} {name} is {value}, not 0 to {SCORE_MAX[task]}"
        )


def _contradiction(detail: str) -> Rejected:
    return Rejected("calls_contradict", detail)
