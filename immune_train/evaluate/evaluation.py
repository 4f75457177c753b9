"""The whole evaluation: files in, the content of all outputs out, or the reason for a refusal."""

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
from immune_train.evaluate.incidents import Details, Facts, Groups
from immune_train.evaluate.levels import Costs, LevelComparison
from immune_train.evaluate.measures import Measurements
from immune_train.evaluate.scores import Cell, JudgedTask
from immune_train.evaluate.verdicts import Table
from immune_train.score import intervals
from immune_train.score.answers import Cases, read_reference

TRAIN = "train.jsonl"
_DIGITS = 6  # of a written number; the rest is rounding noise


@dataclass(frozen=True)
class Files:
    """The input files of an evaluation."""

    reference: Path
    runs: tuple[Path, ...]
    answers: Mapping[str, Path]
    verdicts: tuple[Path, ...] = ()
    train: Path | None = None
    data: Path | None = None
    costs: Path | None = None


@dataclass(frozen=True)
class Run:
    """An evaluated run, with its losses per answer token, by task, before and after training."""

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
    measured: Measurements
    levels: LevelComparison
    costs: Costs

    @property
    def synthetic(self) -> bool:
        """Whether a model was trained on data that a program made up."""
        return any(run.synthetic for run in self.runs)

    def failed(self, candidate: Candidate, task: str) -> int:
        return sum(case.failed for (_, of), case in candidate.answers.items() if of == task)


def evaluate(paths: Files) -> Evaluation:
    """Read everything, refuse what cannot be compared, and compare.

    Raises:
        ImmuneError: a file cannot be read.
        CheckFailed: a model was trained on evaluated incidents, or the comparison is unfair.
    """
    for folder in paths.runs:
        if not (folder / runs.SUMMARY).is_file():
            raise ImmuneError(runs.unfinished_message(folder))
    reference = read_reference(paths.reference)
    prompts = {incident: case.shown for (incident, _), case in reference.items()}
    train = read_reference(_train(paths))
    data = paths.data or paths.reference.resolve().parent.parent.parent
    tables = incidents.tables(data)
    lists = {path: incidents.read_list(path / listed.NAME) for path in paths.runs}
    groups = _groups(paths.reference, reference, train, tables, lists)
    incidents.refuse_trained_on(
        list(prompts),
        {
            path.name: [incident.incident_id for incident in of if incident.split == "train"]
            for path, of in lists.items()
        },
        groups,
    )
    candidates = gather(reference, paths.answers)
    judge_tables, verdict_facts = verdicts.read(paths.verdicts)
    for table in judge_tables.values():
        _check_verdicts(table, candidates, reference)
    facts = incidents.facts(prompts, [tables, verdict_facts], groups)
    costs = levels.read_costs(paths.costs)
    return Evaluation(
        paths.reference.name,
        digests.sha256(paths.reference),
        len(facts),
        len({fact.group for fact in facts.values()}),
        facts,
        tuple(candidates),
        tuple(_run(path, of) for path, of in lists.items()),
        baselines.most_frequent(train.values()),
        judge_tables,
        tuple(
            cell
            for table in judge_tables.values()
            for cell in scores.cells(_judged(table, candidates, reference), facts)
        ),
        measures.measure(candidates, facts),
        levels.compare(candidates, reference, facts, costs),
        costs,
    )


def _train(paths: Files) -> Path:
    """The train records, which must be those of a run.

    Raises:
        ImmuneError: there are none.
        CheckFailed: no run was trained on them.
    """
    path = paths.train or paths.reference.with_name(TRAIN)
    if not path.is_file():
        raise ImmuneError(
            f"{path} is missing, which is needed to find the most frequent level: name the "
            f"{TRAIN} of the run's dataset with --train"
        )
    sha256 = digests.sha256(path)
    digests_of_runs = [
        (jsonfile.read(folder / runs.DATASET) or {}).get("outputs", {}).get(TRAIN, {}).get("sha256")
        for folder in paths.runs
    ]
    if sha256 not in digests_of_runs:
        raise CheckFailed(
            f"{path} is not what {', '.join(folder.name for folder in paths.runs)} was trained on: "
            f"name the {TRAIN} of the run's dataset with --train"
        )
    return path


def _groups(
    path: Path,
    reference: Cases,
    train: Cases,
    tables: Mapping[str, Details],
    lists: Mapping[Path, Sequence[listed.Incident]],
) -> Groups:
    """The groups of incidents, from all available information about them."""
    groups = Groups()
    list_path = path.with_name(listed.NAME)
    for incident_list in (
        *lists.values(),
        *([incidents.read_list(list_path)] if list_path.is_file() else ()),
    ):
        groups.join_listed(incident_list)
    groups.join_windows({name: fact.window for name, fact in tables.items() if fact.window})
    for cases in (reference, train):
        windows = {name: incidents.window_in(case.shown) for (name, _), case in cases.items()}
        groups.join_windows({name: window for name, window in windows.items() if window})
    return groups


def _run(path: Path, incidents: Sequence[listed.Incident]) -> Run:
    summary_of_run = summary.read(path / runs.SUMMARY)
    return Run(
        summary_of_run.name or path.name,
        summary_of_run.recipe,
        summary_of_run.base_model,
        summary_of_run.synthetic,
        digests.sha256(path / runs.SUMMARY),
        len({incident.incident_id for incident in incidents if incident.split == "train"}),
        {task: summary_of_run.baseline.get(task) for task in ("loss", *TASKS)},
        {task: summary_of_run.eval.get(task) for task in ("loss", *TASKS)},
    )


def _check_verdicts(table: Table, candidates: Sequence[Candidate], reference: Cases) -> None:
    """Refuse verdicts on other candidates, or on only some of these incidents."""
    names = {candidate.name for candidate in candidates if table.task in candidate.tasks()}
    if unknown := [name for name in table.candidates if name not in names]:
        raise ImmuneError(
            f"the verdicts of task {table.task} judge {unknown[0]}, whose answers are missing: "
            f"give them as {unknown[0]}=FILE (known: {', '.join(sorted(names))})"
        )
    expected = [incident for incident, task in reference if task == table.task]
    if missing := [incident for incident in expected if incident not in table.scores]:
        raise CheckFailed(
            f"the verdicts of task {table.task}: {len(missing):,} of "
            f"{counted(len(expected), 'incident')} {are(len(missing))} missing "
            f"(first: {missing[0]}): judge them all"
        )
    if extra := sorted(set(table.scores) - set(expected)):
        raise CheckFailed(
            f"the verdicts of task {table.task} include {counted(len(extra), 'incident')} missing "
            f"from the reference (first: {extra[0]}): give verdicts on its answers"
        )


def _judged(table: Table, candidates: Sequence[Candidate], reference: Cases) -> JudgedTask:
    """A table's scores as numbers; a failed answer has 0."""
    columns = [candidate for candidate in candidates if candidate.name in table.candidates]
    incident_ids = [incident for incident, task in reference if task == table.task]
    cases = [
        [candidate.answers[incident, table.task] for candidate in columns]
        for incident in incident_ids
    ]
    failed = np.array([[case.failed for case in row] for row in cases])
    values = np.array(
        [
            [table.scores[incident][candidate.name] for candidate in columns]
            for incident in incident_ids
        ]
    )
    tokens = np.array([[count(case.answer) for case in row] for row in cases])
    return JudgedTask(
        table.task,
        verdicts.MOST[table.task],
        tuple(candidate.name for candidate in columns),
        tuple(incident_ids),
        np.where(failed, 0.0, values),
        failed,
        np.log2(np.maximum(tokens, 1)),
    )


def content(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON; the same inputs give the same text."""
    whole = {
        "reference": {
            "file": evaluation.reference,
            "sha256": evaluation.reference_sha256,
            "incidents": evaluation.incidents,
            "groups": evaluation.groups,
        },
        "synthetic": evaluation.synthetic,
        "methods": {
            "scores": resampling.METHOD,
            "measures": intervals.METHODS,
            "least_incidents": scores.LEAST_INCIDENTS,
            "least_groups": scores.LEAST_GROUPS,
        },
        "runs": evaluation.runs,
        "candidates": [
            {
                "name": candidate.name,
                "kind": candidate.kind,
                "sha256": candidate.sha256,
                "answers": {task: _number(candidate, task) for task in candidate.tasks()},
                "failed": {task: evaluation.failed(candidate, task) for task in candidate.tasks()},
            }
            for candidate in evaluation.candidates
        ],
        "most_frequent_level": evaluation.most_frequent,
        "verdicts": {
            task: {
                **asdict(table.judge),
                "files": table.files,
                "incidents": len(table.scores),
                "calls": sum(map(len, table.calls.values())),
                "noise": table.noise,
            }
            for task, table in evaluation.tables.items()
        },
        "scores": evaluation.cells,
        "measures": evaluation.measured.measures,
        "tests": evaluation.measured.tests,
        "detectable_share": evaluation.measured.detectable,
        "risk_levels": evaluation.levels,
        "costs": evaluation.costs,
    }
    return _plain(whole)


def _number(candidate: Candidate, task: str) -> int:
    return sum(answer_task == task for _, answer_task in candidate.answers)


def _plain(value: Any) -> Any:
    """A value that JSON can represent, with rounded numbers."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    return value
