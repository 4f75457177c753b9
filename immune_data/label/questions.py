"""What models are asked about an incident: a recipe and incidents in, questions out.

A prompt is the recipe's own, with the evidence that the recipe shows: teacher and student see the
same. Only what protects the teacher is added: its evidence is between lines that contain a nonce, a
sentence says what they mean, and control tokens of every common chat template are neutralised, not
only those of Qwen2.5.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from immune_data.ask import hostile
from immune_data.ask.endpoints import Endpoint
from immune_data.ask.incidents import Incident
from immune_data.ask.request import Question, Request
from immune_data.common.errors import ImmuneError
from immune_data.contract import prompting
from immune_data.prompts import TASKS, Message
from immune_data.recipes import Recipe

_ROOM = 2  # an answer is cut only at so many times the length that the recipe allows
_PREPARED = 4096  # incidents whose prompts are remembered
_REASONING = re.compile(r"</?think(?:ing)?>")


@dataclass(frozen=True)
class Prompt:
    """The messages that ask for a task's answer, and the nonce in them."""

    messages: tuple[Message, ...]
    nonce: str


class Labeller:
    """The questions of a recipe.

    Raises:
        ImmuneError: the recipe's prompts cannot be used.
    """

    def __init__(self, recipe: Recipe, *, temperature: float, max_tokens: int | None) -> None:
        self.recipe = recipe
        self._conversations = prompting.load(recipe)
        self._context = recipe.records.max_sequence_tokens if recipe.dag.within_context else None
        self._temperature = temperature
        self._max_tokens = max_tokens
        self._prompts = lru_cache(_PREPARED)(self._render)

    @property
    def asking_sha256(self) -> str:
        return self._conversations.sha256

    def groups(self, incidents: Iterable[Incident], model: str) -> Iterator[list[Question]]:
        """The questions to a model about each incident; they share their evidence."""
        for incident in incidents:
            if questions := [one for one in self.questions(incident, model).values() if one]:
                yield questions

    def questions(self, incident: Incident, model: str) -> dict[str, Question | None]:
        """By task, the question to a model; None where the evidence cannot be shown."""
        return {
            task: None if prompt is None else self._question(incident, task, model, prompt)
            for task, prompt in self._prompts(incident).items()
        }

    def _question(self, incident: Incident, task: str, model: str, prompt: Prompt) -> Question:
        parameters: dict[str, float | int] = {
            "max_tokens": self._max_tokens or _ROOM * self._conversations.room[task],
            "temperature": self._temperature,
        }

        def problem(text: str) -> str | None:
            if prompt.nonce in text:
                return "repeats_markers"
            return "reasoning" if _REASONING.search(text) else None

        return Question(Request(model, prompt.messages, parameters), incident.incident_id, problem)

    def _render(self, incident: Incident) -> dict[str, Prompt | None]:
        conversations = self._conversations
        facts = conversations.facts(incident.facts)
        dag = conversations.evidence(incident.dag_analysis or "")
        prompts: dict[str, Prompt | None] = {}
        for task in TASKS:
            if self._context is None:
                shown = conversations.within_limit(dag)
            else:
                try:
                    shown = conversations.shown_by_task(facts, dag, self._context, [task])[task]
                except ImmuneError:
                    prompts[task] = None
                    continue
            prompts[task] = self._prompt(task, facts, shown.text)
        return prompts

    def _prompt(self, task: str, facts: dict[str, str], shown: str) -> Prompt:
        nonce = hostile.nonce(*facts.values(), shown)
        messages = self._conversations.messages(
            task,
            {name: hostile.neutral(fact) for name, fact in facts.items()},
            hostile.fenced(hostile.neutral(shown), nonce),
        )
        return Prompt(tuple(_guarded(messages, nonce)), nonce)


def _guarded(messages: Sequence[Message], nonce: str) -> Iterator[Message]:
    """The messages, the first of which says what is data.

    It is the system message if the recipe has one; none is added, as not every template knows that
    role.
    """
    first, *rest = messages
    parts = [first.content, hostile.guard(nonce)]
    yield Message(first.role, "\n\n".join(parts if first.role == "system" else parts[::-1]))
    yield from rest


def of_recipe(endpoints: Sequence[Endpoint], recipe: Recipe) -> list[Endpoint]:
    """The endpoints, with the recipe's own names for the models.

    Raises:
        ImmuneError: the recipe declares no such model.
    """
    names = {
        name: model
        for model, declared in recipe.models.items()
        for name in (*declared.spellings, model)
    }
    for endpoint in endpoints:
        if endpoint.model not in names:
            raise ImmuneError(
                f"recipe {recipe.name} declares no model {endpoint.model}: name one of "
                f"{', '.join(recipe.models)}, or add it to the [models] of a recipe of your own"
            )
    return [
        msgspec.structs.replace(
            endpoint,
            model=names[endpoint.model],
            served_as=endpoint.served_as or endpoint.model,
        )
        for endpoint in endpoints
    ]
