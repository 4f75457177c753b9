"""Verdicts: cases and the stored replies to their calls in, rows in the documented formats out.

A verdict is the mean over the calls of its complete rounds. A round with a rejected call is left
out whole, since its other calls would favour the answers that were in good places in them.
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
    """A call without an answer, and why; the fields are in the order of its keys."""

    incident_id: str
    round: int
    order: Order
    reason: str
    text: str | None = None  # the beginning of a reply that cannot be used


@dataclass
class Verdicts:
    """The rows of a file of verdicts, and what is missing from it."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[RejectedCall] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    without: list[str] = field(default_factory=list)  # incidents that have no verdict
    calls: int = 0  # calls that count
    left_out: int = 0  # calls that do not, since another one of their round is missing
    open: int = 0


@dataclass(frozen=True)
class _Answered:
    """An answered call: which candidate was where, and the judge's reply."""

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
    """The verdicts by the replies in the store."""
    verdicts = Verdicts()
    for case in cases:
        answered = [
            call
            for number, calls in zip(judge.asking.rounds, judge.rounds(case), strict=True)
            for call in _complete(case, number, calls, store, verdicts)
        ]
        if answered:
            verdicts.rows.append(_row(case, answered, judge))
        else:
            verdicts.without.append(case.incident.incident_id)
        verdicts.calls += len(answered)
    _add_spread(verdicts.rows, judge)
    return verdicts


def _complete(
    case: Case, number: int, calls: Sequence[Call], store: Store, verdicts: Verdicts
) -> Iterator[_Answered]:
    """The calls of a round, if all of them are answered."""
    answered = []
    for call in calls:
        outcome = store.outcome(call.question)
        if isinstance(outcome, Reply):
            answered.append(_Answered(call.order, call.labels, call.judged(outcome.text)))
        elif isinstance(outcome, Rejected):
            verdicts.open += outcome.is_open
            verdicts.reasons[outcome.reason] += 1
            verdicts.rejects.append(
                RejectedCall(
                    incident_id=case.incident.incident_id,
                    round=number,
                    order=call.order,
                    reason=outcome.reason,
                    text=None if outcome.is_open else outcome.detail or None,
                )
            )
    if len(answered) == len(calls):
        yield from answered
    else:
        verdicts.left_out += len(answered)


def _row(case: Case, calls: Sequence[_Answered], judge: Judge) -> dict[str, Any]:
    incident = case.incident
    tasks = judge.rubric.tasks
    names = orders.of_keys(list(case.answers), incident.incident_id, seed=judge.asking.seed)
    means = {task: _means([call.of(task) for call in calls], names) for task in tasks}
    fields = dict(zip(tasks, replies.fields(judge.rubric.kind).items(), strict=True))
    sums = {name: sum(by_name[name][TOTAL] for by_name in means.values()) for name in names}
    ranked = sorted(names, key=lambda name: -sums[name])
    row: dict[str, Any] = {name: getattr(incident, name) for name in _FACTS}
    # The labels of the first call, from which the justification is.
    row["randomization"] = dict(zip(calls[0].labels, calls[0].order, strict=True))
    row["rankings"] = {str(place): name for place, name in enumerate(ranked, 1)}
    for task, (justification, scores) in fields.items():
        row[scores] = _plain(task, means[task])
        row[justification] = calls[0].judged.justifications[justification]
    row["calls"] = [
        {
            "order": list(call.order),
            **{scores: _plain(task, call.of(task)) for task, (_, scores) in fields.items()},
        }
        for call in calls
    ]
    return row


def _means(
    calls: Sequence[Mapping[str, Mapping[str, int]]], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Each candidate's mean scores over the calls that showed its answer."""
    means = {}
    for name in names:
        scores = [call[name] for call in calls if name in call]
        means[name] = {
            criterion: sum(of_call[criterion] for of_call in scores) / len(scores)
            for criterion in scores[0]
        }
    return means


def _plain(task: str, scores: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Scores in the file's form: the score of a summary is a number alone."""
    return {
        name: by_criterion[TOTAL] if task == "summary" else dict(by_criterion)
        for name, by_criterion in scores.items()
    }


def _rounded(value: float | None) -> float | None:
    """A value rounded so that a library's last digits do not show."""
    return None if value is None else round(value, 6)


def _add_spread(rows: Sequence[dict[str, Any]], judge: Judge) -> None:
    """Add to each row how far its calls differ, after removing the means of the run's places."""
    spreads: list[dict[str, dict[str, float | None]]] = [{} for _ in rows]
    for task, verdicts in agreement.verdicts(rows).items():
        means = agreement.place_means(verdicts)
        for spread, verdict in zip(spreads, verdicts, strict=True):
            by_name = agreement.spread(verdict.calls, means)
            spread[task] = {name: _rounded(by_name.get(name)) for name in verdict.scores}
    for row, spread in zip(rows, spreads, strict=True):
        row["spread"] = spread["summary"] if judge.rubric.kind == "summary" else spread
