"""What the verdicts say of their judges: the rows of `sql/report/verdicts.sql` in, tables out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, groupby
from typing import Any

from immune_data.contract import agreement
from immune_data.contract.agreement import Agreement, Call, Estimate, Noise, Verdict

Row = dict[str, Any]


@dataclass(frozen=True)
class JudgedBy:
    """A judge run on a task, and how far its verdicts can be trusted."""

    task: str
    judge_run: str
    judge: str
    incidents: int
    calls: int
    noise: Noise | None
    first: Estimate | None  # the worth of the first place
    length: Estimate | None  # the worth of twice the length


@dataclass(frozen=True)
class Compared:
    """Two judge runs on the incidents of a task that both of them judged."""

    task: str
    first: str
    second: str
    agreement: Agreement


def judges(rows: Iterable[Row]) -> tuple[list[JudgedBy], list[Compared]]:
    """Each run on each task, and every two runs on a task that have incidents in common."""
    judged, compared = [], []
    for task, of_task in groupby(rows, key=lambda row: row["task"]):
        runs: dict[str, list[Verdict]] = {}
        for (name, judge), of_run in groupby(
            of_task, key=lambda row: (row["judge_run"], row["judge"])
        ):
            lengths: dict[tuple[str, str], int] = {}
            runs[name] = list(_verdicts(of_run, lengths))
            judged.append(_judged(task, name, judge, runs[name], lengths))
        for first, second in combinations(runs, 2):
            agreed = agreement.agreement(runs[first], runs[second])
            if agreed is not None:
                compared.append(Compared(task, first, second, agreed))
    return judged, compared


def _verdicts(rows: Iterable[Row], lengths: dict[tuple[str, str], int]) -> Iterator[Verdict]:
    """The verdicts of a run; the lengths of the answers are added to `lengths`."""
    for row in rows:
        incident = row["incident_id"]
        scores = {}
        for answer in row["answers"]:
            scores[answer["model"]] = answer["score"]
            lengths[incident, answer["model"]] = answer["chars"]
        calls = [
            Call(
                tuple(answer["model"] for answer in call),
                {answer["model"]: answer["score"] for answer in call},
            )
            for call in row["calls"]
        ]
        yield Verdict(incident, scores, calls)


def _judged(
    task: str,
    name: str,
    judge: str,
    verdicts: list[Verdict],
    lengths: dict[tuple[str, str], int],
) -> JudgedBy:
    places = agreement.place_preference(verdicts)
    return JudgedBy(
        task,
        name,
        judge,
        len(verdicts),
        sum(len(verdict.calls) for verdict in verdicts),
        agreement.noise(verdicts, agreement.CRITERIA[task]),
        places[0] if len(places) > 1 else None,
        agreement.length_preference(verdicts, lengths),
    )
