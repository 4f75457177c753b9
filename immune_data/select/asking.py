"""Check an answer against the prompt that it would follow, with the evidence shown.

In: how a recipe asks, and an incident with its evidence. Out: the evidence in the incident's prompt
for a task, and why an answer cannot follow it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from immune_data.contract import chat, prompting
from immune_data.contract.grounding import ungrounded
from immune_data.contract.prompting import Conversations, Counted
from immune_data.contract.tokens import count
from immune_data.prompts import Message
from immune_data.recipes import Recipe


@dataclass(frozen=True)
class Refusal:
    """The rule that refuses an answer, and the details."""

    rule: str
    detail: str | None = None


@dataclass(frozen=True)
class Asking:
    """How a recipe asks, and what it demands of answers; `context` is None without a limit."""

    conversations: Conversations
    context: int | None
    grounded: bool
    derived_lines: bool

    def question(self, task: str, incident: Mapping[str, Any]) -> Question:
        """The question of a task about an incident of `judged_incidents`."""
        return Question(self, task, incident)


@dataclass
class Question:
    """One task about one incident; the evidence shown is computed when it is first needed."""

    asking: Asking
    task: str
    incident: Mapping[str, Any]

    @cached_property
    def _facts(self) -> dict[str, str]:
        return self.asking.conversations.facts(self.incident)

    @cached_property
    def shown(self) -> Counted | None:
        """The condensed evidence as the prompt shows it; None if the recipe shows lines."""
        if self.incident["condensed"] is None:
            return None
        conversations = self.asking.conversations
        condensed = self.incident["condensed"]
        dag = conversations.evidence(condensed, count(condensed))
        answers = [(self.task, conversations.room[self.task])]
        [shown] = conversations.shown(self._facts, dag, self.asking.context, answers)
        return shown

    @cached_property
    def _text(self) -> str:
        """The whole text of the prompt."""
        assert self.shown is not None
        messages = self.asking.conversations.messages(self.task, self._facts, self.shown.text)
        return "\n".join(message.content for message in messages)

    @cached_property
    def _tokens(self) -> int:
        """The tokens of the prompt."""
        assert self.shown is not None
        return self._prompt_tokens(self.shown)

    @cached_property
    def _least_tokens(self) -> int:
        """The tokens of the prompt without evidence."""
        return self._prompt_tokens(self.asking.conversations.marker_alone)

    def _prompt_tokens(self, shown: Counted) -> int:
        return self.asking.conversations.prompt_tokens(self.task, self._facts, shown)

    @cached_property
    def _evidence_is_too_long(self) -> bool:
        """Whether the evidence shown leaves no room for any answer, however short."""
        context = self.asking.context
        assert self.shown is not None
        assert context is not None
        reason = self.asking.conversations.too_long(self.task, self._facts, self.shown, context)
        return reason is not None

    def refusal(self, answer: Counted) -> Refusal | None:
        """Why the answer cannot follow the prompt; None if it can.

        `too_long` if both do not fit in the context; `evidence_too_long` if the evidence does not
        fit, whatever the answer; `ungrounded` if the answer names something that is not shown.
        """
        context = self.asking.context
        if context is None:
            return None
        tokens = chat.measure(
            [Message("assistant", answer.text)], {answer.text: answer.tokens}
        ).answer
        if self._least_tokens + tokens > context:
            return Refusal("too_long")
        if self.shown is None:
            return None
        if self._evidence_is_too_long:
            return Refusal("evidence_too_long")
        if self._tokens + tokens > context:
            return Refusal("too_long")
        if self.asking.grounded and (missing := ungrounded(answer.text, self._text)):
            names = (f"{kind} {value}" for kind, values in missing.items() for value in values)
            return Refusal("ungrounded", ", ".join(names))
        return None


def load(recipe: Recipe) -> Asking:
    """How a recipe asks, with its prompts loaded.

    Raises:
        ImmuneError: the prompts are not valid.
    """
    return Asking(
        conversations=prompting.load(recipe),
        context=recipe.records.max_sequence_tokens if recipe.dag.within_context else None,
        grounded=recipe.answers.grounded,
        derived_lines=recipe.answers.derived_lines,
    )
