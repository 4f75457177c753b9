"""What an answer is held against: the prompt it would be learned behind, with the evidence shown.

In: how a recipe asks, and an incident with its evidence. Out: what the incident's prompt for a task
shows, and why an answer cannot stand behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from immune_data.contract import chat, prompting
from immune_data.contract.grounding import ungrounded
from immune_data.contract.prompting import Conversations, Counted
from immune_data.prompts import Message
from immune_data.recipes import Recipe


@dataclass(frozen=True)
class Refusal:
    """The rule that refuses an answer, and what about it."""

    rule: str
    detail: str | None = None


@dataclass(frozen=True)
class Asking:
    """How a recipe asks, and what it demands of answers; the context is None if none is needed."""

    conversations: Conversations
    context: int | None
    grounded: bool
    derived_lines: bool

    def question(self, task: str, incident: Mapping[str, Any]) -> Question:
        """The question of a task about an incident of `judged_incidents`."""
        return Question(self, task, incident)


@dataclass
class Question:
    """One task about one incident; what it shows is decided when it is first asked for."""

    asking: Asking
    task: str
    incident: Mapping[str, Any]

    @cached_property
    def _facts(self) -> dict[str, str]:
        return self.asking.conversations.facts(self.incident)

    @cached_property
    def shown(self) -> Counted | None:
        """The condensed evidence as the prompt shows it; None where the recipe shows lines."""
        if self.incident["condensed"] is None:
            return None
        conversations = self.asking.conversations
        dag = conversations.evidence(self.incident["condensed"])
        answers = [(self.task, conversations.room[self.task])]
        [shown] = conversations.shown(self._facts, dag, self.asking.context, answers)
        return shown

    @cached_property
    def _text(self) -> str:
        """All that the prompt says."""
        assert self.shown is not None
        messages = self.asking.conversations.messages(self.task, self._facts, self.shown.text)
        return "\n".join(message.content for message in messages)

    @cached_property
    def _evidence_is_too_long(self) -> bool:
        """Whether no answer can stand behind what is shown, however short it is."""
        context = self.asking.context
        assert self.shown is not None
        assert context is not None
        reason = self.asking.conversations.too_long(self.task, self._facts, self.shown, context)
        return reason is not None

    def refusal(self, answer: Counted) -> Refusal | None:
        """Why the answer cannot stand behind the prompt.

        `too_long` where the context cannot hold both; `evidence_too_long` where the evidence is
        what does not fit, whatever the answer; `ungrounded` where the answer names what is not
        shown.
        """
        if self.asking.context is None:
            return None
        tokens = chat.measure(
            [Message("assistant", answer.text)], {answer.text: answer.tokens}
        ).answer
        if not self._fits(self.asking.conversations.marker_alone, tokens):
            return Refusal("too_long")
        if self.shown is None:
            return None
        if self._evidence_is_too_long:
            return Refusal("evidence_too_long")
        if not self._fits(self.shown, tokens):
            return Refusal("too_long")
        if self.asking.grounded and (lacking := ungrounded(answer.text, self._text)):
            named = (f"{kind} {value}" for kind, values in lacking.items() for value in values)
            return Refusal("ungrounded", ", ".join(named))
        return None

    def _fits(self, shown: Counted, answer: int) -> bool:
        prompt = self.asking.conversations.prompt_tokens(self.task, self._facts, shown)
        context = self.asking.context
        return context is None or prompt + answer <= context


def load(recipe: Recipe) -> Asking:
    """How a recipe asks, its prompts read.

    Raises:
        ImmuneError: the prompts are not as they should be.
    """
    return Asking(
        conversations=prompting.load(recipe),
        context=recipe.records.max_sequence_tokens if recipe.dag.within_context else None,
        grounded=recipe.answers.grounded,
        derived_lines=recipe.answers.derived_lines,
    )
