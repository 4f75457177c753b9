"""`evaluation.html`: an evaluation and its figures in, one self-contained page out.

The content is made here; the layout is in `page.html.jinja`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import immune_data
from immune_data.common import page, templates
from immune_data.common.drawing import Drawing
from immune_data.common.text import counted
from immune_data.prompts import TASKS
from immune_train.evaluate import phrases
from immune_train.evaluate.evaluation import Evaluation
from immune_train.evaluate.incidents import ALL
from immune_train.evaluate.levels import GIVEN, LIKELIHOODS
from immune_train.evaluate.measures import Measure
from immune_train.evaluate.scores import LEAST_GROUPS, LEAST_INCIDENTS, Cell

_DIGEST = 12  # characters of a sha256 that are shown

# Additional styles of an evaluation's tables: an interval under each value.
_STYLE = """\
td .of{display:block;color:var(--muted);font-size:.82rem}
tbody td.n,tbody th{white-space:nowrap}
details tbody th{max-width:none}
thead th{white-space:normal;vertical-align:bottom}
summary{flex-wrap:nowrap}
@media (max-width:40rem){tbody th{white-space:normal;min-width:6rem}}
@media print{thead th,tbody td.n,tbody th{white-space:normal}}
"""


@dataclass(frozen=True)
class Table:
    """A table's text; all columns but the first are right-aligned, unless they are words."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: bool = True


def render(evaluation: Evaluation, drawings: Sequence[Drawing]) -> str:
    """The page."""
    figures = page.figures(drawings)
    losses = _losses(evaluation)
    sections = [
        ("scores", "Scores"),
        ("levels", "Risk levels"),
        ("measures", "Measures"),
        *([("loss", "Loss")] if losses else []),
        ("limits", "Limits"),
        ("provenance", "Provenance"),
    ]
    return templates.render(
        "immune_train.evaluate",
        "page.html.jinja",
        command="python -m immune_train.evaluate",
        version=immune_data.__version__,
        style=page.style(_STYLE),
        title=f"Evaluation of {', '.join(run.name for run in evaluation.runs)}",
        findings=phrases.findings(evaluation),
        synthetic=evaluation.synthetic,
        sections=sections,
        keys=_keys(evaluation),
        judged=[_judged(evaluation, task, figures) for task in evaluation.tables],
        most_frequent=_most_frequent(evaluation),
        costs_figure=figures.get("costs"),
        levels=_levels(evaluation),
        confusion=list(_confusion(evaluation)),
        costs=_costs(evaluation),
        measured=[
            {
                "name": task.capitalize(),
                "figure": figures.get(f"measures-{task}"),
                "measures": _measures(evaluation, task),
                "tests": [_tests(evaluation, task)],
            }
            for task in TASKS
            if any(measure.task == task for measure in evaluation.measured.measures)
        ],
        losses=losses,
        detectable=phrases.detectable(evaluation),
        least=LEAST_INCIDENTS,
        least_groups=LEAST_GROUPS,
        provenance=_provenance(evaluation),
    )


def _keys(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    categories = [fact.category for fact in evaluation.facts.values()]
    models = [candidate for candidate in evaluation.candidates if candidate.kind == "model"]
    failed = sum(
        evaluation.failed(candidate, task) for candidate in models for task in candidate.tasks()
    )
    return [
        (
            "Incidents",
            f"{evaluation.incidents:,}",
            f"in {counted(evaluation.groups, 'group')}; {categories.count('Normal')} Normal",
        ),
        ("Models", f"{len(models):,}", "besides the reference and the baselines"),
        ("Failed answers", f"{failed:,}", "each counts as the worst answer"),
        ("Judged tasks", f"{len(evaluation.tables)} of {len(TASKS)}", "by a judge's scores"),
    ]


def _most_frequent(evaluation: Evaluation) -> str:
    if evaluation.most_frequent is None:
        return "none has a level"
    level = evaluation.most_frequent
    return f"{level.answers:,} of {level.of:,} say {level.level}, the most frequent level"


def _judged(evaluation: Evaluation, task: str, figures: dict[str, page.Figure]) -> dict[str, Any]:
    cells = [cell for cell in evaluation.cells if cell.task == task]
    whole = next(cell for cell in cells if cell.part == ALL)
    length = ""
    if whole.length_slope:
        slope = phrases.estimate(whole.length_slope, signed=True)
        length = f"Doubling the length of an answer changes its score by {slope} points."
    return {
        "name": task.capitalize(),
        "judge": str(evaluation.tables[task].judge).capitalize(),
        "noise": phrases.noise(evaluation.tables[task]),
        "length": length,
        "figure": figures.get(f"scores-{task}"),
        "standings": _standings(whole),
        "differences": [_differences(whole)],
        "parts": [_parts(cells)],
    }


def _standings(cell: Cell) -> Table:
    return Table(
        f"{cell.task.capitalize()}: {counted(cell.incidents, 'incident')} in "
        f"{counted(cell.groups, 'group')}",
        (
            *("candidate", "score", "at equal length", "mean rank", "win rate", "wins"),
            *("strength", "failed"),
        ),
        [
            [
                standing.candidate,
                phrases.estimate(standing.score),
                phrases.estimate(standing.adjusted),
                phrases.estimate(standing.rank),
                phrases.rate(standing.win_rate),
                phrases.wins(standing, cell),
                phrases.estimate(standing.strength, signed=True),
                f"{standing.failed}",
            ]
            for standing in cell.standings
        ],
    )


def _differences(cell: Cell) -> Table:
    return Table(
        "The first minus the second; if the interval excludes zero, the difference is clear",
        ("first", "second", "score", "win rate", "clear"),
        [
            [
                difference.first,
                difference.second,
                phrases.estimate(difference.score, signed=True),
                phrases.rate(difference.win_rate, signed=True),
                "yes" if phrases.is_clear(difference.score) else "no",
            ]
            for difference in cell.differences
        ],
    )


def _parts(cells: Sequence[Cell]) -> Table:
    return Table(
        "Parts of the incidents",
        ("part", "candidate", "score", "win rate", "wins"),
        [
            [
                cell.part,
                standing.candidate,
                phrases.estimate(standing.score),
                phrases.rate(standing.win_rate),
                phrases.wins(standing, cell),
            ]
            for cell in cells
            if cell.part != ALL
            for standing in cell.standings
        ],
    )


def _levels(evaluation: Evaluation) -> list[Table]:
    if not evaluation.levels.levels:
        return []
    return [
        Table(
            "Cost of the risk levels, in points per incident",
            (
                *("candidate", "false alarms on Normal", "Malware called Low"),
                *("cost by category", "more than the best constant", "cost by reference"),
            ),
            [
                [
                    level.candidate,
                    _share(level.false_alarms.k, level.false_alarms.n, level.false_alarms.estimate),
                    _share(level.missed.k, level.missed.n, level.missed.estimate),
                    phrases.estimate(level.cost_by_category),
                    phrases.estimate(level.over_constant, signed=True),
                    phrases.estimate(level.cost_by_reference),
                ]
                for level in evaluation.levels.levels
            ],
        )
    ]


def _share(k: int | None, n: int, estimate: Any) -> str:
    if n == 0:
        return phrases.NONE
    return f"{k} of {n}" if estimate is None else f"{k} of {n}: {phrases.rate(estimate)}"


def _confusion(evaluation: Evaluation) -> Iterator[Table]:
    for caption, field, columns in (
        ("Levels by the incident's category", "by_category", GIVEN),
        ("Levels by the reference's level", "by_reference", GIVEN),
        ("Likelihood of malicious activity by category", "likelihood_by_category", LIKELIHOODS),
    ):
        yield Table(
            caption,
            ("candidate", "truth", *columns),
            [
                [level.candidate, row, *map(str, counts)]
                for level in evaluation.levels.levels
                for row, counts in getattr(level, field).items()
            ],
        )


def _costs(evaluation: Evaluation) -> list[Table]:
    return [
        Table(
            f"Compared with the {against}",
            ("truth", *GIVEN),
            [[row, *(f"{costs[level]:g}" for level in GIVEN)] for row, costs in rows.items()],
        )
        for against, rows in evaluation.costs.items()
    ]


def _measures(evaluation: Evaluation, task: str) -> Table:
    by_key = {
        (measure.metric, measure.candidate): measure
        for measure in evaluation.measured.measures
        if measure.task == task
    }
    titles = {
        measure.metric: measure.title
        for measure in evaluation.measured.measures
        if measure.task == task
    }
    names = list(dict.fromkeys(candidate for _, candidate in by_key))
    return Table(
        f"{task.capitalize()}, each with its number of answers",
        ("measure", *names),
        [
            [title, *(_measure(by_key.get((metric, name))) for name in names)]
            for metric, title in titles.items()
        ],
    )


def _measure(measure: Measure | None) -> str:
    if measure is None or measure.n == 0:
        return phrases.NONE
    if measure.k is not None:
        return _share(measure.k, measure.n, measure.estimate)
    if measure.estimate is None:
        return f"n = {measure.n}"
    return f"{phrases.estimate(measure.estimate).removesuffix(')')}; n = {measure.n})"


def _tests(evaluation: Evaluation, task: str) -> Table:
    return Table(
        "Incidents where only one of the two has it; p is exact, and adjusted by Holm for the "
        "number of tests per task",
        ("measure", "first", "second", "n", "only first", "only second", "p", "p, Holm"),
        [
            [
                *(test.title, test.first, test.second),
                *(str(n) for n in (test.n, test.only_first, test.only_second)),
                *(phrases.NONE if p is None else f"{p:.3g}" for p in (test.p, test.p_holm)),
            ]
            for test in evaluation.measured.tests
            if test.task == task
        ],
    )


def _losses(evaluation: Evaluation) -> Table | None:
    rows = [
        [
            run.name,
            moment,
            *(phrases.NONE if losses[task] is None else f"{losses[task]:.4f}" for task in losses),
        ]
        for run in evaluation.runs
        for moment, losses in (("before", run.before), ("after", run.after))
        if any(loss is not None for loss in losses.values())
    ]
    return Table("Loss per token", ("run", "training", "all", *TASKS), rows) if rows else None


def _provenance(evaluation: Evaluation) -> list[Table]:
    verdicts = {
        name: sha256 for table in evaluation.tables.values() for name, sha256 in table.files.items()
    }
    sources = [
        [evaluation.reference, "the records", evaluation.reference_sha256],
        *(
            [candidate.name, "answers", candidate.sha256]
            for candidate in evaluation.candidates
            if candidate.sha256
        ),
        *([name, "verdicts", sha256] for name, sha256 in verdicts.items()),
        *([run.name, "a run", run.sha256] for run in evaluation.runs),
    ]
    runs = [
        [
            run.name,
            run.recipe or phrases.NONE,
            run.base_model or phrases.NONE,
            f"{run.trained_on:,}",
        ]
        for run in evaluation.runs
    ]
    answers = [
        [
            candidate.name,
            candidate.kind,
            *(
                f"{evaluation.failed(candidate, task)} failed"
                if task in candidate.tasks()
                else "not asked"
                for task in TASKS
            ),
        ]
        for candidate in evaluation.candidates
    ]
    return [
        Table(
            "Input files",
            ("name", "what", "sha256"),
            [[name, role, sha256[:_DIGEST]] for name, role, sha256 in sources],
            right=False,
        ),
        Table("Runs", ("run", "recipe", "base model", "train incidents"), runs),
        Table("Candidates", ("name", "kind", *TASKS), answers, right=False),
    ]
