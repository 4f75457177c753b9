"""A judge's verdicts: files in either documented format in, a table of scores for each task out.

This is the only place that knows the formats, and it is strict: invalid input is refused and never
repaired. A file is an array with one object per incident, or an object that contains the array
under `incidents`; plain or gzipped. A summary verdict has `scores` {candidate: 0-10}; one on cause
and risk has `cause_scores` and `risk_scores` {candidate: {"total": 0-30, …}}. Both may have
`rankings` {"1": candidate, …}, `category` and `event_count`, and what `judge` adds: `judge`,
`rubric` (a digest) and `orders`, in the file or in each object, and `calls`, whose means the scores
are. Other fields are ignored.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from immune_data.common import digests, textfile
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.contract import agreement, judge_calls
from immune_data.contract.agreement import Call, Noise, Verdict
from immune_train.evaluate.incidents import Details

MOST = {"summary": 10.0, "cause": 30.0, "risk": 30.0}
_KEYS = {"summary": "scores", "cause": "cause_scores", "risk": "risk_scores"}


_NEARLY = 1e-6
_DIGEST = 12  # characters of a rubric's digest that are shown


class _Total(msgspec.Struct):
    total: float


class _Call(msgspec.Struct):
    """One call of the judge, with the candidates in the order shown."""

    order: list[str]
    scores: dict[str, float] | None = None
    cause_scores: dict[str, _Total] | None = None
    risk_scores: dict[str, _Total] | None = None


class _Verdict(msgspec.Struct):
    """An object of a file, in either format."""

    incident_id: str
    scores: dict[str, float] | None = None
    cause_scores: dict[str, _Total] | None = None
    risk_scores: dict[str, _Total] | None = None
    rankings: dict[str, str] | None = None
    category: str | None = None
    event_count: int | None = None
    calls: list[_Call] | None = None
    judge: str | None = None
    rubric: str | None = None
    orders: str | None = None


class _Head(msgspec.Struct):
    judge: str | None = None
    rubric: str | None = None
    orders: str | None = None


@dataclass(frozen=True)
class Judge:
    """What the verdicts of one table share; None if their files do not say."""

    judge: str | None
    rubric: str | None
    orders: str | None

    def __str__(self) -> str:
        rubric = self.rubric and self.rubric[:_DIGEST]
        parts = (("judge", self.judge), ("rubric", rubric), ("orders", self.orders))
        return ", ".join(f"{name}: {value or 'unknown'}" for name, value in parts)


@dataclass
class Table:
    """The scores of a task by incident and candidate, with the sha256 of their files."""

    task: str
    judge: Judge
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    calls: dict[str, list[Call]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def candidates(self) -> list[str]:
        return list(next(iter(self.scores.values())))

    @property
    def noise(self) -> Noise | None:
        """How much a score varies between calls; None if the files do not contain calls."""
        verdicts = [Verdict(name, scores, self.calls[name]) for name, scores in self.scores.items()]
        return agreement.noise(verdicts, agreement.CRITERIA[self.task])


def read(paths: Sequence[Path]) -> tuple[dict[str, Table], dict[str, Details]]:
    """The table of each judged task, and the incidents' details in the verdicts.

    Raises:
        ImmuneError: a file cannot be read, or a verdict does not have the documented format.
        CheckFailed: verdicts of one task cannot be in one table.
    """
    tables: dict[str, Table] = {}
    facts: dict[str, Details] = {}
    for path in paths:
        sha256 = digests.sha256(path)
        for number, verdict, judge in _verdicts(path):
            where = f"verdict {number} of {path}"
            by_task = _scores(verdict, where)
            _check_rankings(verdict, by_task, where)
            facts.setdefault(verdict.incident_id, Details(verdict.category, verdict.event_count))
            for task, scores in by_task.items():
                calls = _calls(verdict, task, scores, where)
                table = tables.setdefault(task, Table(task, judge))
                _check_same_table(table, judge, verdict.incident_id, scores, where)
                table.scores[verdict.incident_id] = scores
                table.calls[verdict.incident_id] = calls
                table.files[path.name] = sha256
    return tables, facts


def _check_same_table(
    table: Table, judge: Judge, incident: str, scores: Mapping[str, float], where: str
) -> None:
    """Check that a verdict fits its table: the same judge, rubric, orders and candidates."""
    if judge != table.judge:
        raise CheckFailed(
            f"{where} is from {judge}, and others of task {table.task} are from {table.judge}: "
            "verdicts of different judges, rubrics or orders cannot be in one table"
        )
    if incident in table.scores:
        raise CheckFailed(
            f"{where} judges task {table.task} of {incident} again: give the verdicts of one run"
        )
    if table.scores and set(scores) != set(table.candidates):
        differences = sorted(set(scores) ^ set(table.candidates))
        raise CheckFailed(
            f"{where} judges other candidates of task {table.task} than the verdicts before it "
            f"(first: {differences[0]}): scores are comparable only if all are judged together"
        )


def _verdicts(path: Path) -> Iterator[tuple[int, _Verdict, Judge]]:
    content = _content(path)
    head = _Head()
    if isinstance(content, dict):
        head = _convert(content, _Head, f"{path}")
        content = content.get("incidents")
    if not isinstance(content, list):
        raise ImmuneError(
            f"{path} contains no verdicts: it should be an array of them, or an object with the "
            "array under `incidents`"
        )
    if not content:
        raise ImmuneError(f"{path} contains no verdict")
    for number, row in enumerate(content, 1):
        verdict = _convert(row, _Verdict, f"verdict {number} of {path}")
        judge = Judge(
            *(
                _one(
                    getattr(head, name), getattr(verdict, name), name, f"verdict {number} of {path}"
                )
                for name in ("judge", "rubric", "orders")
            )
        )
        yield number, verdict, judge


def _one(of_file: str | None, of_row: str | None, name: str, where: str) -> str | None:
    if of_file is not None and of_row is not None and of_file != of_row:
        raise CheckFailed(f"{where} has {name} {of_row}, but its file has {of_file}")
    return of_row if of_file is None else of_file


def _content(path: Path) -> Any:
    try:
        data = path.read_bytes()
        text = textfile.decoded(gzip.decompress(data) if path.suffix == ".gz" else data, str(path))
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse)
    except (OSError, EOFError) as error:
        raise ImmuneError(f"cannot read {path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ImmuneError(f"{path} is not JSON: {error}") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("an object contains a key twice")
    return content


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _convert(value: Any, kind: type[Any], where: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ImmuneError(f"{where} does not have the documented format: {error}") from None


def _scores(verdict: _Verdict, where: str) -> dict[str, dict[str, float]]:
    """The scores by task; cause and risk must occur together."""
    by_task: dict[str, dict[str, float]] = {}
    for task, key in _KEYS.items():
        raw = getattr(verdict, key)
        if raw is None:
            continue
        scores = _plain(raw)
        if len(scores) < 2:
            raise ImmuneError(
                f"{where} scores {len(scores)} candidate(s) in `{key}`: a table has two or more"
            )
        _check(task, scores, where)
        by_task[task] = scores
    if not by_task:
        raise ImmuneError(f"{where} has neither `scores` nor `cause_scores` and `risk_scores`")
    if "summary" not in by_task and set(by_task) != {"cause", "risk"}:
        raise ImmuneError(f"{where} should have both `cause_scores` and `risk_scores`")
    return by_task


def _plain(scores: Mapping[str, float | _Total]) -> dict[str, float]:
    return {
        name: float(score.total if isinstance(score, _Total) else score)
        for name, score in scores.items()
    }


def _check(task: str, scores: Mapping[str, float], where: str) -> None:
    for name, score in scores.items():
        if not (math.isfinite(score) and 0 <= score <= MOST[task]):
            raise ImmuneError(
                f"{where} gives {name} {score:g} in `{_KEYS[task]}`, which goes from 0 to "
                f"{MOST[task]:g}"
            )


def _calls(verdict: _Verdict, task: str, scores: Mapping[str, float], where: str) -> list[Call]:
    """The calls that a task's scores are the means of."""
    calls = [
        Call(tuple(call.order), _plain(getattr(call, _KEYS[task]) or {}))
        for call in verdict.calls or ()
    ]
    for number, call in enumerate(calls, start=1):
        _check(task, call.scores, f"call {number} of {where}")
    wrong = judge_calls.inconsistency(task, calls) or judge_calls.contradiction(task, scores, calls)
    if wrong:
        raise ImmuneError(f"{where} contradicts itself: {wrong}")
    return calls


def _check_rankings(
    verdict: _Verdict, scores: Mapping[str, Mapping[str, float]], where: str
) -> None:
    """Check that a ranking names every candidate once, and never a worse one before a better.

    The ranking of cause and risk is by the sum of both.
    """
    if verdict.rankings is None:
        return
    places = {str(i + 1) for i in range(len(verdict.rankings))}
    ranking = [verdict.rankings[place] for place in sorted(verdict.rankings, key=_by_number)]
    sums: dict[str, float] = {}
    for task, task_scores in scores.items():
        if task == "summary" or "summary" not in scores:
            for name, score in task_scores.items():
                sums[name] = sums.get(name, 0.0) + score
    if set(verdict.rankings) != places or sorted(ranking) != sorted(sums):
        raise ImmuneError(f"{where} has a ranking that does not name every candidate exactly once")
    scores_by_rank = [sums[name] for name in ranking]
    # Sums of means that are equal may differ in their last digits.
    if any(worse - better > _NEARLY for better, worse in pairwise(scores_by_rank)):
        raise ImmuneError(f"{where} has a ranking that contradicts its scores")


def _by_number(place: str) -> tuple[int, str]:
    """Orders whole numbers as numbers."""
    return len(place), place
