"""Metrics of answers: cases in, a score for each task, metric and model out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from immune_data.contract import answer_fields
from immune_data.contract.tokens import count
from immune_data.prompts import TASKS
from immune_train.score.answers import REFERENCE, Case
from immune_train.score.intervals import bootstrap, wilson

_EVENT_COUNT = re.compile(r"\bEvents: *(\d+)", re.ASCII)


@dataclass(frozen=True)
class Metric:
    """A measure of an answer: true, false or a number; None if it does not apply."""

    name: str
    title: str
    tasks: tuple[str, ...]
    is_share: bool
    of: Callable[[Case], float | None]
    of_reference: bool = True  # whether it applies to the reference answers


@dataclass(frozen=True)
class Score:
    """A metric of one model's answers to one task, with its 95% interval."""

    task: str
    model: str
    metric: str
    n: int
    value: float | None
    low: float | None
    high: float | None


def score(cases: dict[str, list[Case]]) -> list[Score]:
    """Every metric of every model's answers, by task, metric and model."""
    return [
        _score(task, model, metric, [case for case in model_cases if case.task == task])
        for task in TASKS
        for metric in METRICS
        if task in metric.tasks
        for model, model_cases in cases.items()
        if metric.of_reference or model != REFERENCE
    ]


def _score(task: str, model: str, metric: Metric, cases: list[Case]) -> Score:
    values = [value for case in cases if (value := metric.of(case)) is not None]
    if not values:
        return Score(task, model, metric.name, 0, None, None, None)
    low, high = wilson(round(sum(values)), len(values)) if metric.is_share else bootstrap(values)
    return Score(task, model, metric.name, len(values), sum(values) / len(values), low, high)


def event_count(messages: Iterable[str]) -> int | None:
    """The number of events that a prompt says its incident has."""
    for message in reversed(tuple(messages)):
        if match := _EVENT_COUNT.search(message):
            return int(match[1])
    return None


def totals_right(answer: str, events: int | None) -> bool | None:
    """Whether the totals that a summary states are the incident's; None if it states none."""
    fields = answer_fields.parse("summary", answer).fields
    totals = (fields["events"], fields["total_evidence"])
    stated = [total for total in totals if total is not None]
    if events is None or not stated:
        return None
    return all(total == events for total in stated)


def _total(case: Case) -> float | None:
    events = event_count(case.shown)
    if events is None:
        return None
    return float(totals_right(case.answer, events) is True)


def _structured(case: Case) -> float:
    return float(not case.parts.missing)


def _same_level(case: Case) -> float | None:
    reference_level = answer_fields.parse("risk", case.reference).fields["risk_level"]
    if reference_level is None:
        return None
    return float(case.parts.fields["risk_level"] == reference_level)


def _allowed(case: Case) -> float:
    fields = case.parts.fields
    return float(all(fields[name] for name in answer_fields.LEVELS))


def _finished(case: Case) -> float | None:
    return None if case.finish is None else float(case.finish == "stop")


def _ungrounded(kind: str) -> Callable[[Case], float | None]:
    def of(case: Case) -> float | None:
        names = case.ungrounded
        return None if names is None else float(len(names.get(kind, ())))

    return of


def _grounded(case: Case) -> float | None:
    return None if case.ungrounded is None else float(not case.ungrounded)


def _length(case: Case) -> float:
    return float(count(case.answer))


METRICS = (
    Metric(
        "structure",
        "has the documented structure",
        TASKS,
        True,
        _structured,
    ),
    Metric("finished", "ends by itself, not cut off or wound up", TASKS, True, _finished, False),
    Metric("levels_allowed", "all three levels are allowed words", ("risk",), True, _allowed),
    Metric("level_agrees", "has the reference's risk level", ("risk",), True, _same_level, False),
    Metric("grounded", "names only what is in the evidence", TASKS, True, _grounded),
    Metric("event_totals", "states the right number of events", ("summary",), True, _total),
    Metric(
        "ungrounded_addresses",
        "addresses not in the evidence",
        TASKS,
        False,
        _ungrounded("address"),
    ),
    Metric("ungrounded_ports", "ports not in the evidence", TASKS, False, _ungrounded("port")),
    Metric(
        "ungrounded_domains", "domains not in the evidence", TASKS, False, _ungrounded("domain")
    ),
    Metric("tokens", "length in tokens", TASKS, False, _length),
)
