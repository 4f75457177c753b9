"""The calls behind a verdict: `calls` and `spread` of a judge's row in, rows of tables out.

A judge that was asked several times about an incident says what came of each call: the models in
the order shown, with their scores.
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
        Rejected: calls do not hold together, contradict the verdict, or a score is out of range.
    """
    calls = [Call(tuple(map(textfile.composed, call.order)), call.scores) for call in calls]
    if wrong := judge_calls.inconsistency(task, calls):
        raise _contradiction(wrong)
    rows = []
    for number, call in enumerate(calls, start=1):
        seen = set()
        for position, name in enumerate(call.order, start=1):
            score, model = call.scores[name], spellings.get(name)
            _check(task, f"score of {name} in call {number}", score)
            if model is None:
                continue
            if model in seen:
                raise _contradiction(f"call {number} shows {model} twice")
            seen.add(model)
            rows.append({"call": number, "model": model, "position": position, "score": score})
    known = [
        Call((), {spellings[name]: one for name, one in call.scores.items() if name in spellings})
        for call in calls
    ]
    if wrong := judge_calls.contradiction(task, scores, known):
        raise _contradiction(wrong)
    return rows


def spreads(
    task: str,
    spread: Mapping[str, float | None],
    rows: Sequence[Mapping[str, Any]],
    spellings: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """By model the number of the calls that scored it, and the spread of what they said.

    Raises:
        Rejected: a spread is none, or not of two calls.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        noted = found.setdefault(row["model"], {"calls": 0, "spread": None})
        noted["calls"] += 1
    for name, value in spread.items():
        model = spellings.get(name)
        if model is None or value is None:
            continue
        noted = found.get(model, {"calls": 0, "spread": None})
        if noted["calls"] < 2:
            raise _contradiction(f"{model} has a spread of {task} scores, and not two calls")
        if noted["spread"] is not None:
            raise _contradiction(f"spread has {model} twice")
        _check(task, f"spread of {name}", value)
        noted["spread"] = value
    return found


def _check(task: str, what: str, value: float) -> None:
    if not 0 <= value <= SCORE_MAX[task]:
        raise Rejected(
            "score_out_of_range", f"{task} {what} is {value}, not 0 to {SCORE_MAX[task]}"
        )


def _contradiction(what: str) -> Rejected:
    return Rejected("calls_contradict", what)
