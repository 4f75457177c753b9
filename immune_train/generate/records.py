"""Ask the records of an emitted file again: its questions in, a line of JSON for each answer out.

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
from immune_train.generate.answers import Settings, answer, as_row, say, took
from immune_train.generate.asker import asked_otherwise


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
    """Have the model answer the records of `task`, or of all; to `output`, or to standard output.

    Raises:
        ImmuneError: they cannot be asked, or an unfinished output is of another run.
    """
    questions = list(_questions(records, task, asker))
    settings.refuse_too_few(questions)
    say(asked_otherwise(records, asker))
    needed = max(len(question.ids) + settings.limit(question) for question in questions)
    # The evidence of a record was cut for the answer that it has, and the model's may be longer.
    context = context or max(asker.context, needed)
    if output is None:
        loaded = LocalModel(model, context, threads=threads)
        for question in questions:
            row = as_row(loaded, question, answer(loaded, question, settings))
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
    with resumed.rows(output, run) as (done, file), cli.progress() as report:
        left = questions[_agreeing(done, questions, output) :]
        if done:
            report(
                f"{len(done)} of {counted(len(questions), 'answer')} {are(len(done))} there already"
            )
        report(f"loading {model}")
        if left:
            loaded = LocalModel(model, context, threads=threads)
        start = time.monotonic()
        for i, question in enumerate(left, 1):
            row = as_row(loaded, question, answer(loaded, question, settings))
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            file.flush()
            seconds = time.monotonic() - start
            report(
                f"{len(done) + i}/{len(questions)} {took(row)};"
                f" about {_duration(seconds / i * (len(left) - i))} left"
            )
    print(f"wrote {output}: {counted(len(questions), 'answer')}")


def _questions(path: Path, task: str, asker: Asker) -> Iterator[Question]:
    found = False
    text = textfile.read(path)
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        record = record_from_json(line, f"line {number} of {path}")
        if task in ("all", record.task):
            found = True
            yield asker.from_record(record)
    if not found:
        raise ImmuneError(f"{path} holds no record of task {task}")


def _agreeing(done: list[dict], questions: list[Question], output: Path) -> int:
    """The number of answers that are there; they must be those of the first questions."""
    for row, question in zip(done, questions, strict=False):
        if (row["incident_id"], row["task"]) != (question.incident_id, question.task):
            raise ImmuneError(f"the unfinished {output} is damaged: remove it to start again")
    return len(done)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
