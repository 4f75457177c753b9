"""One incident answered in one way: a model, an incident and a side in, what it took out."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from immune_data.prompts import TASKS
from immune_train.bench_edge.incidents import Asked
from immune_train.bench_edge.sides import Side
from immune_train.edge.engine import LocalModel, together
from immune_train.edge.writing import Prompt
from immune_train.generate.answers import Settings, grammars

if TYPE_CHECKING:
    from immune_train.edge.questions import Question


@dataclass(frozen=True)
class Timing:
    """What an incident's three tasks took, answered in one way in one round.

    Attributes:
        prompt_tokens: of the three prompts.
        read_tokens: those of them that were evaluated: what prompts share is read once.
        steps: how often tokens of answers were evaluated, those of several answers at once or not.
        answers: the tokens of each answer, by task.
        bytes_per_second: how fast memory was read just before the run.
        peak_bytes: the most memory that the process has had so far.
    """

    round: int
    side: str
    incident_id: str
    seconds: float
    prompt_tokens: int
    read_tokens: int
    read_seconds: float
    first_token_seconds: float
    written_tokens: int
    write_seconds: float
    steps: int
    drafted_tokens: int
    accepted_tokens: int
    interventions: int
    answers: dict[str, list[int]]
    bytes_per_second: float
    peak_bytes: int


def settings(side: Side) -> Settings:
    """What `generate` would be told, with a model whose recipe demands grounded answers."""
    return Settings(
        grammars=grammars(None if side.grammar else False, grounded=True),
        max_tokens=None,
        temperature=0.0,
        seed=0,
        grounded=side.grounded,
        drafts=side.drafts,
    )


def timed(
    model: LocalModel,
    asked: Asked,
    side: Side,
    *,
    number: int,
    replay: bool,
    bytes_per_second: float,
) -> Timing:
    """Have an incident answered, with nothing evaluated before."""
    questions = asked.questions[side.evidence]
    texts = asked.answers if replay else (None,) * len(questions)
    model.forget()
    start = time.perf_counter()
    prompts = [_prompt(*one, side) for one in zip(questions, texts, strict=True)]
    answers = model.answers(
        prompts, spans=side.spans, drafts=side.drafts, side_by_side=side.side_by_side
    )
    seconds = time.perf_counter() - start
    read_seconds = sum(answer.prefill_seconds for answer in answers)
    steps = [answer.steps for answer in answers]
    return Timing(
        round=number,
        side=side.name,
        incident_id=asked.incident_id,
        seconds=seconds,
        prompt_tokens=sum(answer.prompt_tokens for answer in answers),
        read_tokens=sum(answer.evaluated_tokens for answer in answers),
        read_seconds=read_seconds,
        first_token_seconds=answers[0].prefill_seconds,
        written_tokens=sum(answer.tokens for answer in answers),
        write_seconds=seconds - read_seconds,
        steps=max(steps) if side.side_by_side and together(prompts) else sum(steps),
        drafted_tokens=sum(answer.drafted for answer in answers),
        accepted_tokens=sum(answer.accepted for answer in answers),
        interventions=sum(len(answer.interventions) for answer in answers),
        answers={task: list(one.ids) for task, one in zip(TASKS, answers, strict=True)},
        bytes_per_second=bytes_per_second,
        peak_bytes=peak_bytes(),
    )


def _prompt(question: Question, replay: str | None, side: Side) -> Prompt:
    told = settings(side)
    return Prompt(
        question.ids, told.limit(question), told.grammar(question), told.shown(question), replay
    )


def peak_bytes() -> int:
    """The most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
