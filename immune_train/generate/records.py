"""Answer the records of an emitted file: its questions in, a line of JSON for each answer out.

An interrupted run resumes where it stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from immune_data.common import cli, resumed, textfile
from immune_data.common.digests import sha256
from immune_data.common.errors import ImmuneError
from immune_data.common.text import are, counted
from immune_train.edge.engine import LocalModel
from immune_train.edge.questions import Asker, Question, record_from_json
from immune_train.generate.answers import Settings, answer, as_row, say, timing
from immune_train.generate.asker import mismatch


def ask(
    records: Path,
    task: str,
    model: Path,
    asker: Asker,
    settings: Settings,
    *,
    threads: int | None,
    context: int | None,
    output: Path | None,
) -> None:
    """Let the model answer the records of `task`, or of all; to `output`, or to standard output.

    Raises:
        ImmuneError: they cannot be asked, or an unfinished output is from another run.
    """
    questions = list(_questions(records, task, asker))
    settings.refuse_too_few(questions)
    say(mismatch(records, asker))
    longest = max(len(question.ids) + settings.limit(question) for question in questions)
    # The evidence of a record was cut for its own answer, and the model's may be longer.
    context = context or max(asker.context, longest)
    if output is None:
        engine = LocalModel(model, context, threads=threads)
        for question in questions:
            row = as_row(engine, question, answer(engine, question, settings))
            print(json.dumps(row, ensure_ascii=False), flush=True)
        return
    run = {
        "model": model.name,
        "model_sha256": sha256(model),
        "eval_sha256": sha256(records),
        "task": task,
        "context": context,
        **asdict(settings),
    }
    with resumed.rows(output, run) as (rows, file), cli.progress() as report:
        remaining = questions[_count_answers(rows, questions, output) :]
        if rows:
            report(
                f"{len(rows)} of {counted(len(questions), 'answer')} {are(len(rows))} there already"
            )
        report(f"loading {model}")
        if remaining:
            engine = LocalModel(model, context, threads=threads)
        start = time.monotonic()
        for i, question in enumerate(remaining, 1):
            row = as_row(engine, question, answer(engine, question, settings))
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            file.flush()
            seconds = time.monotonic() - start
            report(
                f"{len(rows) + i}/{len(questions)} {timing(row)};"
                f" about {_duration(seconds / i * (len(remaining) - i))} left"
            )
    print(f"wrote {output}: {counted(len(questions), 'answer')}")


def _questions(path: Path, task: str, asker: Asker) -> Iterator[Question]:
    any_record = False
    text = textfile.read(path)
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        record = record_from_json(line, f"line {number} of {path}")
        if task in ("all", record.task):
            any_record = True
            yield asker.from_record(record)
    if not any_record:
        raise ImmuneError(f"{path} contains no record of task {task}")


def _count_answers(rows: list[dict], questions: list[Question], output: Path) -> int:
    """The number of existing answers, which must be those of the first questions."""
    for row, question in zip(rows, questions, strict=False):
        if (row["incident_id"], row["task"]) != (question.incident_id, question.task):
            raise ImmuneError(f"the unfinished {output} is damaged: remove it to start again")
    return len(rows)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
