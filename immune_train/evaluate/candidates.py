"""The candidates: files of answers in; models, baselines and the reference out, all complete."""

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
    """A candidate: its answers to all records of its tasks, and the `sha256` of its file."""

    name: str
    kind: Kind
    answers: Cases
    sha256: str | None = None

    def tasks(self) -> list[str]:
        return [task for task in TASKS if any(key[1] == task for key in self.answers)]


def gather(reference: Cases, files: Mapping[str, Path]) -> list[Candidate]:
    """The reference, the models with files of answers, and the baselines.

    Raises:
        ImmuneError: a file cannot be read, or has the name of a baseline.
        CheckFailed: a model does not answer all incidents of a task.
    """
    models = []
    for name, path in files.items():
        if name in baselines.NAMES:
            raise ImmuneError(f"{name} is the name of a baseline: give {path} another name")
        answers = read_answers(path, reference)
        _check_complete(name, answers, reference)
        models.append(Candidate(name, "model", answers, digests.sha256(path)))
    return [
        Candidate(REFERENCE, "reference", reference),
        *models,
        *(
            Candidate(name, "baseline", answers_of)
            for name, answers_of in baselines.answers(reference).items()
        ),
    ]


def _check_complete(name: str, answers: Cases, reference: Cases) -> None:
    for task in dict.fromkeys(key[1] for key in answers):
        expected = [key for key in reference if key[1] == task]
        missing = [key[0] for key in expected if key not in answers]
        if missing:
            raise CheckFailed(
                f"{name}: {len(missing):,} of {counted(len(expected), 'answer')} to task {task} "
                f"{are(len(missing))} missing (first: {missing[0]}), so it would be compared on "
                'other incidents than the rest: give all answers, failed ones with finish "error"'
            )
