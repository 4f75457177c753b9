"""Let a model answer questions: questions in, answers out, as rows and as lines about them."""

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
    """What decides an answer besides the model and the prompt."""

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

        A summary has none if its evidence has no header or no totals.
        """
        if question.task not in self.grammars:
            return None
        return summary(question.shown) if question.task == "summary" else question.task

    def shown(self, question: Question) -> Shown | None:
        """The names that the answer may contain; None if any are allowed."""
        return Shown(question.shown) if self.grounded else None

    def refuse_too_few(self, questions: Iterable[Question]) -> None:
        """Check, before anything is answered, that each task's grammar has room to end.

        Raises:
            ImmuneError: answers to a task are allowed too few tokens.
        """
        limits: dict[Form, int] = {}
        for question in questions:
            if form := self.grammar(question):
                limits[form] = min(self.limit(question), limits.get(form, self.limit(question)))
        for form, limit in limits.items():
            Ending(form, limit)


def grammars(choice: bool | None, *, grounded: bool) -> tuple[str, ...]:
    """The tasks whose answers follow their grammar; the defaults if `choice` is None.

    The grammar of a summary is made from its evidence, as is the rule that answers are grounded.
    """
    default = (*BY_DEFAULT, "summary") if grounded else BY_DEFAULT
    return {None: default, True: TASKS, False: ()}[choice]


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
    model: LocalModel,
    questions: Sequence[Question],
    settings: Settings,
    *,
    side_by_side: bool = True,
) -> list[Answer]:
    """The model's answers to questions about one incident, side by side if possible."""
    prompts = [
        Prompt(
            question.ids,
            settings.limit(question),
            settings.grammar(question),
            settings.shown(question),
        )
        for question in questions
    ]
    return model.answers(
        prompts,
        temperature=settings.temperature,
        seed=settings.seed,
        drafts=settings.drafts,
        side_by_side=side_by_side,
    )


def as_row(model: LocalModel, question: Question, answer: Answer) -> dict[str, Any]:
    """An answer as a row of JSON."""
    return {
        "incident_id": question.incident_id,
        "task": question.task,
        "model": model.path.name,
        "answer": answer.text,
        "fields": answer_fields.parse(question.task, answer.text).fields,
        "level_probabilities": answer.levels
        and {level: round(chance, 4) for level, chance in answer.levels.items()},
        "finish": answer.finish,
        "interventions": [asdict(intervention) for intervention in answer.interventions],
        "tokens": answer.tokens,
        "drafted_tokens": answer.drafted,
        "accepted_tokens": answer.accepted,
        "max_tokens": answer.limit,
        "dag_tokens": question.dag_tokens,
        "dag_tokens_shown": question.dag_tokens_shown,
        "prompt_tokens": answer.prompt_tokens,
        "evaluated_tokens": answer.evaluated_tokens,
        "prefill_seconds": round(answer.prefill_seconds, 3),
        "generation_seconds": round(answer.generation_seconds, 3),
    }


def evidence_shown(questions: Sequence[Question]) -> str | None:
    """A line that says how much of the evidence is shown, if it is not all."""
    tokens_shown = {
        question.task: question.dag_tokens_shown
        for question in questions
        if question.dag_tokens_shown != question.dag_tokens
    }
    if not tokens_shown:
        return None
    parts = ", ".join(f"{task} {tokens:,}" for task, tokens in tokens_shown.items())
    return f"tokens shown of the evidence's {questions[0].dag_tokens:,}: {parts}"


def stop_reason(row: dict[str, Any]) -> str | None:
    """Why an answer was ended, if it did not end by itself."""
    reasons = {"length": "cut off", "wound_up": "wound up"}
    if row["finish"] not in reasons:
        return None
    return f"{reasons[row['finish']]} after its limit of {row['max_tokens']:,} tokens"


def timing(row: dict[str, Any]) -> str:
    """A line with the tokens and times of an answer."""
    reason = stop_reason(row)
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
        + (f"; {reason} (raise --max-tokens or --context)" if reason else "")
    )


def say(line: str | None) -> None:
    """Print a note to the user, separately from the results."""
    if line:
        print(line, file=sys.stderr, flush=True)
