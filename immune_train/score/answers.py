"""Read what is measured: an emitted file and answers to it in, each with its reference out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from immune_data.common import textfile
from immune_data.common.errors import ImmuneError
from immune_data.prompts import TASKS

REFERENCE = "reference"  # what the records' own answers are called
FAILED = "error"  # how an answer ends that there is none of


@dataclass(frozen=True)
class Case:
    """An answer, the reference answer to the same prompt, what the prompt showed, and why the
    answer ends, where that is known."""

    task: str
    answer: str
    reference: str
    shown: tuple[str, ...]
    finish: str | None = None

    @property
    def failed(self) -> bool:
        return self.finish == FAILED


Cases = dict[tuple[str, str], Case]  # by incident and task


def read_reference(path: Path) -> Cases:
    """The records of an emitted file, by incident and task, each answered by its reference.

    A record may stand there more than once, as copies do in a train file.
    """
    cases: Cases = {}
    for number, record in _lines(path):
        try:
            *asked, last = record["messages"]
            task, shown = record["task"], tuple(turn["content"] for turn in asked)
            key, said = (record["incident_id"], task), (*shown, last["content"])
            if last["role"] != "assistant" or task not in TASKS or not _texts(*key, *said):
                raise ValueError
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ImmuneError(
                f"line {number} of {path} is not an emitted record: give an eval.jsonl"
            ) from None
        case = Case(task, said[-1], said[-1], shown)
        if cases.setdefault(key, case) != case:
            raise ImmuneError(
                f"line {number} of {path} has another record for task {task} of {key[0]}"
            )
    if not cases:
        raise ImmuneError(f"{path} holds no record")
    return cases


def read_answers(path: Path, reference: Cases) -> Cases:
    """The answers of a file that `generate` wrote, each with the reference to its prompt.

    An answer that failed (`finish` is "error") may be null: it is empty then.
    """
    cases: Cases = {}
    for number, row in _lines(path):
        try:
            key, text = (row["incident_id"], row["task"]), row["answer"]
            finish = row.get("finish")
            if text is None and finish == FAILED:
                text = ""
            if not _texts(*key, text, "" if finish is None else finish):
                raise TypeError
        except (KeyError, TypeError, AttributeError):
            raise ImmuneError(
                f"line {number} of {path} is not an answer: it should have `incident_id`, `task`"
                " and `answer`, as `immune_train.generate --eval` writes them"
            ) from None
        if key not in reference:
            raise ImmuneError(
                f"line {number} of {path} answers task {key[1]} of incident {key[0]}, which the"
                " reference does not hold: give the file that was asked"
            )
        if key in cases:
            raise ImmuneError(f"line {number} of {path} answers task {key[1]} of {key[0]} again")
        of = reference[key]
        cases[key] = Case(of.task, text, of.reference, of.shown, finish)
    if not cases:
        raise ImmuneError(f"{path} holds no answer")
    return cases


def named(given: Sequence[str]) -> dict[str, Path]:
    """The files of answers by the names that their models are given.

    Raises:
        ImmuneError: an argument is not NAME=FILE, or a name is given twice.
    """
    found: dict[str, Path] = {}
    for one in given:
        name, equals, path = one.partition("=")
        if not (name and equals and path):
            raise ImmuneError(
                f"{one} should be NAME=FILE, a model's name and its answers; a file to write the "
                "scores to is given by --output"
            )
        if name in (*found, REFERENCE):
            raise ImmuneError(f"there are two called {name}: name each once")
        found[name] = Path(path)
    return found


def _texts(*values: object) -> bool:
    return all(isinstance(value, str) for value in values)


def _lines(path: Path) -> Iterable[tuple[int, Any]]:
    text = textfile.read(path)
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError):
            raise ImmuneError(f"line {number} of {path} is not JSON") from None
