"""Read a dataset: a row of its file in, an incident's facts, its DAG and its answers out."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from immune_data.contract.source_file import Record
from immune_data.read.input_files import InputFile
from immune_data.read.rows import Extract, Rejected, convert, undeclared_models
from immune_data.recipes import Model, Recipe

FACTS = ("category", "source_ip", "timewindow", "timeline", "threat_level", "event_count")

# tiktoken fails on runs of about a million white-space characters.
_LONGEST_BLANK = 100_000
_BLANK = re.compile(rf"\s{{{_LONGEST_BLANK}}}")

# The keys that distinguish an object of answers from other unknown fields.
_ANSWER_KEYS = {
    "summaries": {"summary", "behavior_analysis"},
    "cause_risk": {"cause_analysis", "risk_assessment"},
}


class _SummaryAnswer(Struct):
    summary: str | None = None
    behavior_analysis: str | None = None


class _CauseRiskAnswer(Struct):
    cause_analysis: str | None = None
    risk_assessment: str | None = None


class _Dataset(Struct):
    incident_id: str | None = None
    category: str | None = None
    source_ip: str | None = None
    timewindow: str | None = None
    timeline: str | None = None
    threat_level: float | None = None
    event_count: int | float | None = None
    dag_analysis: str | None = None


class DatasetReader:
    """Reads the rows of one dataset."""

    def __init__(self, file: InputFile, recipe: Recipe) -> None:
        self._role = file.role
        self._fields = {getattr(model, file.role): name for name, model in recipe.models.items()}
        self._row_type = _row_type(file.role, recipe.models)

    def extract(self, record: Record, incident_id: str) -> Extract:
        """The content of a row.

        Raises:
            Rejected: it cannot be used.
        """
        row = convert(record.value, self._row_type)
        facts = _facts(row)
        dag = row.dag_analysis if _has_text(row.dag_analysis) else None
        answers = list(self._answers(row))
        for text in (*filter(None, [dag]), *(text for _, _, text in answers)):
            if len(text) > _LONGEST_BLANK and _BLANK.search(text):
                raise Rejected(
                    "not_countable", f"a run of over {_LONGEST_BLANK} white-space characters"
                )
        rows: list[tuple[str, dict[str, Any]]] = []
        if dag is not None:
            rows.append(("dags", {"incident_id": incident_id, "dataset": self._role, "text": dag}))
        for task, model, text in answers:
            answer = {"incident_id": incident_id, "task": task, "model": model, "text": text}
            rows.append(("responses", answer))
        undeclared_fields = self._undeclared(record.value)
        return Extract(
            rows, [undeclared_models(undeclared_fields)] if undeclared_fields else [], facts=facts
        )

    def _answers(self, row: Any) -> Iterator[tuple[str, str, str]]:
        """(task, model, text) of each answer."""
        for i, model in enumerate(self._fields.values()):
            for task, text in _answers(getattr(row, f"model_{i}"), self._role):
                if text is not None and _has_text(text):
                    yield task, model, text

    def _undeclared(self, value: dict[str, Any]) -> list[str]:
        """The fields with answers of models that the recipe does not declare."""
        answer_keys = _ANSWER_KEYS[self._role]
        return sorted(
            key
            for key, entry in value.items()
            if key not in self._fields and isinstance(entry, dict) and answer_keys & entry.keys()
        )


def _facts(row: Any) -> dict[str, Any]:
    facts = {name: getattr(row, name) for name in FACTS}
    facts["event_count"] = _count(row.event_count, "event_count")
    if facts["threat_level"] is not None and not math.isfinite(facts["threat_level"]):
        raise Rejected("wrong_type", "threat_level is not finite")
    return facts


def _has_text(text: str | None) -> bool:
    return text is not None and text != "" and not text.isspace()


def _row_type(role: str, models: dict[str, Model]) -> type[Struct]:
    """`_Dataset` with one field per model: an answer object, or another form in the real data."""
    answer = (_SummaryAnswer if role == "summaries" else _CauseRiskAnswer) | str | None
    names = [f"model_{i}" for i in range(len(models))]
    return msgspec.defstruct(
        f"{role}_row",
        [(name, answer, None) for name in names],
        bases=(_Dataset,),
        rename=dict(zip(names, (getattr(model, role) for model in models.values()), strict=True)),
    )


def _answers(answer: Struct | str | None, role: str) -> Iterator[tuple[str, str | None]]:
    match answer:
        case str() if role == "summaries":
            yield "summary", answer
        case _SummaryAnswer():
            yield "summary", answer.summary
        case _CauseRiskAnswer():
            yield "cause", answer.cause_analysis
            yield "risk", answer.risk_assessment


def _count(number: int | float | None, name: str) -> int | None:
    """A count that may be written `15.0`."""
    if number is None:
        return None
    is_whole = isinstance(number, int) or number.is_integer()
    if not is_whole or not 0 <= number < 2**63:
        raise Rejected("wrong_type", f"{name} is {number}, not a whole number from 0")
    return int(number)
