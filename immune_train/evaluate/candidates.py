"""Who is compared: files of answers in; models, baselines and the reference out, all complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from immune_data.common import digests
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.common.text import are, counted
from immune_data.prompts import TASKS
from immune_train.evaluate import baselines
from immune_train.score.answers import REFERENCE, Cases, read_answers

Kind = Literal["reference", "model", "baseline"]


@dataclass(frozen=True)
class Candidate:
    """A candidate: its answers to all records of each task that it does; `sha256` of its file."""

    name: str
    kind: Kind
    answers: Cases
    sha256: str | None = None

    def tasks(self) -> list[str]:
        return [task for task in TASKS if any(key[1] == task for key in self.answers)]


def gather(reference: Cases, files: Mapping[str, Path]) -> list[Candidate]:
    """The reference, the models whose answers are given, and the baselines.

    Raises:
        ImmuneError: a file cannot be read, or has the name of a baseline.
        CheckFailed: a model lacks incidents of a task.
    """
    models = []
    for name, path in files.items():
        if name in baselines.NAMES:
            raise ImmuneError(f"{name} is the name of a baseline: give {path} another")
        answers = read_answers(path, reference)
        _refuse_lacking(name, answers, reference)
        models.append(Candidate(name, "model", answers, digests.sha256(path)))
    return [
        Candidate(REFERENCE, "reference", reference),
        *models,
        *(Candidate(name, "baseline", of) for name, of in baselines.answers(reference).items()),
    ]


def _refuse_lacking(name: str, answers: Cases, reference: Cases) -> None:
    for task in dict.fromkeys(key[1] for key in answers):
        asked = [key for key in reference if key[1] == task]
        missing = [key[0] for key in asked if key not in answers]
        if missing:
            raise CheckFailed(
                f"{name}: {len(missing):,} of {counted(len(asked), 'answer')} to task {task} "
                f"{are(len(missing))} missing (first: {missing[0]}), and it would be compared on "
                "incidents of its own: have it "
                'answer them all, a failed one with finish "error"'
            )
