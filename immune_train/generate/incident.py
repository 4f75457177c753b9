"""Ask about one incident: the incident and tasks in, answers as text or JSON out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from immune_data.common import files, jsonfile, textfile
from immune_data.contract.incident import Incident, from_dag, from_json
from immune_train.edge.engine import LocalModel
from immune_train.edge.questions import Asker
from immune_train.generate.answers import (
    Settings,
    answer,
    answers,
    as_row,
    evidence_shown,
    say,
    stop_reason,
    timing,
)

Form = Literal["text", "json", "stream"]


def read(argument: str | None, dag: Path | None) -> Incident:
    """The incident in a file or a JSON object; or that of a DAG's text; or that on stdin.

    Raises:
        ImmuneError: it cannot be read.
    """
    if dag is not None:
        return from_dag(textfile.read(dag), str(dag))
    if argument is None:
        text = textfile.decoded(sys.stdin.buffer.read(), "standard input")
        parse = from_json if text.lstrip().startswith("{") else from_dag
        return parse(text, "standard input")
    argument = argument.removeprefix("\ufeff")
    if not argument.strip() or argument.lstrip().startswith(("{", "[")):
        return from_json(argument, "--incident")
    return from_json(textfile.read(Path(argument)), argument)


def ask(
    incident: Incident,
    tasks: Sequence[str],
    model: Path,
    asker: Asker,
    settings: Settings,
    *,
    threads: int | None,
    side_by_side: bool,
    form: Form,
    output: Path | None,
) -> None:
    """Let the model answer tasks about an incident, and print or write its answers.

    Raises:
        ImmuneError: it cannot be asked with these settings.
    """
    questions = asker.questions(incident, tasks)
    settings.refuse_too_few(questions)
    say(evidence_shown(questions))
    engine = LocalModel(model, asker.context, threads=threads)
    rows = []
    if form == "stream":
        for i, question in enumerate(questions):
            print(_heading(question.task, i, len(questions)), end="")
            rows.append(as_row(engine, question, answer(engine, question, settings, _stream)))
            print(_marked("", rows[-1]), flush=True)
            say(timing(rows[-1]))
    else:
        results = answers(engine, questions, settings, side_by_side=side_by_side)
        rows = [as_row(engine, *pair) for pair in zip(questions, results, strict=True)]
        for row in rows:
            say(timing(row))
    if len(rows) > 1:
        evaluated = sum(row["evaluated_tokens"] for row in rows)
        separate = sum(row["prompt_tokens"] for row in rows)
        say(
            f"all: {evaluated:,} prompt tokens evaluated; one by one it would be {separate:,}"
            f" ({separate / evaluated:.2f}× as many)"
        )
    if form == "stream":
        return
    if form == "json":
        content = {
            "incident_id": incident.incident_id,
            "model": model.name,
            "recipe": asker.recipe,
            "answers": {
                row["task"]: {
                    key: value
                    for key, value in row.items()
                    if key not in ("incident_id", "task", "model")
                }
                for row in rows
            },
        }
        text = jsonfile.text(content)
    else:
        text = "".join(
            f"{_heading(row['task'], i, len(rows))}{_marked(row['answer'], row)}\n"
            for i, row in enumerate(rows)
        )
    if output is None:
        print(text, end="", flush=True)
    else:
        with files.replacing(output) as file:
            file.write_text(text, encoding="utf-8")
        print(f"wrote {output}")


def _heading(task: str, number: int, of: int) -> str:
    return "" if of == 1 else f"{chr(10) if number else ''}--- {task} ---\n"


def _stream(piece: str) -> None:
    print(piece, end="", flush=True)


def _marked(answer: str, row: dict[str, Any]) -> str:
    why = stop_reason(row)
    return f"{answer}\n[{why}]" if why else answer
