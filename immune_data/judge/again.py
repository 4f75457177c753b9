"""A file of verdicts that is judged again: the file in, its verdicts by task out.

It may be in either documented format, ours or another judge's, with any spelling of the models that
the recipe knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from immune_data.common.errors import ImmuneError
from immune_data.contract import agreement
from immune_data.contract.agreement import Verdict
from immune_data.contract.source_file import Source
from immune_data.judge.answers import Case
from immune_data.judge.rubric import KINDS
from immune_data.recipes import Recipe


class _Total(Struct):
    total: float


class _Row(Struct, omit_defaults=True):
    incident_id: str
    scores: dict[str, float | None] = {}
    cause_scores: dict[str, _Total | None] = {}
    risk_scores: dict[str, _Total | None] = {}


@dataclass(frozen=True)
class Earlier:
    """The verdicts of an existing file, by task."""

    file: Path
    verdicts: dict[str, list[Verdict]]

    def again(self, cases: Iterable[Case]) -> list[Case]:
        """The cases that were judged, each with the answers that were judged together.

        Raises:
            ImmuneError: there is no such case.
        """
        candidates: dict[str, set[str]] = {}
        for verdicts in self.verdicts.values():
            for verdict in verdicts:
                candidates.setdefault(verdict.incident, set()).update(verdict.scores)
        result = []
        for case in cases:
            names = candidates.get(case.incident.incident_id, set())
            answers = {name: by_task for name, by_task in case.answers.items() if name in names}
            if answers:
                result.append(replace(case, answers=answers))
        if not result:
            raise ImmuneError(
                f"{self.file} judges none of these answers: give the incidents and answers that "
                "it judges"
            )
        return result


def read(file: Path, kind: str, recipe: Recipe) -> Earlier:
    """The verdicts of a file on answers of a kind.

    Raises:
        ImmuneError: it cannot be read, or a verdict is not as documented.
    """
    names = {
        spelling: model
        for model, declared in recipe.models.items()
        for spelling in (*declared.spellings, model)
    }
    rows = []
    for record in Source(file):
        try:
            row = msgspec.to_builtins(msgspec.convert(record.value, _Row))
        except msgspec.ValidationError as error:
            raise ImmuneError(f"row {record.row} of {file} is not a verdict: {error}") from None
        rows.append({name: _named(value, names) for name, value in row.items()})
    tasks: Sequence[str] = KINDS[kind]
    verdicts = {
        task: of_task for task, of_task in agreement.verdicts(rows).items() if task in tasks
    }
    if not verdicts:
        raise ImmuneError(f"{file} has no verdict on {' and '.join(tasks)}")
    return Earlier(file, verdicts)


def _named(value: Any, names: dict[str, str]) -> Any:
    """The scores by the models' own names; of two spellings of one model, the first counts."""
    if not isinstance(value, dict):
        return value
    by_name: dict[str, Any] = {}
    for spelling, scores in value.items():
        name = str(spelling)
        by_name.setdefault(names.get(name, name), scores)
    return by_name
