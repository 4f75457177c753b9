"""What is asked: files of emitted records in, the incidents of which all tasks are known out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from immune_data.common import textfile
from immune_data.common.errors import ImmuneError
from immune_data.prompts import TASKS
from immune_train.edge.questions import Asker, Question, record_from_json

# Every recipe with condensed evidence leaves an answer the same room.
_RECIPE = "unified-edge"


@dataclass(frozen=True)
class Asked:
    """An incident's questions by the form of the evidence, and its answers, by task as `TASKS`."""

    incident_id: str
    questions: dict[str, tuple[Question, ...]]
    answers: tuple[str, ...]


def read(condensed: Path, lines: Path | None) -> tuple[Asked, ...]:
    """The incidents that have all three tasks in each file; the answers are the first file's.

    Raises:
        ImmuneError: a file is none of emitted records, or no incident is whole.
    """
    asker = Asker(_RECIPE)
    files = {"condensed": condensed} | ({"lines": lines} if lines else {})
    found = {form: _by_incident(path, asker) for form, path in files.items()}
    whole = [
        incident
        for incident in found["condensed"]
        if all(set(TASKS) <= set(of.get(incident, {})) for of in found.values())
    ]
    if not whole:
        where = " and ".join(str(path) for path in files.values())
        raise ImmuneError(f"no incident has all of {', '.join(TASKS)} in {where}")
    return tuple(
        Asked(
            incident,
            {form: tuple(of[incident][task][0] for task in TASKS) for form, of in found.items()},
            tuple(found["condensed"][incident][task][1] for task in TASKS),
        )
        for incident in whole
    )


def _by_incident(path: Path, asker: Asker) -> dict[str, dict[str, tuple[Question, str]]]:
    found: dict[str, dict[str, tuple[Question, str]]] = {}
    for question, answer in _records(path, asker):
        found.setdefault(question.incident_id, {}).setdefault(question.task, (question, answer))
    return found


def _records(path: Path, asker: Asker) -> Iterator[tuple[Question, str]]:
    text = textfile.read(path)
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        record = record_from_json(line, f"line {number} of {path}")
        yield asker.from_record(record), record.messages[-1].content
