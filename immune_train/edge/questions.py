"""Ask about an incident as training did: an incident or a record in, messages and token ids out.

The messages come from `immune_data.contract.prompting`, which made the training records.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from immune_data import recipes
from immune_data.common.errors import ImmuneError
from immune_data.contract import chat, prompting
from immune_data.contract.incident import Incident
from immune_data.contract.record import PromptRecord
from immune_data.prompts import Message

DEFAULT_RECIPE = "unified-clean"


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

    @property
    def shown(self) -> str:
        """All that the prompt says."""
        return "\n".join(message.content for message in self.messages)


class Asker:
    """Questions as one recipe puts them.

    Raises:
        ImmuneError: there is no such recipe, or its prompts cannot be used.
    """

    def __init__(self, recipe: str = DEFAULT_RECIPE, context: int | None = None) -> None:
        found = recipes.load(recipe)
        self.recipe = found.name
        self.grounded = found.answers.grounded  # whether what is learned from names what is shown
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
        shown = made.shown_by_task(facts, dag, self.context, tasks)
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

    def from_record(self, record: PromptRecord) -> Question:
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


def record_from_json(text: str, where: str) -> PromptRecord:
    """The record of a line of an emitted file; further keys are ignored.

    Raises:
        ImmuneError: it is not one.
    """
    try:
        record = msgspec.json.decode(text, type=PromptRecord)
    except (ValueError, RecursionError):
        record = None
    if record is None or len(record.messages) < 2 or record.messages[-1].role != "assistant":
        raise ImmuneError(f"{where} is not an emitted record: give an eval.jsonl")
    return record
