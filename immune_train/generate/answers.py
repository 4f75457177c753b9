"""Have questions answered: questions in, answers out, as rows and as lines that tell of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from immune_data.common.text import counted
from immune_data.contract import answer_fields
from immune_data.prompts import TASKS
from immune_train.edge.ending import Ending
from immune_train.edge.grammar import BY_DEFAULT, Form, summary
from immune_train.edge.grounded import Shown
from immune_train.edge.writing import Answer, Prompt

if TYPE_CHECKING:
    from immune_train.edge.engine import LocalModel
    from immune_train.edge.questions import Question


@dataclass(frozen=True)
class Settings:
    """What decides an answer beside the model and the prompt."""

    grammars: tuple[str, ...]
    max_tokens: int | None
    temperature: float
    seed: int
    grounded: bool
    drafts: bool = False

    def limit(self, question: Question) -> int:
        return self.max_tokens or question.room

    def grammar(self, question: Question) -> Form | None:
        """The form whose grammar the answer follows, if it does.

        There is none of the summary of evidence that lacks the header or the totals.
        """
        if question.task not in self.grammars:
            return None
        return summary(question.shown) if question.task == "summary" else question.task

    def shown(self, question: Question) -> Shown | None:
        """The names that the answer may hold; None if it may hold any."""
        return Shown(question.shown) if self.grounded else None

    def refuse_too_few(self, questions: Iterable[Question]) -> None:
        """Before anything is answered: each task's grammar must have room to end.

        Raises:
            ImmuneError: answers to some task are allowed too few tokens.
        """
        limits: dict[Form, int] = {}
        for question in questions:
            if form := self.grammar(question):
                limits[form] = min(self.limit(question), limits.get(form, self.limit(question)))
        for form, limit in limits.items():
            Ending(form, limit)


def grammars(wanted: bool | None, *, grounded: bool) -> tuple[str, ...]:
    """The tasks whose answers follow their grammar; those of the defaults where `wanted` is None.

    That of a summary is made of its evidence, as is the rule that answers are grounded.
    """
    by_default = (*BY_DEFAULT, "summary") if grounded else BY_DEFAULT
    return {None: by_default, True: TASKS, False: ()}[wanted]


def answer(
    model: LocalModel,
    question: Question,
    settings: Settings,
    say: Callable[[str], None] | None = None,
) -> Answer:
    """The model's answer to one question."""
    return model.answer(
        question.ids,
        settings.limit(question),
        grammar=settings.grammar(question),
        shown=settings.shown(question),
        temperature=settings.temperature,
        seed=settings.seed,
        drafts=settings.drafts,
        say=say,
    )


def answers(
    model: LocalModel, questions: Sequence[Question], settings: Settings, *, beside: bool = True
) -> list[Answer]:
    """The model's answers to questions about one incident, side by side where they may be."""
    prompts = [
        Prompt(one.ids, settings.limit(one), settings.grammar(one), settings.shown(one))
        for one in questions
    ]
    return model.answers(
        prompts,
        temperature=settings.temperature,
        seed=settings.seed,
        drafts=settings.drafts,
        beside=beside,
    )


def as_row(model: LocalModel, question: Question, given: Answer) -> dict[str, Any]:
    """An answer as it is written: a line of JSON."""
    return {
        "incident_id": question.incident_id,
        "task": question.task,
        "model": model.path.name,
        "answer": given.text,
        "fields": answer_fields.parse(question.task, given.text).fields,
        "level_probabilities": given.levels
        and {level: round(chance, 4) for level, chance in given.levels.items()},
        "finish": given.finish,
        "interventions": [asdict(one) for one in given.interventions],
        "tokens": given.tokens,
        "drafted_tokens": given.drafted,
        "accepted_tokens": given.accepted,
        "max_tokens": given.limit,
        "dag_tokens": question.dag_tokens,
        "dag_tokens_shown": question.dag_tokens_shown,
        "prompt_tokens": given.prompt_tokens,
        "evaluated_tokens": given.evaluated_tokens,
        "prefill_seconds": round(given.prefill_seconds, 3),
        "generation_seconds": round(given.generation_seconds, 3),
    }


def evidence_shown(questions: Sequence[Question]) -> str | None:
    """A line that says how much of the evidence is shown, if it is not all."""
    cut = {
        question.task: question.dag_tokens_shown
        for question in questions
        if question.dag_tokens_shown != question.dag_tokens
    }
    if not cut:
        return None
    shown = ", ".join(f"{task} {tokens:,}" for task, tokens in cut.items())
    return f"of the evidence's {questions[0].dag_tokens:,} tokens are shown: {shown}"


def ended(row: dict[str, Any]) -> str | None:
    """Why an answer ends, if not by itself."""
    ends = {"length": "cut off", "wound_up": "wound up"}
    if row["finish"] not in ends:
        return None
    return f"{ends[row['finish']]}: its room of {row['max_tokens']:,} tokens was used up"


def took(row: dict[str, Any]) -> str:
    """A line that says what an answer took."""
    why = ended(row)
    return (
        f"{row['task']}: {row['evaluated_tokens']:,} of {row['prompt_tokens']:,} prompt tokens"
        f" evaluated in {row['prefill_seconds']:.1f} s, {row['tokens']:,} generated in"
        f" {row['generation_seconds']:.1f} s"
        + (
            f"; kept {counted(len(row['interventions']), 'time')} from names or bullets"
            if row["interventions"]
            else ""
        )
        + (
            f"; {row['accepted_tokens']:,} of {row['drafted_tokens']:,} drafted tokens accepted"
            if row["drafted_tokens"]
            else ""
        )
        + (f"; {why} (raise --max-tokens or --context)" if why else "")
    )


def say(line: str | None) -> None:
    """Tell the user, beside the results."""
    if line:
        print(line, file=sys.stderr, flush=True)
