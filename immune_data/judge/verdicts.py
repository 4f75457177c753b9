"""Verdicts: cases and what the store holds of their calls in, rows in the documented formats out.

A verdict is the mean over the calls of its rounds that are complete: a round with a call that was
rejected is left out whole, since the others alone would favour the answers that stood well in them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from immune_data.ask.replies import Reply
from immune_data.ask.store import Rejected, Store
from immune_data.contract import agreement
from immune_data.judge import orders, replies
from immune_data.judge.answers import Case
from immune_data.judge.orders import Order
from immune_data.judge.questions import Call, Judge
from immune_data.judge.replies import TOTAL, Judged

_FACTS = ("incident_id", "category", "event_count", "threat_level")


class RejectedCall(Struct, frozen=True, kw_only=True):
    """A call without an answer, and why; the fields stand in the order of its keys."""

    incident_id: str
    round: int
    order: Order
    reason: str
    text: str | None = None  # the beginning of a reply that is none


@dataclass
class Verdicts:
    """The rows of a file of verdicts, and what is missing from it."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[RejectedCall] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    without: list[str] = field(default_factory=list)  # incidents that have no verdict
    calls: int = 0  # that count
    left_out: int = 0  # that do not, as another one of their round is missing
    open: int = 0


@dataclass(frozen=True)
class _Heard:
    """A call that counts: who stood where, and what was said."""

    order: Order
    labels: str
    judged: Judged

    def of(self, task: str) -> dict[str, dict[str, int]]:
        """A task's scores, by candidate."""
        return {
            name: self.judged.scores[task][label]
            for label, name in zip(self.labels, self.order, strict=True)
        }


def gather(cases: Iterable[Case], judge: Judge, store: Store) -> Verdicts:
    """The verdicts that the store holds."""
    made = Verdicts()
    for case in cases:
        heard = [
            call
            for number, calls in zip(judge.asking.rounds, judge.rounds(case), strict=True)
            for call in _complete(case, number, calls, store, made)
        ]
        if heard:
            made.rows.append(_row(case, heard, judge))
        else:
            made.without.append(case.incident.incident_id)
        made.calls += len(heard)
    _add_spread(made.rows, judge)
    return made


def _complete(
    case: Case, number: int, calls: Sequence[Call], store: Store, made: Verdicts
) -> Iterator[_Heard]:
    """The calls of a round, if all of them are answered."""
    heard = []
    for call in calls:
        outcome = store.outcome(call.question)
        if isinstance(outcome, Reply):
            heard.append(_Heard(call.order, call.labels, call.judged(outcome.text)))
        elif isinstance(outcome, Rejected):
            made.open += outcome.is_open
            made.reasons[outcome.reason] += 1
            made.rejects.append(
                RejectedCall(
                    incident_id=case.incident.incident_id,
                    round=number,
                    order=call.order,
                    reason=outcome.reason,
                    text=None if outcome.is_open else outcome.detail or None,
                )
            )
    if len(heard) == len(calls):
        yield from heard
    else:
        made.left_out += len(heard)


def _row(case: Case, heard: Sequence[_Heard], judge: Judge) -> dict[str, Any]:
    incident = case.incident
    tasks = judge.rubric.tasks
    names = orders.of_keys(list(case.answers), incident.incident_id, seed=judge.asking.seed)
    means = {task: _means([call.of(task) for call in heard], names) for task in tasks}
    of_fields = dict(zip(tasks, replies.fields(judge.rubric.kind).items(), strict=True))
    sums = {name: sum(of[name][TOTAL] for of in means.values()) for name in names}
    ranked = sorted(names, key=lambda name: -sums[name])
    row: dict[str, Any] = {name: getattr(incident, name) for name in _FACTS}
    # The labels of the first call, whose words the justification is.
    row["randomization"] = dict(zip(heard[0].labels, heard[0].order, strict=True))
    row["rankings"] = {str(place): name for place, name in enumerate(ranked, 1)}
    for task, (said, scores) in of_fields.items():
        row[scores] = _plain(task, means[task])
        row[said] = heard[0].judged.justifications[said]
    row["calls"] = [
        {
            "order": list(call.order),
            **{scores: _plain(task, call.of(task)) for task, (_, scores) in of_fields.items()},
        }
        for call in heard
    ]
    return row


def _means(
    calls: Sequence[Mapping[str, Mapping[str, int]]], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Each candidate's mean scores over the calls that it stood in."""
    means = {}
    for name in names:
        of = [call[name] for call in calls if name in call]
        means[name] = {part: sum(one[part] for one in of) / len(of) for part in of[0]}
    return means


def _plain(task: str, scores: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Scores as a file holds them: that of a summary is a number alone."""
    return {name: of[TOTAL] if task == "summary" else dict(of) for name, of in scores.items()}


def _rounded(value: float | None) -> float | None:
    """A value in which no library's last digit shows."""
    return None if value is None else round(value, 6)


def _add_spread(rows: Sequence[dict[str, Any]], judge: Judge) -> None:
    """Write into each row how far its calls differ, the means of the run's places taken out."""
    spreads: list[dict[str, dict[str, float | None]]] = [{} for _ in rows]
    for task, of in agreement.verdicts(rows).items():
        means = agreement.place_means(of)
        for spread, verdict in zip(spreads, of, strict=True):
            found = agreement.spread(verdict.calls, means)
            spread[task] = {name: _rounded(found.get(name)) for name in verdict.scores}
    for row, spread in zip(rows, spreads, strict=True):
        row["spread"] = spread["summary"] if judge.rubric.kind == "summary" else spread
