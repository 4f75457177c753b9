"""Ask about an incident as training did: an incident or a record in, messages and token ids out.

The messages come from `immune_data.contract.prompting`, which made the training records.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from immune_data import prompts, recipes
from immune_data.common.errors import ImmuneError
from immune_data.contract import chat, prompting
from immune_data.contract.record import Asked
from immune_data.prompts import Message

DEFAULT_RECIPE = "unified-clean"

_HALF = re.compile("[\\ud800-\\udfff]")  # of a surrogate pair, which is not a character

# The header that Slips writes over an incident's DAG.
_HEADER_LINES = 12
_HEADER = {
    "incident_id": re.compile(r"^Incident: *(\S+)", re.MULTILINE),
    "source_ip": re.compile(r"^Source IP: *([^|\n]*[^|\s])", re.MULTILINE),
    "timewindow": re.compile(r"\| *Timewindow: *([^|\n]*[^|\s])"),
    "timeline": re.compile(r"^Timeline: *(.*\S)", re.MULTILINE),
    "threat_level": re.compile(r"^Threat Level: *(\d+(?:\.\d+)?)", re.MULTILINE),
    "event_count": re.compile(r"\bEvents: *(\d+)"),
}


class Incident(msgspec.Struct, frozen=True):
    """An incident to ask about: identity fields as in the source files, and its evidence."""

    incident_id: str
    dag_analysis: str
    source_ip: str | None = None
    timewindow: str | int | None = None
    timeline: str | None = None
    threat_level: float | None = None
    event_count: int | float | None = None

    @property
    def facts(self) -> dict[str, Any]:
        facts = {name: getattr(self, name) for name in prompts.FACTS}
        if isinstance(self.event_count, float) and self.event_count.is_integer():
            facts["event_count"] = int(self.event_count)
        return facts


@dataclass(frozen=True)
class Question:
    """One task's prompt: its messages, its token ids, and what of the evidence it shows.

    A record does not say how long its evidence was, if it was cut, and of another recipe's prompt
    it is not known what is evidence.
    """

    incident_id: str
    task: str
    messages: list[Message]
    ids: list[int]
    room: int  # tokens that the longest allowed answer takes
    dag_tokens: int | None = None
    dag_tokens_shown: int | None = None


class Asker:
    """Questions as one recipe puts them.

    Raises:
        ImmuneError: there is no such recipe, or its prompts cannot be used.
    """

    def __init__(self, recipe: str = DEFAULT_RECIPE, context: int | None = None) -> None:
        found = recipes.load(recipe)
        self.recipe = found.name
        self.context = context or found.records.max_sequence_tokens
        self._conversations = prompting.load(found)
        self.asking_sha256 = self._conversations.sha256
        self.room = self._conversations.room

    def questions(self, incident: Incident, tasks: Iterable[str]) -> list[Question]:
        """The questions of some tasks about one incident, in the order of `tasks`.

        Raises:
            ImmuneError: a prompt cannot fit the context.
        """
        tasks = list(tasks)
        made = self._conversations
        facts = made.facts(incident.facts)
        dag = made.evidence(incident.dag_analysis)
        shown = made.asked(facts, dag, self.context, tasks)
        return [
            self._question(
                incident.incident_id,
                task,
                made.messages(task, facts, shown[task].text),
                dag_tokens=dag.tokens,
                dag_tokens_shown=shown[task].tokens,
            )
            for task in tasks
        ]

    def from_record(self, record: Asked) -> Question:
        """The question that an emitted record asks: all its messages but the answer."""
        asked = record.messages[:-1]
        shown = self._conversations.evidence_in(record.task, asked)
        return self._question(
            record.incident_id,
            record.task,
            asked,
            dag_tokens=shown.tokens if shown and record.dag_truncated is False else None,
            dag_tokens_shown=shown.tokens if shown else None,
        )

    def _question(
        self, incident_id: str, task: str, messages: list[Message], **shown: int | None
    ) -> Question:
        return Question(
            incident_id, task, messages, chat.prompt_ids(messages), self.room[task], **shown
        )


def record_from_json(text: str, where: str) -> Asked:
    """The record of a line of an emitted file; further keys are ignored.

    Raises:
        ImmuneError: it is not one.
    """
    try:
        record = msgspec.convert(json.loads(text, parse_constant=_refuse), Asked)
    except (ValueError, RecursionError):
        record = None
    roles = [message.role for message in record.messages] if record else []
    texts = "".join(message.content for message in record.messages) if record else ""
    if record is None or len(roles) < 2 or roles[-1] != "assistant" or _HALF.search(texts):
        raise ImmuneError(f"{where} is not an emitted record: give an eval.jsonl")
    return record


def incident_from_json(text: str | bytes, where: str) -> Incident:
    """The incident of a JSON object as the source files hold it; further keys are ignored.

    Raises:
        ImmuneError: it is no JSON object, or lacks what a prompt needs.
    """
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ImmuneError(f"{where} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ImmuneError(f"{where} should hold one JSON object, an incident")
    for key, what in (("incident_id", "its id"), ("dag_analysis", "its evidence, the DAG's text")):
        if not isinstance(found.get(key), str) or not found[key].strip():
            raise ImmuneError(f"the incident in {where} has no `{key}`: give {what} as text")
    try:
        incident = msgspec.convert(found, Incident)
    except msgspec.ValidationError as error:
        raise ImmuneError(f"the incident in {where} cannot be used: {error}") from None
    for name, value in msgspec.structs.asdict(incident).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ImmuneError(f"the incident in {where} cannot be used: `{name}` is not finite")
        if isinstance(value, str) and _HALF.search(value):
            raise ImmuneError(
                f"the incident in {where} cannot be used: `{name}` holds half of a surrogate pair"
            )
    return incident


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def incident_from_dag(text: str, where: str) -> Incident:
    """The incident of a DAG alone; its facts are those of the header that Slips writes.

    Raises:
        ImmuneError: the text is empty.
    """
    if not text.strip():
        raise ImmuneError(f"{where} is empty: give the text of an incident's DAG")
    header = "\n".join(text.split("\n", _HEADER_LINES)[:_HEADER_LINES])
    found = {name: of.search(header) for name, of in _HEADER.items()}
    facts: dict[str, Any] = {name: match[1] if match else None for name, match in found.items()}
    return Incident(
        incident_id=facts["incident_id"] or "unknown",
        dag_analysis=text,
        source_ip=facts["source_ip"],
        timewindow=facts["timewindow"],
        timeline=facts["timeline"],
        threat_level=float(facts["threat_level"]) if facts["threat_level"] else None,
        event_count=int(facts["event_count"]) if facts["event_count"] else None,
    )
