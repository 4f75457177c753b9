"""What a judge replies: a text in, the scores of every label out, or the word for what is wrong.

Strict, and never repaired: a JSON object with the fields that were asked for and no other, every
label once, whole numbers within their scale, and a ranking that does not contradict them. A code
fence around the object is all that may stand beside it.
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
    """What a reply says: scores, and the judge's words by the field that they stood in."""

    scores: Scores
    justifications: dict[str, str]


class _Wrong(Exception):
    """A reply that is none; its argument is the word for it."""


def fields(kind: str) -> dict[str, str]:
    """The name of the justification's and of the scores' field, which stand in this order."""
    tasks = KINDS[kind]
    return {f"{_of(task)}justification": f"{_of(task)}scores" for task in tasks}


def _of(task: str) -> str:
    return "" if task == "summary" else f"{task}_"


def form(kind: str, *, ranked: bool) -> str:
    """What a judge is told of the form of its reply."""
    parts = []
    for task, (said, scores) in zip(KINDS[kind], fields(kind).items(), strict=True):
        criteria = ", ".join(f'"{name}": …' for name in SUB_SCORES[task])
        number = f"{{{criteria}}}" if criteria else "…"
        parts += [f'"{said}": "…"', f'"{scores}": {{"A": {number}, …}}']
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
    """The JSON schema of a reply, of which every server that knows schemas understands each key."""
    number = {"type": "integer", "enum": list(range(SUB_SCORE_MAX + 1))}
    properties: dict[str, Any] = {}
    for task, (said, scores) in zip(KINDS[kind], fields(kind).items(), strict=True):
        one = _object(dict.fromkeys(SUB_SCORES[task], number)) if SUB_SCORES[task] else number
        properties |= {said: {"type": "string"}, scores: _object(dict.fromkeys(labels, one))}
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
    """The word for what is wrong with a reply; None if nothing is."""
    try:
        read(text, kind, labels)
    except _Wrong as wrong:
        return str(wrong)
    return None


def read(text: str, kind: str, labels: Sequence[str]) -> Judged:
    """What a reply says of which `problem` has none to tell."""
    fenced = _FENCED.fullmatch(text)
    try:
        said = json.loads(
            fenced[1] if fenced else text, object_pairs_hook=_once, parse_constant=_refuse
        )
    except (ValueError, RecursionError):
        raise _Wrong("not_json") from None
    of = fields(kind)
    expected = {*of, *of.values(), *([_RANKING] if len(labels) > 1 else [])}
    if not isinstance(said, dict) or set(said) != expected:
        raise _Wrong("wrong_fields")
    if not all(isinstance(said[name], str) for name in of):
        raise _Wrong("wrong_fields")
    scores = {
        task: _scores(said[name], task, labels)
        for task, name in zip(KINDS[kind], of.values(), strict=True)
    }
    if len(labels) > 1:
        _check_ranking(said[_RANKING], scores, labels)
    return Judged(scores, {name: said[name] for name in of})


def _scores(said: Any, task: str, labels: Sequence[str]) -> dict[str, dict[str, int]]:
    if not isinstance(said, dict) or set(said) != set(labels):
        raise _Wrong("wrong_labels")
    if not SUB_SCORES[task]:
        return {label: {TOTAL: _number(said[label], SCORE_MAX[task])} for label in labels}
    scores = {}
    for label in labels:
        given = said[label]
        if not isinstance(given, dict) or set(given) != set(SUB_SCORES[task]):
            raise _Wrong("wrong_criteria")
        of = {name: _number(given[name], SUB_SCORE_MAX) for name in SUB_SCORES[task]}
        scores[label] = {**of, TOTAL: sum(of.values())}
    return scores


def _number(said: Any, most: int) -> int:
    if isinstance(said, bool) or not isinstance(said, int | float):
        raise _Wrong("no_number")
    if not 0 <= said <= most:
        raise _Wrong("out_of_range")
    if said != int(said):
        raise _Wrong("not_whole")
    return int(said)


def _check_ranking(said: Any, scores: Scores, labels: Sequence[str]) -> None:
    if not isinstance(said, list) or not all(isinstance(label, str) for label in said):
        raise _Wrong("wrong_ranking")
    if sorted(said) != sorted(labels):
        raise _Wrong("wrong_ranking")
    sums = [sum(of[label][TOTAL] for of in scores.values()) for label in said]
    if sums != sorted(sums, reverse=True):
        raise _Wrong("ranking_contradicts_scores")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key stands twice")
    return made


def _refuse(constant: str) -> None:
    raise ValueError(constant)
