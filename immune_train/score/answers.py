"""Answers to measure: an emitted file and answers to it in, each with its reference out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from immune_data.common import textfile
from immune_data.common.errors import ImmuneError
from immune_data.contract import answer_fields
from immune_data.contract.grounding import names_in, ungrounded
from immune_data.prompts import TASKS

REFERENCE = "reference"  # the name of the records' own answers
FAILED = "error"  # the finish of a failed answer


@dataclass(frozen=True)
class Case:
    """An answer, the reference answer to the same prompt, the prompt's messages, and why the answer
    ended, if known."""

    task: str
    answer: str
    reference: str
    shown: tuple[str, ...]
    finish: str | None = None

    @property
    def failed(self) -> bool:
        return self.finish == FAILED

    @cached_property
    def parts(self) -> answer_fields.Parts:
        """The parts of the answer, which several metrics ask for."""
        return answer_fields.parse(self.task, self.answer)

    @cached_property
    def ungrounded(self) -> dict[str, list[str]] | None:
        """Names in the answer that are missing from its evidence, by kind; None if it has none."""
        if not names_in(self.answer):
            return None
        return ungrounded(self.answer, "\n".join(self.shown))


Cases = dict[tuple[str, str], Case]  # by incident and task


def read_reference(path: Path) -> Cases:
    """The records of an emitted file, by incident and task, each answered by its reference.

    A record may occur more than once, as copies do in a train file.
    """
    cases: Cases = {}
    for number, record in _lines(path):
        try:
            *prompt, answer = record["messages"]
            task, contents = record["task"], tuple(turn["content"] for turn in prompt)
            key, texts = (record["incident_id"], task), (*contents, answer["content"])
            if answer["role"] != "assistant" or task not in TASKS or not _texts(*key, *texts):
                raise ValueError
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ImmuneError(
                f"line {number} of {path} is not an emitted record: give an eval.jsonl"
            ) from None
        case = Case(task, texts[-1], texts[-1], contents)
        if cases.setdefault(key, case) != case:
            raise ImmuneError(
                f"line {number} of {path} has another record for task {task} of {key[0]}"
            )
    if not cases:
        raise ImmuneError(f"{path} contains no record")
    return cases


def read_answers(path: Path, reference: Cases) -> Cases:
    """The answers of a file that `generate` wrote, each with the reference to its prompt.

    A failed answer (`finish` is "error") may be null, which is read as empty.
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
                f"line {number} of {path} answers task {key[1]} of incident {key[0]}, which is"
                " missing from the reference: give the records that were asked"
            )
        if key in cases:
            raise ImmuneError(f"line {number} of {path} answers task {key[1]} of {key[0]} again")
        case = reference[key]
        cases[key] = Case(case.task, text, case.reference, case.shown, finish)
    if not cases:
        raise ImmuneError(f"{path} contains no answer")
    return cases


def answer_files(arguments: Sequence[str]) -> dict[str, Path]:
    """The files of answers by model name.

    Raises:
        ImmuneError: an argument is not NAME=FILE, or a name is repeated.
    """
    paths: dict[str, Path] = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not (name and equals and path):
            raise ImmuneError(
                f"{argument} should be NAME=FILE, a model's name and its answers; use --output to "
                "write the scores to a file"
            )
        if name in (*paths, REFERENCE):
            raise ImmuneError(f"two models are called {name}: give each its own name")
        paths[name] = Path(path)
    return paths


def _texts(*values: object) -> bool:
    return all(isinstance(value, str) for value in values)


def _lines(path: Path) -> Iterable[tuple[int, Any]]:
    text = textfile.read(path)
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError):
            raise ImmuneError(f"line {number} of {path} is not JSON") from None
