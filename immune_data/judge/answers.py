"""What is judged: a dataset, or files of answers by name, in; incidents with their answers out.

A dataset's answers are those of the recipe's models, found as `read` finds them. A file contains
either answers by `immune_train.generate`, one a line, or emitted records with answers of their own.
A failed answer is judged as an empty one, so that every incident is judged with all candidates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from immune_data.ask import incidents
from immune_data.ask.incidents import Incident, Reject
from immune_data.common import textfile
from immune_data.common.errors import ImmuneError
from immune_data.prompts import TASKS
from immune_data.recipes import Recipe

FIELDS = {"summary": "summary", "cause": "cause_analysis", "risk": "risk_assessment"}
_FAILED = "error"  # how a failed answer ends

Answers = dict[str, dict[str, str]]  # by candidate, then by task


@dataclass(frozen=True)
class Case:
    """An incident and its answers."""

    incident: Incident
    answers: Answers


@dataclass
class Cases:
    """The cases to judge, in the order of incidents' ids, and what cannot be judged."""

    cases: list[Case] = field(default_factory=list)
    synthetic: bool = False
    rejects: list[Reject] = field(default_factory=list)


def read(
    files: Sequence[Path],
    tasks: Sequence[str],
    recipe: Recipe,
    models: Sequence[str],
    named: Mapping[str, Path],
) -> Cases:
    """The answers to some tasks: those of these models in a dataset, and those in these files.

    If there are files, the incidents are those that at least one of them answers.

    Raises:
        ImmuneError: a file cannot be read, or there is no answer to judge.
    """
    by_incident: dict[str, Answers] = {}

    def take(incident_id: str, row: dict[str, Any]) -> None:
        for model in models:
            for task, text in _of_row(row, recipe, model).items():
                if task in tasks:
                    answers = by_incident.setdefault(incident_id, {}).setdefault(model, {})
                    answers.setdefault(task, text)

    source = incidents.read(files, take)
    result = Cases(synthetic=source.synthetic, rejects=source.rejects)
    for name, path in named.items():
        for incident_id, task, text in _of_file(path):
            if task in tasks:
                answers = by_incident.setdefault(incident_id, {}).setdefault(name, {})
                if task in answers:
                    raise ImmuneError(f"{path} answers task {task} of {incident_id} twice")
                answers[task] = text
    candidates = [*models, *named]
    for incident in source.incidents:
        by_name = by_incident.pop(incident.incident_id, {})
        if not by_name or (named and named.keys().isdisjoint(by_name)):
            continue
        complete = {
            name: by_name[name] for name in candidates if set(by_name.get(name, {})) == set(tasks)
        }
        result.rejects += [
            Reject(incident_id=incident.incident_id, model=name, reason="no_answer")
            for name in candidates
            if name not in complete
        ]
        if complete:
            result.cases.append(Case(incident, complete))
    rejected = {reject.incident_id for reject in source.rejects}
    result.rejects += [
        Reject(incident_id=incident_id, reason="unknown_incident")
        for incident_id in sorted(by_incident)
        if incident_id not in rejected
    ]
    if not result.cases:
        names = " and ".join(tasks)
        raise ImmuneError(f"there is no answer to task {names} of any incident with evidence")
    return result


def _of_row(row: dict[str, Any], recipe: Recipe, model: str) -> dict[str, str]:
    """The answers of a model in a row of either dataset; a bare text is a summary."""
    declared = recipe.models[model]
    summary, both = row.get(declared.summaries), row.get(declared.cause_risk)
    texts: dict[str, Any] = {"summary": summary} if isinstance(summary, str) else {}
    for answer, tasks in ((summary, ("summary",)), (both, ("cause", "risk"))):
        if isinstance(answer, dict):
            texts |= {task: answer.get(FIELDS[task]) for task in tasks}
    return {task: text for task, text in texts.items() if isinstance(text, str) and text.strip()}


def _of_file(path: Path) -> Iterator[tuple[str, str, str]]:
    """(incident, task, text) of each line."""
    text = textfile.read(path)
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        try:
            row = json.loads(line)
            incident_id, task = row["incident_id"], row["task"]
            answer = row["messages"][-1]["content"] if "messages" in row else row["answer"]
            if answer is None and row.get("finish") == _FAILED:
                answer = ""
            if task not in TASKS or not (isinstance(incident_id, str) and isinstance(answer, str)):
                raise ValueError
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            raise ImmuneError(
                f"line {number} of {path} is not an answer: it should have `incident_id`, `task` "
                "and `answer`, as `immune_train.generate --eval` writes them, or be an emitted "
                "record"
            ) from None
        yield incident_id, task, answer


def named(arguments: Sequence[str]) -> dict[str, Path]:
    """The files of answers by the names of their candidates.

    Raises:
        ImmuneError: an argument is not NAME=FILE, or a name is repeated.
    """
    files: dict[str, Path] = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not (name and equals and path):
            raise ImmuneError(f"{argument} should be NAME=FILE, a candidate's name and its answers")
        if name in files:
            raise ImmuneError(f"two files of answers are named {name}: give each its own name")
        files[name] = Path(path)
    return files


def of_dataset(
    recipe: Recipe, models: Sequence[str] | None, named: Mapping[str, Path]
) -> list[str]:
    """The models of a dataset whose answers are judged, by the recipe's own names.

    Raises:
        ImmuneError: the recipe declares no such model, or a file has the name of one.
    """
    if models is None:
        selected = [] if named else list(recipe.models)
    else:
        names = {
            spelling: model
            for model, declared in recipe.models.items()
            for spelling in (*declared.spellings, model)
        }
        for model in models:
            if model not in names:
                raise ImmuneError(
                    f"recipe {recipe.name} declares no model {model}: name one of "
                    f"{', '.join(recipe.models)}"
                )
        selected = list(dict.fromkeys(names[model] for model in models))
    for name in selected:
        if name in named:
            raise ImmuneError(f"{name} is a model of the dataset: give the file another name")
        if name not in recipe.models[name].spellings:
            raise ImmuneError(
                f"recipe {recipe.name} does not know its model {name} in verdicts: add {name} to "
                "its spellings"
            )
    return selected
