"""The whole evaluation: files in, everything that its outputs say out, or the reason for none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from immune_data.common import digests, jsonfile
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.common.text import are, counted
from immune_data.contract import incidents as listed
from immune_data.contract.tokens import count
from immune_data.prompts import TASKS
from immune_train.artifacts import run as runs
from immune_train.artifacts import summary
from immune_train.evaluate import (
    baselines,
    incidents,
    levels,
    measures,
    resampling,
    scores,
    verdicts,
)
from immune_train.evaluate.baselines import MostFrequent
from immune_train.evaluate.candidates import Candidate, gather
from immune_train.evaluate.incidents import Facts, Groups, Said
from immune_train.evaluate.levels import Compared, Costs
from immune_train.evaluate.measures import Measured
from immune_train.evaluate.scores import Cell, Judged
from immune_train.evaluate.verdicts import Table
from immune_train.score import intervals
from immune_train.score.answers import Cases, read_reference

TRAIN = "train.jsonl"
_DIGITS = 6  # of a number that is written; the rest is the noise of additions


@dataclass(frozen=True)
class Files:
    """What an evaluation reads."""

    reference: Path
    runs: tuple[Path, ...]
    answers: Mapping[str, Path]
    verdicts: tuple[Path, ...] = ()
    train: Path | None = None
    data: Path | None = None
    costs: Path | None = None


@dataclass(frozen=True)
class Run:
    """A run that was evaluated: losses an answer's token, by task, before training and after."""

    name: str
    recipe: str | None
    base_model: str | None
    synthetic: bool
    sha256: str  # of its summary
    trained_on: int  # incidents
    before: dict[str, float | None]
    after: dict[str, float | None]


@dataclass(frozen=True)
class Evaluation:
    reference: str
    reference_sha256: str
    incidents: int
    groups: int
    facts: dict[str, Facts]
    candidates: tuple[Candidate, ...]
    runs: tuple[Run, ...]
    most_frequent: MostFrequent | None
    tables: dict[str, Table]
    cells: tuple[Cell, ...]
    measured: Measured
    levels: Compared
    costs: Costs

    @property
    def synthetic(self) -> bool:
        """Whether a model was trained on data that a program made up."""
        return any(run.synthetic for run in self.runs)

    def failed(self, candidate: Candidate, task: str) -> int:
        return sum(case.failed for (_, of), case in candidate.answers.items() if of == task)


def evaluate(given: Files) -> Evaluation:
    """Read everything, refuse what cannot be compared, and compare.

    Raises:
        ImmuneError: a file cannot be read.
        CheckFailed: what was learned would be measured, or what is not of one table compared.
    """
    for folder in given.runs:
        if not (folder / runs.SUMMARY).is_file():
            raise ImmuneError(runs.unfinished(folder))
    reference = read_reference(given.reference)
    shown = {incident: case.shown for (incident, _), case in reference.items()}
    train = read_reference(_train(given))
    data = given.data or given.reference.resolve().parent.parent.parent
    tables = incidents.tables(data)
    lists = {path: incidents.read_list(path / listed.NAME) for path in given.runs}
    groups = _groups(given.reference, reference, train, tables, lists)
    incidents.refuse_learned(
        list(shown),
        {
            path.name: [one.incident_id for one in of if one.split == "train"]
            for path, of in lists.items()
        },
        groups,
    )
    candidates = gather(reference, given.answers)
    judged, said = verdicts.read(given.verdicts)
    for table in judged.values():
        _refuse_unlike(table, candidates, reference)
    facts = incidents.facts(shown, [tables, said], groups)
    costs = levels.read_costs(given.costs)
    return Evaluation(
        given.reference.name,
        digests.sha256(given.reference),
        len(facts),
        len({one.group for one in facts.values()}),
        facts,
        tuple(candidates),
        tuple(_run(path, of) for path, of in lists.items()),
        baselines.most_frequent(train.values()),
        judged,
        tuple(
            cell
            for table in judged.values()
            for cell in scores.cells(_judged(table, candidates, reference), facts)
        ),
        measures.measure(candidates, facts),
        levels.compare(candidates, reference, facts, costs),
        costs,
    )


def _train(given: Files) -> Path:
    """The train records, which must be those of a run.

    Raises:
        ImmuneError: there are none.
        CheckFailed: no run was trained on them.
    """
    path = given.train or given.reference.with_name(TRAIN)
    if not path.is_file():
        raise ImmuneError(
            f"{path} is missing, of which the most frequent level is a baseline: give the "
            f"{TRAIN} of the run's dataset by --train"
        )
    sha256 = digests.sha256(path)
    trained = [
        (jsonfile.read(folder / runs.DATASET) or {}).get("outputs", {}).get(TRAIN, {}).get("sha256")
        for folder in given.runs
    ]
    if sha256 not in trained:
        raise CheckFailed(
            f"{path} is not what {', '.join(folder.name for folder in given.runs)} was trained on: "
            f"give the {TRAIN} of the run's dataset by --train"
        )
    return path


def _groups(
    path: Path,
    reference: Cases,
    train: Cases,
    tables: Mapping[str, Said],
    lists: Mapping[Path, Sequence[listed.Incident]],
) -> Groups:
    """Which incidents belong together, by all that is known of any of them."""
    groups = Groups()
    beside = path.with_name(listed.NAME)
    for of in (*lists.values(), *([incidents.read_list(beside)] if beside.is_file() else ())):
        groups.join_listed(of)
    groups.join_windows({name: one.window for name, one in tables.items() if one.window})
    for cases in (reference, train):
        windows = {name: incidents.window_shown(case.shown) for (name, _), case in cases.items()}
        groups.join_windows({name: window for name, window in windows.items() if window})
    return groups


def _run(path: Path, incidents: Sequence[listed.Incident]) -> Run:
    made = summary.read(path / runs.SUMMARY)
    return Run(
        made.name or path.name,
        made.recipe,
        made.base_model,
        made.synthetic,
        digests.sha256(path / runs.SUMMARY),
        len({one.incident_id for one in incidents if one.split == "train"}),
        {task: made.baseline.get(task) for task in ("loss", *TASKS)},
        {task: made.eval.get(task) for task in ("loss", *TASKS)},
    )


def _refuse_unlike(table: Table, candidates: Sequence[Candidate], reference: Cases) -> None:
    """Refuse verdicts that are not of these candidates, or not of all these incidents."""
    known = {one.name for one in candidates if table.task in one.tasks()}
    if others := [name for name in table.candidates if name not in known]:
        raise ImmuneError(
            f"the verdicts of task {table.task} are of {others[0]}, whose answers are not here: "
            f"give them as {others[0]}=FILE (known: {', '.join(sorted(known))})"
        )
    asked = [incident for incident, task in reference if task == table.task]
    if missing := [incident for incident in asked if incident not in table.scores]:
        raise CheckFailed(
            f"the verdicts of task {table.task}: {len(missing):,} of "
            f"{counted(len(asked), 'incident')} {are(len(missing))} missing "
            f"(first: {missing[0]}): judge them all"
        )
    if extra := sorted(set(table.scores) - set(asked)):
        raise CheckFailed(
            f"the verdicts of task {table.task} are of {counted(len(extra), 'incident')} that the "
            f"reference does not hold (first: {extra[0]}): give verdicts on its answers"
        )


def _judged(table: Table, candidates: Sequence[Candidate], reference: Cases) -> Judged:
    """A table's scores as numbers, an answer that failed having none."""
    judged = [one for one in candidates if one.name in table.candidates]
    asked = [incident for incident, task in reference if task == table.task]
    cases = [[one.answers[incident, table.task] for one in judged] for incident in asked]
    failed = np.array([[case.failed for case in row] for row in cases])
    given = np.array([[table.scores[incident][one.name] for one in judged] for incident in asked])
    tokens = np.array([[count(case.answer) for case in row] for row in cases])
    return Judged(
        table.task,
        verdicts.MOST[table.task],
        tuple(one.name for one in judged),
        tuple(asked),
        np.where(failed, 0.0, given),
        failed,
        np.log2(np.maximum(tokens, 1)),
    )


def content(of: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON holds it; the same inputs give the same text."""
    whole = {
        "reference": {
            "file": of.reference,
            "sha256": of.reference_sha256,
            "incidents": of.incidents,
            "groups": of.groups,
        },
        "synthetic": of.synthetic,
        "methods": {
            "scores": resampling.METHOD,
            "measures": intervals.METHODS,
            "least_incidents": scores.LEAST_INCIDENTS,
            "least_groups": scores.LEAST_GROUPS,
        },
        "runs": of.runs,
        "candidates": [
            {
                "name": one.name,
                "kind": one.kind,
                "sha256": one.sha256,
                "answers": {task: _number(one, task) for task in one.tasks()},
                "failed": {task: of.failed(one, task) for task in one.tasks()},
            }
            for one in of.candidates
        ],
        "most_frequent_level": of.most_frequent,
        "verdicts": {
            task: {
                **asdict(table.judge),
                "files": table.files,
                "incidents": len(table.scores),
                "calls": sum(map(len, table.calls.values())),
                "noise": table.noise,
            }
            for task, table in of.tables.items()
        },
        "scores": of.cells,
        "measures": of.measured.measures,
        "tests": of.measured.tests,
        "detectable_share": of.measured.detectable,
        "risk_levels": of.levels,
        "costs": of.costs,
    }
    return _plain(whole)


def _number(candidate: Candidate, task: str) -> int:
    return sum(of == task for _, of in candidate.answers)


def _plain(value: Any) -> Any:
    """A value as JSON knows it, numbers to the digits that are worth writing."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    return value
