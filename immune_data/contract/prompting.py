"""Conversations as a recipe makes them: an incident's facts and evidence in, messages out.

Records and the prompts of the deployed model are both rendered here, so that both have the same
text and the same lines of a DAG. Light on purpose: nothing but the tokenizer is loaded.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from immune_data import prompts
from immune_data.common.errors import ImmuneError
from immune_data.contract import chat, control_tokens, evidence
from immune_data.contract.grounding import names_in
from immune_data.contract.tokens import count, cut, excerpt
from immune_data.prompts import TASKS, Message, Prompt
from immune_data.recipes import Length, Recipe

# The most tokens that an answer takes for each unit of its length. Each digit is a token of
# Qwen2.5, so that a summary, which is full of times and addresses, takes twice as many as prose.
_PROSE, _FIGURES = {"chars4": 1.0, "words": 2.0}, {"chars4": 2.25, "words": 4.0}
_END = 2  # the answer's <|im_end|> and the line end after it

# A line of the header that Slips writes above the events, or an empty one.
_HEADER = re.compile(r"\s*(?:=+|(?:Incident|Source IP|Timeline|Threat Level):.*)?\s*")


@dataclass(frozen=True)
class Counted:
    """A text and its tokens."""

    text: str
    tokens: int


@dataclass(frozen=True)
class Conversations:
    """How a recipe asks about an incident: the prompts, and how the evidence is shown."""

    prompts: dict[str, Prompt]
    dag_values: int | None  # shown of each slot of condensed evidence; None: lines are shown
    dag_limit: int
    dag_unit: str
    dag_marker: str
    within_context: bool  # whether the context is a limit too; then `dag_marker` states the tokens
    neutralise: bool
    room: dict[str, int]  # by task: the tokens of the longest allowed answer
    layout: str

    @property
    def sha256(self) -> str:
        """One value for everything that determines a prompt.

        It is in a dataset's manifest, and in a model file that was trained on the dataset, so that
        one can check that the model is asked as it was trained.
        """
        values = {
            "prompts": {task: prompt.templates for task, prompt in self.prompts.items()},
            "dag": [self.dag_limit, self.dag_unit, self.dag_marker],
            "neutralise": self.neutralise,
            "room": self.room,
            "layout": self.layout,
            **({"fit": "context"} if self.within_context else {}),
            **({"values": self.dag_values} if self.dag_values else {}),
        }
        text = json.dumps(values, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def facts(self, incident: Mapping[str, Any]) -> dict[str, str]:
        """An incident's facts as text."""
        facts = prompts.facts(**{name: incident[name] for name in prompts.FACTS})
        if self.neutralise:
            return {name: control_tokens.escape(fact) for name, fact in facts.items()}
        return facts

    def evidence(self, dag: str, tokens: int | None = None) -> Counted:
        """The whole DAG in the form to show; `tokens` are those of `dag` if it has that form.

        Condensed evidence may be condensed already: condensing it again changes nothing.
        """
        if self.dag_values and tokens is None:
            dag = evidence.condense(dag, self.dag_values)
        if self.neutralise and (escaped := control_tokens.escape(dag)) != dag:
            return Counted(escaped, count(escaped))
        return Counted(dag, count(dag) if tokens is None else tokens)

    def is_cut(self, dag: Counted, shown: Counted) -> bool:
        """Whether part of the DAG is not shown; condensed, all of it always is."""
        return not self.dag_values and shown.text != dag.text

    def minimum(self, dag: Counted) -> Counted:
        """The least that may be shown of the DAG: one value in each slot, or no line at all."""
        return self._condensed(dag, 1) if self.dag_values else self.marker_alone

    def _condensed(self, dag: Counted, values: int) -> Counted:
        text = evidence.condense(dag.text, values)
        return dag if text == dag.text else Counted(text, count(text))

    def within_limit(self, dag: Counted) -> Counted:
        """As much of the DAG as fits within the recipe's limit."""
        if self.dag_unit == "tokens" and dag.tokens <= self.dag_limit:
            return dag
        return self._cut(dag, self.dag_limit, self.dag_unit)

    def _cut(self, dag: Counted, limit: int, unit: str = "tokens") -> Counted:
        """As much of the DAG as fits within a limit; where lines are cut, the last one says so."""
        if self.dag_values:
            forms = (self._condensed(dag, number) for number in range(self.dag_values, 0, -1))
            return next((form for form in forms if form.tokens <= limit), self.minimum(dag))
        if self.within_context:
            shown = excerpt(dag.text, limit, self.dag_marker)
        else:
            shown = cut(dag.text, limit, self.dag_marker, unit)
        return Counted(shown, dag.tokens if shown == dag.text else count(shown))

    @cached_property
    def marker_alone(self) -> Counted:
        """The text shown if no line of the DAG fits: only the marker."""
        return self._cut(Counted("\n" * 2, 1), 0)

    def messages(self, task: str, facts: dict[str, str], shown: str) -> list[Message]:
        """The messages that ask for a task's answer."""
        return self.prompts[task].render(facts, shown)

    def prompt_tokens(self, task: str, facts: dict[str, str], shown: Counted) -> int:
        """The tokens of a conversation before its answer."""
        messages = [*self.messages(task, facts, shown.text), Message("assistant", "")]
        return chat.measure(messages, {shown.text: shown.tokens}).prompt

    def shown(
        self,
        facts: dict[str, str],
        dag: Counted,
        context: int | None,
        answers: Sequence[tuple[str, int]],
    ) -> list[Counted]:
        """The part of the DAG to show for each answer, of which task and tokens are given.

        As much as fits within the recipe's limit; in a context less, so that the answer fits in it
        too. If there is not enough room even without the DAG, only the marker is shown; condensed
        evidence then has one value in each slot.

        In the layout `evidence-first` all tasks show the same part, which leaves room for the
        longest answer that the recipe allows, whichever tasks are asked and however long their
        answers are: so an incident's prompts are the same in training and afterwards. They all show
        less only if an answer is even longer. Condensed evidence does not depend on the answer: it
        leaves room for the longest one in every layout.
        """
        limited = self.within_limit(dag)
        if context is None:
            return [limited] * len(answers)
        if self.dag_values:
            answers = [(task, self.room[task]) for task, _ in answers]
        if self.layout == "evidence-first":
            room = dict(self.room)
            for task, tokens in answers:
                room[task] = max(room[task], tokens)
            limited = self._fitted(facts, dag, limited, context, room.items())
        return [self._fitted(facts, dag, limited, context, [answer]) for answer in answers]

    def _fitted(
        self,
        facts: dict[str, str],
        dag: Counted,
        shown: Counted,
        context: int,
        answers: Iterable[tuple[str, int]],
    ) -> Counted:
        """`shown`, or less of the DAG, so that every answer fits in the context too."""
        limit = shown.tokens
        for task, answer in answers:
            while (
                excess := self.prompt_tokens(task, facts, shown) + answer - context
            ) > 0 and shown.text != self.minimum(dag).text:
                # Tokens may join where two texts meet, so that one cut may not be enough.
                limit = min(limit, shown.tokens) - excess
                shown = self._cut(dag, limit)
        return shown

    def too_long(
        self, task: str, facts: dict[str, str], shown: Counted, context: int
    ) -> str | None:
        """Why the evidence shown is too long; None if it is not.

        It must be within the recipe's limit, and fit in the context with the rest of the prompt and
        the longest allowed answer. Lines are cut to the limit, so that only condensed evidence can
        exceed it.
        """
        form = "with each kind of event once" if self.dag_values else "without evidence"
        if self.dag_values and shown.tokens > self.dag_limit:
            return (
                f"the evidence takes {shown.tokens:,} tokens even {form}, and the recipe's limit "
                f"is {self.dag_limit:,}: shorten the evidence or raise the limit"
            )
        needed = self.prompt_tokens(task, facts, shown) + self.room[task]
        if needed > context:
            return (
                f"the prompt of task {task} and its answer take {needed} tokens even {form}, and "
                f"the context holds {context}: shorten the incident's facts or raise the context"
            )
        return None

    def shown_by_task(
        self, facts: dict[str, str], dag: Counted, context: int, tasks: Iterable[str]
    ) -> dict[str, Counted]:
        """The part of the DAG to show for each task if the answers are not known yet.

        Raises:
            ImmuneError: the least that may be shown of the evidence is too long, or none of its
                events would be shown.
        """
        answers = [(task, self.room[task]) for task in tasks]
        by_answer = self.shown(facts, dag, context, answers)
        shown = {task: part for (task, _), part in zip(answers, by_answer, strict=True)}
        for task, part in shown.items():
            if (reason := self.too_long(task, facts, part, context)) is not None:
                raise ImmuneError(reason)
            if self.is_cut(dag, part) and _shows_nothing(part.text):
                raise ImmuneError(
                    f"no event of the evidence's {dag.tokens:,} tokens fits the context of "
                    f"{context:,} next to the prompt of task {task} and its longest answer, and "
                    "without events there is nothing to assess: raise the context"
                )
        return shown

    def evidence_in(self, task: str, messages: Sequence[Message]) -> Counted | None:
        """The part of a DAG that messages show; None if this recipe did not make them."""
        shown = self.prompts[task].evidence_in(messages)
        return None if shown is None else Counted(shown, count(shown))


def _shows_nothing(shown: str) -> bool:
    """Whether there is nothing between the header and the last line, which is the marker."""
    return all(_HEADER.fullmatch(line) for line in shown.split("\n")[:-1])


def load(recipe: Recipe) -> Conversations:
    """The conversations of a recipe, with its prompts loaded.

    Raises:
        ImmuneError: the prompts are not valid; or the recipe neutralises control tokens but its own
            prompts or marker contain one; or it demands grounded answers but its own prompts name
            something that evidence could name.
    """
    layout = recipe.records.prompt_layout
    loaded_prompts = prompts.load(recipe.prompts_folder, layout)
    if recipe.answers.grounded:
        for task, prompt in loaded_prompts.items():
            for kind, values in names_in("\n".join(text for _, text in prompt.templates)).items():
                raise ImmuneError(
                    f"recipe {recipe.name} demands grounded answers, but the prompt of task {task} "
                    f"names the {kind.replace('_', ' ')} {min(values)}, which an answer could copy "
                    "from there: remove it from the prompt"
                )
    if recipe.answers.cleaned:
        own = {
            f"the prompt of task {task}": prompt.templates
            for task, prompt in loaded_prompts.items()
        }
        own["its dag_marker"] = (("", recipe.dag_marker),)
        for place, templates in own.items():
            if any(control_tokens.contains(text) for _, text in templates):
                raise ImmuneError(
                    f"recipe {recipe.name} neutralises control tokens, but {place} holds one"
                )
    return Conversations(
        prompts=loaded_prompts,
        dag_values=recipe.dag.values if recipe.dag.form == "condensed" else None,
        dag_limit=recipe.dag.limit,
        dag_unit=recipe.dag.unit,
        dag_marker=recipe.dag.marker if recipe.dag.within_context else recipe.dag_marker,
        within_context=recipe.dag.within_context,
        neutralise=recipe.answers.cleaned,
        room={task: _room(task, getattr(recipe.gates, f"{task}_length")) for task in TASKS},
        layout=layout,
    )


def _room(task: str, length: Length) -> int:
    """The tokens of the longest answer that passes the gate, with its end."""
    per_unit = (_FIGURES if task == "summary" else _PROSE).get(length.unit, 1.0)
    return math.ceil(length.max * per_unit) + _END
