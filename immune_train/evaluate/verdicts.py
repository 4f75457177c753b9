"""A judge's verdicts: files in either documented format in, a table of scores for each task out.

This is the one place that knows the formats, and it is strict: what does not fit is refused and
never repaired. A file is an array of objects, one an incident, or an object that holds the array
under `incidents`; plain or gzipped. Of a summary verdict an object has `scores` {candidate: 0-10};
of one of cause and risk, `cause_scores` and `risk_scores` {candidate: {"total": 0-30, …}}; and it
may have `rankings` {"1": candidate, …}, `category` and `event_count`. What `judge` adds may be
there too: `judge`, `rubric` (a digest) and `orders`, of the file or of each object, and `calls`,
which scores are the means of. Other fields are passed over.
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
from immune_train.evaluate.incidents import Said

MOST = {"summary": 10.0, "cause": 30.0, "risk": 30.0}
_KEYS = {"summary": "scores", "cause": "cause_scores", "risk": "risk_scores"}


_NEARLY = 1e-6
_DIGEST = 12  # characters of a rubric's digest that are shown


class _Total(msgspec.Struct):
    total: float


class _Call(msgspec.Struct):
    """What the judge said when it was asked once, of the candidates in the order shown."""

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
    """What verdicts of one table have in common; None where their files do not say it."""

    judge: str | None
    rubric: str | None
    orders: str | None

    def __str__(self) -> str:
        rubric = self.rubric and self.rubric[:_DIGEST]
        named = (("judge", self.judge), ("rubric", rubric), ("orders", self.orders))
        return ", ".join(f"{name}: {value or 'not said'}" for name, value in named)


@dataclass
class Table:
    """The scores of a task by incident and candidate; the files that they are from, by sha256."""

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
        """By how much a score differs between calls; None where the files do not tell it."""
        verdicts = [Verdict(name, of, self.calls[name]) for name, of in self.scores.items()]
        return agreement.noise(verdicts, agreement.CRITERIA[self.task])


def read(paths: Sequence[Path]) -> tuple[dict[str, Table], dict[str, Said]]:
    """The table of each judged task, and what the verdicts say of the incidents.

    Raises:
        ImmuneError: a file cannot be read, or a verdict is not as documented.
        CheckFailed: verdicts of one task are not of one table.
    """
    tables: dict[str, Table] = {}
    said: dict[str, Said] = {}
    for path in paths:
        sha256 = digests.sha256(path)
        for number, verdict, judge in _verdicts(path):
            where = f"verdict {number} of {path}"
            of_tasks = _scores(verdict, where)
            _check_rankings(verdict, of_tasks, where)
            said.setdefault(verdict.incident_id, Said(verdict.category, verdict.event_count))
            for task, scores in of_tasks.items():
                calls = _calls(verdict, task, scores, where)
                table = tables.setdefault(task, Table(task, judge))
                _refuse_another(table, judge, verdict.incident_id, scores, where)
                table.scores[verdict.incident_id] = scores
                table.calls[verdict.incident_id] = calls
                table.files[path.name] = sha256
    return tables, said


def _refuse_another(
    table: Table, judge: Judge, incident: str, scores: Mapping[str, float], where: str
) -> None:
    """Refuse what is not of the same table: one judge, one rubric, one way to order, all judged."""
    if judge != table.judge:
        raise CheckFailed(
            f"{where} is of {judge}, and others of task {table.task} are of {table.judge}: "
            "verdicts of different judges, rubrics or orders are not one table"
        )
    if incident in table.scores:
        raise CheckFailed(
            f"{where} judges task {table.task} of {incident} again: give the verdicts of one run"
        )
    if table.scores and set(scores) != set(table.candidates):
        others = sorted(set(scores) ^ set(table.candidates))
        raise CheckFailed(
            f"{where} judges other candidates of task {table.task} than the verdicts before it "
            f"(first: {others[0]}): scores are only comparable where all are judged together"
        )


def _verdicts(path: Path) -> Iterator[tuple[int, _Verdict, Judge]]:
    content = _content(path)
    head = _Head()
    if isinstance(content, dict):
        head = _converted(content, _Head, f"{path}")
        content = content.get("incidents")
    if not isinstance(content, list):
        raise ImmuneError(
            f"{path} holds no verdicts: it should be an array of them, or an object "
            "that holds it under `incidents`"
        )
    if not content:
        raise ImmuneError(f"{path} holds no verdict")
    for number, row in enumerate(content, 1):
        verdict = _converted(row, _Verdict, f"verdict {number} of {path}")
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
        raise CheckFailed(f"{where} is of {name} {of_row}, and its file of {of_file}")
    return of_row if of_file is None else of_file


def _content(path: Path) -> Any:
    try:
        data = path.read_bytes()
        text = textfile.decoded(gzip.decompress(data) if path.suffix == ".gz" else data, str(path))
        return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except (OSError, EOFError) as error:
        raise ImmuneError(f"cannot read {path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ImmuneError(f"{path} is not JSON: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("an object has a key twice")
    return made


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _converted(value: Any, kind: type[Any], where: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ImmuneError(f"{where} is not as documented: {error}") from None


def _scores(verdict: _Verdict, where: str) -> dict[str, dict[str, float]]:
    """The scores by task; those of cause and risk stand together."""
    found: dict[str, dict[str, float]] = {}
    for task, key in _KEYS.items():
        of = getattr(verdict, key)
        if of is None:
            continue
        scores = _plain(of)
        if len(scores) < 2:
            raise ImmuneError(
                f"{where} scores {len(scores)} candidate(s) in `{key}`: a table has two or more"
            )
        _check(task, scores, where)
        found[task] = scores
    if not found:
        raise ImmuneError(f"{where} has neither `scores` nor `cause_scores` and `risk_scores`")
    if "summary" not in found and set(found) != {"cause", "risk"}:
        raise ImmuneError(f"{where} should have both `cause_scores` and `risk_scores`")
    return found


def _plain(scores: Mapping[str, float | _Total]) -> dict[str, float]:
    return {
        name: float(one.total if isinstance(one, _Total) else one) for name, one in scores.items()
    }


def _check(task: str, scores: Mapping[str, float], where: str) -> None:
    for name, score in scores.items():
        if not (math.isfinite(score) and 0 <= score <= MOST[task]):
            raise ImmuneError(
                f"{where} gives {name} {score:g} in `{_KEYS[task]}`, which is from 0 to "
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
    """See that a ranking names every candidate once, and never a worse one before a better.

    That of cause and risk is by the sum of both.
    """
    if verdict.rankings is None:
        return
    places = {str(i + 1) for i in range(len(verdict.rankings))}
    named = [verdict.rankings[place] for place in sorted(verdict.rankings, key=_by_number)]
    added: dict[str, float] = {}
    for task, of in scores.items():
        if task == "summary" or "summary" not in scores:
            for name, score in of.items():
                added[name] = added.get(name, 0.0) + score
    if set(verdict.rankings) != places or sorted(named) != sorted(added):
        raise ImmuneError(f"{where} has a ranking that does not name every candidate once")
    ordered = [added[name] for name in named]
    # Sums of means that are equal may differ in their last digits.
    if any(worse - better > _NEARLY for better, worse in pairwise(ordered)):
        raise ImmuneError(f"{where} has a ranking that contradicts its scores")


def _by_number(place: str) -> tuple[int, str]:
    """Orders whole numbers as numbers."""
    return len(place), place
