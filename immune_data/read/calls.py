"""The calls behind a verdict: `calls` and `spread` of a judge's row in, rows of tables out.

A judge that was asked several times about an incident says what came of each call: the models in
the order shown, with their scores. A verdict that its own calls contradict is rejected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from immune_data.common import textfile
from immune_data.read.rows import Rejected
from immune_data.recipes import SCORE_MAX

_NEARLY = 0.01  # a mean may be written with two decimals


@dataclass(frozen=True)
class Call:
    """What a judge said of one task when it was asked once, models as it spells them."""

    order: Sequence[str]
    scores: Mapping[str, float]


def call_rows(
    task: str, calls: Sequence[Call], spellings: Mapping[str, str]
) -> list[dict[str, Any]]:
    """(call, model, position, score) of each answer in each call, of declared models only.

    Raises:
        Rejected: a call does not hold together, or a score is out of range.
    """
    return [
        {"call": number, "model": model, "position": position, "score": score}
        for number, call in enumerate(calls, start=1)
        for position, model, score in _answers(task, number, call, spellings)
    ]


def _answers(
    task: str, number: int, call: Call, spellings: Mapping[str, str]
) -> Iterator[tuple[int, str, float]]:
    seen = set()
    order = [textfile.composed(name) for name in call.order]
    for position, name in enumerate(order, start=1):
        model = spellings.get(name, name)
        if model in seen:
            raise _contradiction(f"call {number} shows {name} twice")
        seen.add(model)
        score = call.scores.get(name)
        if score is None:
            raise _contradiction(f"call {number} shows {name}, and has no {task} score for it")
        if not 0 <= score <= SCORE_MAX[task]:
            raise Rejected(
                "score_out_of_range",
                f"{task} score of {name} in call {number} is {score}, not 0 to {SCORE_MAX[task]}",
            )
        if name in spellings:
            yield position, model, score
    for name in call.scores:
        if name not in order:
            raise _contradiction(
                f"call {number} has a {task} score for {name}, and does not show it"
            )


def calls_and_spread(
    task: str,
    scores: Mapping[str, float],
    rows: Sequence[Mapping[str, Any]],
    spread: Mapping[str, float | None],
    spellings: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """By model the number of the calls that scored it, and the spread of those; null without calls.

    `scores` are those of the verdict by model, `rows` those of its calls.

    Raises:
        Rejected: verdict, calls and spread contradict each other.
    """
    by_model: dict[str, list[float]] = {}
    for row in rows:
        by_model.setdefault(row["model"], []).append(row["score"])
    spreads = _spreads(task, spread, by_model, spellings)
    if not by_model:
        return {model: {"calls": None, "spread": None} for model in scores}
    for model in sorted(by_model.keys() | scores.keys()):
        if model not in scores:
            raise _contradiction(f"calls have {task} scores for {model}, and the verdict has none")
        if model not in by_model:
            raise _contradiction(f"the verdict has a {task} score for {model}, and no call has")
        mean = sum(by_model[model]) / len(by_model[model])
        if abs(mean - scores[model]) > _NEARLY:
            raise _contradiction(
                f"the {task} score of {model} is {scores[model]:g}, and the mean of its calls "
                f"{mean:g}"
            )
    return {
        model: {"calls": len(by_model[model]), "spread": spreads.get(model)} for model in scores
    }


def _spreads(
    task: str,
    spread: Mapping[str, float | None],
    by_model: Mapping[str, Sequence[float]],
    spellings: Mapping[str, str],
) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in spread.items():
        model = spellings.get(name)
        if model is None or value is None:
            continue
        if model in found:
            raise _contradiction(f"spread has {model} twice")
        if len(by_model.get(model, ())) < 2:
            raise _contradiction(f"{model} has a spread of {task} scores, and not two calls")
        if not 0 <= value <= SCORE_MAX[task]:
            raise Rejected(
                "score_out_of_range",
                f"{task} spread of {name} is {value}, not 0 to {SCORE_MAX[task]}",
            )
        found[model] = value
    return found


def _contradiction(what: str) -> Rejected:
    return Rejected("calls_contradict", what)
