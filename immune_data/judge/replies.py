"""A judge's reply: its text in, the scores of every label out, or one word for what is wrong.

Replies are read strictly and never repaired: a JSON object with exactly the fields that were asked
for, every label once, whole numbers within their scale, and a ranking that does not contradict
them. Only a code fence may surround the object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from immune_data.contract.scales import SUB_SCORES
from immune_data.judge.rubric import KINDS
from immune_data.recipes import SCORE_MAX, SUB_SCORE_MAX

TOTAL = "total"
_RANKING = "ranking"
_FENCED = re.compile(r"\s*```(?:json)?\s*\n(.*)\n\s*```\s*", re.DOTALL)

Scores = dict[str, dict[str, dict[str, int]]]  # by task and label: the criteria and their total


@dataclass(frozen=True)
class Judged:
    """The content of a reply: scores, and the judge's justifications by their fields."""

    scores: Scores
    justifications: dict[str, str]


class _Wrong(Exception):
    """A reply that cannot be used; its argument is the word for what is wrong."""


def fields(kind: str) -> dict[str, str]:
    """The names of the justification's and of the scores' field, in this order."""
    tasks = KINDS[kind]
    return {f"{_of(task)}justification": f"{_of(task)}scores" for task in tasks}


def _of(task: str) -> str:
    return "" if task == "summary" else f"{task}_"


def form(kind: str, *, ranked: bool) -> str:
    """The instructions to a judge on the form of its reply."""
    parts = []
    for task, (justification, scores) in zip(KINDS[kind], fields(kind).items(), strict=True):
        criteria = ", ".join(f'"{name}": …' for name in SUB_SCORES[task])
        number = f"{{{criteria}}}" if criteria else "…"
        parts += [f'"{justification}": "…"', f'"{scores}": {{"A": {number}, …}}']
    if ranked:
        parts.append(f'"{_RANKING}": ["A", …]')
    lines = [
        "Each answer has a label, a letter. Reply with one JSON object and nothing else:",
        f"{{{', '.join(parts)}}}",
        "First justify in a few sentences, by label; then score every label, in whole numbers "
        f"from 0 to {SUB_SCORE_MAX}.",
    ]
    if ranked:
        by = "score" if kind == "summary" else "sum of all its numbers"
        lines.append(
            f'"{_RANKING}" names every label once, the best first, and none before one whose {by} '
            "is higher."
        )
    return "\n".join(lines)


def schema(kind: str, labels: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of a reply, with only such keys as every server with schemas understands."""
    number = {"type": "integer", "enum": list(range(SUB_SCORE_MAX + 1))}
    properties: dict[str, Any] = {}
    for task, (justification, scores) in zip(KINDS[kind], fields(kind).items(), strict=True):
        score = _object(dict.fromkeys(SUB_SCORES[task], number)) if SUB_SCORES[task] else number
        properties |= {
            justification: {"type": "string"},
            scores: _object(dict.fromkeys(labels, score)),
        }
    if len(labels) > 1:
        properties[_RANKING] = {
            "type": "array",
            "items": {"type": "string", "enum": list(labels)},
            "minItems": len(labels),
            "maxItems": len(labels),
        }
    return _object(properties)


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def problem(text: str, kind: str, labels: Sequence[str]) -> str | None:
    """One word for what is wrong with a reply; None if nothing is."""
    try:
        read(text, kind, labels)
    except _Wrong as wrong:
        return str(wrong)
    return None


def read(text: str, kind: str, labels: Sequence[str]) -> Judged:
    """The content of a reply for which `problem` is None."""
    fenced = _FENCED.fullmatch(text)
    try:
        content = json.loads(
            fenced[1] if fenced else text, object_pairs_hook=_once, parse_constant=_refuse
        )
    except (ValueError, RecursionError):
        raise _Wrong("not_json") from None
    names = fields(kind)
    expected = {*names, *names.values(), *([_RANKING] if len(labels) > 1 else [])}
    if not isinstance(content, dict) or set(content) != expected:
        raise _Wrong("wrong_fields")
    if not all(isinstance(content[name], str) for name in names):
        raise _Wrong("wrong_fields")
    scores = {
        task: _scores(content[name], task, labels)
        for task, name in zip(KINDS[kind], names.values(), strict=True)
    }
    if len(labels) > 1:
        _check_ranking(content[_RANKING], scores, labels)
    return Judged(scores, {name: content[name] for name in names})


def _scores(by_label: Any, task: str, labels: Sequence[str]) -> dict[str, dict[str, int]]:
    if not isinstance(by_label, dict) or set(by_label) != set(labels):
        raise _Wrong("wrong_labels")
    if not SUB_SCORES[task]:
        return {label: {TOTAL: _number(by_label[label], SCORE_MAX[task])} for label in labels}
    scores = {}
    for label in labels:
        criteria = by_label[label]
        if not isinstance(criteria, dict) or set(criteria) != set(SUB_SCORES[task]):
            raise _Wrong("wrong_criteria")
        numbers = {name: _number(criteria[name], SUB_SCORE_MAX) for name in SUB_SCORES[task]}
        scores[label] = {**numbers, TOTAL: sum(numbers.values())}
    return scores


def _number(value: Any, maximum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Wrong("no_number")
    if not 0 <= value <= maximum:
        raise _Wrong("out_of_range")
    if value != int(value):
        raise _Wrong("not_whole")
    return int(value)


def _check_ranking(ranking: Any, scores: Scores, labels: Sequence[str]) -> None:
    if not isinstance(ranking, list) or not all(isinstance(label, str) for label in ranking):
        raise _Wrong("wrong_ranking")
    if sorted(ranking) != sorted(labels):
        raise _Wrong("wrong_ranking")
    sums = [sum(by_label[label][TOTAL] for by_label in scores.values()) for label in ranking]
    if sums != sorted(sums, reverse=True):
        raise _Wrong("ranking_contradicts_scores")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    by_key = dict(pairs)
    if len(by_key) < len(pairs):
        raise ValueError("a key is repeated")
    return by_key


def _refuse(constant: str) -> None:
    raise ValueError(constant)
