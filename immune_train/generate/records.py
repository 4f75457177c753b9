"""Ask the records of an emitted file again: its questions in, a line of JSON for each answer out.

An interrupted run resumes where it stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from immune_data.common import cli, files, textfile
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
    with _going_on(output, run) as (done, file), cli.progress() as report:
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


@contextmanager
def _going_on(output: Path, run: dict[str, Any]) -> Iterator[tuple[list[dict], IO[bytes]]]:
    """The answers that an interrupted run left, and the file to add to; it is named at the end.

    The file's first line says what the answers were made of, so that only the same run resumes.
    """
    unfinished = output.with_name(f".{output.name}.unfinished")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        file = unfinished.open("a+b")
    except OSError as error:
        raise ImmuneError(f"cannot write {output}: {error.strerror}") from None
    with file:
        files.lock(file.fileno(), output)
        file.seek(0)
        lines = file.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):  # killed in the middle of it
            lines.pop()
        try:
            header, *done = [json.loads(line) for line in lines] or [None]
        except ValueError:
            raise ImmuneError(f"{unfinished} is damaged: remove it to start again") from None
        now = json.loads(json.dumps(run))
        if header is not None and header != now:
            others = ", ".join(sorted(key for key in now if header.get(key) != now[key]))
            raise ImmuneError(
                f"{unfinished} was begun with another {others}: "
                "remove it to start again, or run with what it was begun with"
            )
        file.truncate(sum(map(len, lines)))
        if header is None:
            file.write(json.dumps(run).encode() + b"\n")
            file.flush()
        yield done, file
        file.flush()
        file.seek(0)
        file.readline()
        with files.replacing(output) as beside, beside.open("wb") as final:
            for line in file:
                final.write(line)
        unfinished.unlink()


def _agreeing(done: list[dict], questions: list[Question], output: Path) -> int:
    """The number of answers that are there; they must be those of the first questions."""
    for row, question in zip(done, questions, strict=False):
        if (row["incident_id"], row["task"]) != (question.incident_id, question.task):
            raise ImmuneError(f"the unfinished {output} is damaged: remove it to start again")
    return len(done)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
