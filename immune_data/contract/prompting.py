"""Conversations as a recipe makes them: an incident's facts and evidence in, messages out.

Records are rendered here and the deployed model is asked here, so that both see the same text and
the same lines of a DAG. Light on purpose: nothing but the tokenizer is loaded.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from immune_data import prompts
from immune_data.common.errors import ImmuneError
from immune_data.contract import chat, control_tokens, evidence
from immune_data.contract.grounding import named
from immune_data.contract.tokens import count, cut, excerpt
from immune_data.prompts import TASKS, Message, Prompt
from immune_data.recipes import Length, Recipe

# The most tokens an answer takes for each unit of its length. Qwen2.5 reads a digit as a token, so
# that a summary, which is full of times and addresses, takes twice what prose of its length does.
_PROSE, _FIGURES = {"chars4": 1.0, "words": 2.0}, {"chars4": 2.25, "words": 4.0}
_END = 2  # the answer's <|im_end|> and the line end after it

# A line of the header that Slips writes over the events, or an empty one.
_HEADER = re.compile(r"\s*(?:=+|(?:Incident|Source IP|Timeline|Threat Level):.*)?\s*")


@dataclass(frozen=True)
class Counted:
    """A text and its tokens."""

    text: str
    tokens: int


@dataclass(frozen=True)
class Conversations:
    """What decides how an incident is asked about: the prompts, and how to show the evidence."""

    prompts: dict[str, Prompt]
    dag_values: int | None  # named of each slot of condensed evidence; None: lines are shown
    dag_limit: int
    dag_unit: str
    dag_marker: str
    within_context: bool  # whether the context decides too; `dag_marker` then says what is shown
    neutralise: bool
    room: dict[str, int]  # by task: the tokens that the longest allowed answer takes
    layout: str

    @property
    def sha256(self) -> str:
        """One value for everything that decides what a model is asked.

        A dataset's manifest holds it, and a model file that was trained on the dataset, so that
        whoever asks the model can see that it is asked as it was trained.
        """
        decides = {
            "prompts": {task: prompt.templates for task, prompt in self.prompts.items()},
            "dag": [self.dag_limit, self.dag_unit, self.dag_marker],
            "neutralise": self.neutralise,
            "room": self.room,
            "layout": self.layout,
            **({"fit": "context"} if self.within_context else {}),
            **({"values": self.dag_values} if self.dag_values else {}),
        }
        text = json.dumps(decides, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def facts(self, incident: Mapping[str, Any]) -> dict[str, str]:
        """An incident's facts as text."""
        facts = prompts.facts(**{name: incident[name] for name in prompts.FACTS})
        if self.neutralise:
            return {name: control_tokens.escape(fact) for name, fact in facts.items()}
        return facts

    def evidence(self, dag: str, tokens: int | None = None) -> Counted:
        """The whole DAG as it may be shown; `tokens` are those of `dag` where they are known.

        Condensed evidence may be condensed already: that changes nothing.
        """
        if self.dag_values:
            dag, tokens = evidence.condense(dag, self.dag_values), None
        if self.neutralise and (escaped := control_tokens.escape(dag)) != dag:
            return Counted(escaped, count(escaped))
        return Counted(dag, count(dag) if tokens is None else tokens)

    def is_cut(self, dag: Counted, shown: Counted) -> bool:
        """Whether part of the DAG is not shown; condensed, all of it always is."""
        return not self.dag_values and shown.text != dag.text

    def least(self, dag: Counted) -> Counted:
        """The least of the DAG that may be shown: one value of each, or no line at all."""
        return self._condensed(dag, 1) if self.dag_values else self.nothing

    def _condensed(self, dag: Counted, values: int) -> Counted:
        text = evidence.condense(dag.text, values)
        return dag if text == dag.text else Counted(text, count(text))

    def limited(self, dag: Counted) -> Counted:
        """As much of the DAG as the recipe's limit lets show."""
        if self.dag_unit == "tokens" and dag.tokens <= self.dag_limit:
            return dag
        return self._cut(dag, self.dag_limit, self.dag_unit)

    def _cut(self, dag: Counted, limit: int, unit: str = "tokens") -> Counted:
        """As much of the DAG as a limit lets show; lines that are cut end in one that says so."""
        if self.dag_values:
            forms = (self._condensed(dag, number) for number in range(self.dag_values, 0, -1))
            return next((form for form in forms if form.tokens <= limit), self.least(dag))
        if self.within_context:
            shown = excerpt(dag.text, limit, self.dag_marker)
        else:
            shown = cut(dag.text, limit, self.dag_marker, unit)
        return Counted(shown, dag.tokens if shown == dag.text else count(shown))

    @property
    def nothing(self) -> Counted:
        """What is shown of a DAG of which no line fits: the marker alone."""
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
        """What of the DAG to show for each answer, which is given by its task and its tokens.

        As much as the recipe's limit lets show, and within a context as much less as the answer
        needs to be whole in it. Where there is not room enough even without the DAG, the marker
        stands alone; condensed evidence has one value of each then.

        In the layout `evidence-first` all tasks show the same, as much as leaves each the room of
        the longest answer that the recipe allows, whichever tasks are asked for and however long
        their answers are: so an incident's prompts are the same in training and after it. Only
        beside an answer that is longer still, all show less. Condensed evidence does not look at
        the answer at all: it leaves the room of the longest one in every layout.
        """
        limited = self.limited(dag)
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
        """`shown`, or as much less of the DAG as every answer needs to be whole in the context."""
        limit, least = shown.tokens, self.least(dag).text
        for task, answer in answers:
            while (
                over := self.prompt_tokens(task, facts, shown) + answer - context
            ) > 0 and shown.text != least:
                # Where texts meet, tokens may join, so that a first cut can fall short.
                limit = min(limit, shown.tokens) - over
                shown = self._cut(dag, limit)
        return shown

    def too_long(
        self, task: str, facts: dict[str, str], shown: Counted, context: int
    ) -> str | None:
        """Why what is shown of the evidence is too long for its place; None where it is not.

        Its place is what the recipe's limit allows, and what the context holds beside the rest of
        the prompt and the longest allowed answer. Lines are cut to the limit, so that only
        condensed evidence can pass it.
        """
        least = "with each kind of event once" if self.dag_values else "without evidence"
        if self.dag_values and shown.tokens > self.dag_limit:
            return (
                f"the evidence takes {shown.tokens:,} tokens even {least}, and the recipe's limit "
                f"is {self.dag_limit:,}: shorten the evidence or raise the limit"
            )
        needed = self.prompt_tokens(task, facts, shown) + self.room[task]
        if needed > context:
            return (
                f"the prompt of task {task} and its answer take {needed} tokens even {least}, and "
                f"the context holds {context}: shorten the incident's facts or raise the context"
            )
        return None

    def asked(
        self, facts: dict[str, str], dag: Counted, context: int, tasks: Iterable[str]
    ) -> dict[str, Counted]:
        """What of the DAG to show for each task where answers are not known yet.

        Raises:
            ImmuneError: the least of the evidence that may be shown is too long for its place, or
                none of its events would be shown.
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
                    f"{context:,} beside the prompt of task {task} and its longest answer, and "
                    "nothing shown is nothing to assess: raise the context"
                )
        return shown

    def evidence_in(self, task: str, messages: Sequence[Message]) -> Counted | None:
        """What messages show of a DAG; None for those that this recipe did not make."""
        shown = self.prompts[task].evidence_in(messages)
        return None if shown is None else Counted(shown, count(shown))


def _shows_nothing(shown: str) -> bool:
    """Whether nothing stands between the header and the last line, which is the marker."""
    return all(_HEADER.fullmatch(line) for line in shown.split("\n")[:-1])


def load(recipe: Recipe) -> Conversations:
    """The conversations of a recipe, its prompts read.

    Raises:
        ImmuneError: the prompts are not as they should be; or the recipe neutralises control
            tokens and its own prompts or marker hold one; or it demands grounded answers and its
            own prompts name something that evidence could name.
    """
    layout = recipe.records.prompt_layout
    loaded = prompts.load(recipe.prompts_folder, layout)
    if recipe.answers.grounded:
        for task, prompt in loaded.items():
            for kind, values in named("\n".join(text for _, text in prompt.templates)).items():
                raise ImmuneError(
                    f"recipe {recipe.name} demands grounded answers, but the prompt of task {task} "
                    f"names the {kind.replace('_', ' ')} {min(values)}, which an answer could copy "
                    "from there: take it out of the prompt"
                )
    if recipe.answers.cleaned:
        own = {f"the prompt of task {task}": prompt.templates for task, prompt in loaded.items()}
        own["its dag_marker"] = (("", recipe.dag_marker),)
        for what, templates in own.items():
            if any(control_tokens.found(text) for _, text in templates):
                raise ImmuneError(
                    f"recipe {recipe.name} neutralises control tokens, but {what} holds one"
                )
    return Conversations(
        prompts=loaded,
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
