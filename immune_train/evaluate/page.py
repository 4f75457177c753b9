"""`evaluation.html`: an evaluation and its figures in, one page that needs nothing but itself out.

Here is what the page says; how it looks is in `page.html.jinja`.
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

# What an evaluation's tables have besides: an interval under each value.
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
    """A table's text; all columns but the first stand to the right, unless they are words."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: bool = True


def render(of: Evaluation, drawn: Sequence[Drawing]) -> str:
    """The page."""
    figures = page.figures(drawn)
    losses = _losses(of)
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
        title=f"Evaluation of {', '.join(run.name for run in of.runs)}",
        findings=phrases.findings(of),
        synthetic=of.synthetic,
        sections=sections,
        keys=_keys(of),
        judged=[_judged(of, task, figures) for task in of.tables],
        most_frequent=_most_frequent(of),
        costs_figure=figures.get("costs"),
        levels=_levels(of),
        confusion=list(_confusion(of)),
        costs=_costs(of),
        measured=[
            {
                "name": task.capitalize(),
                "figure": figures.get(f"measures-{task}"),
                "measures": _measures(of, task),
                "tests": [_tests(of, task)],
            }
            for task in TASKS
            if any(one.task == task for one in of.measured.measures)
        ],
        losses=losses,
        detectable=phrases.detectable(of),
        least=LEAST_INCIDENTS,
        least_groups=LEAST_GROUPS,
        provenance=_provenance(of),
    )


def _keys(of: Evaluation) -> list[tuple[str, str, str]]:
    categories = [one.category for one in of.facts.values()]
    models = [one for one in of.candidates if one.kind == "model"]
    failed = sum(of.failed(one, task) for one in models for task in one.tasks())
    return [
        (
            "Incidents",
            f"{of.incidents:,}",
            f"in {counted(of.groups, 'group')}; {categories.count('Normal')} Normal",
        ),
        ("Models", f"{len(models):,}", "beside the reference and the baselines"),
        ("Failed answers", f"{failed:,}", "each counts as the worst one"),
        ("Judged tasks", f"{len(of.tables)} of {len(TASKS)}", "by a judge's scores"),
    ]


def _most_frequent(of: Evaluation) -> str:
    if of.most_frequent is None:
        return "none gives a level"
    one = of.most_frequent
    return f"{one.answers:,} of {one.of:,} say {one.level}, the most frequent level"


def _judged(of: Evaluation, task: str, figures: dict[str, page.Figure]) -> dict[str, Any]:
    cells = [cell for cell in of.cells if cell.task == task]
    whole = next(cell for cell in cells if cell.part == ALL)
    length = ""
    if whole.length_slope:
        slope = phrases.estimate(whole.length_slope, signed=True)
        length = f"Twice the length of an answer goes with {slope} points."
    return {
        "name": task.capitalize(),
        "judge": str(of.tables[task].judge).capitalize(),
        "noise": phrases.noise(of.tables[task]),
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
                one.candidate,
                phrases.estimate(one.score),
                phrases.estimate(one.adjusted),
                phrases.estimate(one.rank),
                phrases.rate(one.win_rate),
                phrases.wins(one, cell),
                phrases.estimate(one.strength, signed=True),
                f"{one.failed}",
            ]
            for one in cell.standings
        ],
    )


def _differences(cell: Cell) -> Table:
    return Table(
        "The first less the second; where the interval leaves zero out, the difference is clear",
        ("first", "second", "score", "win rate", "clear"),
        [
            [
                one.first,
                one.second,
                phrases.estimate(one.score, signed=True),
                phrases.rate(one.win_rate, signed=True),
                "yes" if phrases.is_clear(one.score) else "no",
            ]
            for one in cell.differences
        ],
    )


def _parts(cells: Sequence[Cell]) -> Table:
    return Table(
        "Parts of the incidents",
        ("part", "candidate", "score", "win rate", "wins"),
        [
            [
                cell.part,
                one.candidate,
                phrases.estimate(one.score),
                phrases.rate(one.win_rate),
                phrases.wins(one, cell),
            ]
            for cell in cells
            if cell.part != ALL
            for one in cell.standings
        ],
    )


def _levels(of: Evaluation) -> list[Table]:
    if not of.levels.levels:
        return []
    return [
        Table(
            "What the risk levels cost, in points an incident",
            (
                *("candidate", "false alarms on Normal", "Malware called Low"),
                *("cost by category", "more than the best constant", "cost by reference"),
            ),
            [
                [
                    one.candidate,
                    _share(one.false_alarms.k, one.false_alarms.n, one.false_alarms.estimate),
                    _share(one.missed.k, one.missed.n, one.missed.estimate),
                    phrases.estimate(one.cost_by_category),
                    phrases.estimate(one.over_constant, signed=True),
                    phrases.estimate(one.cost_by_reference),
                ]
                for one in of.levels.levels
            ],
        )
    ]


def _share(k: int | None, n: int, estimate: Any) -> str:
    if n == 0:
        return phrases.NONE
    return f"{k} of {n}" if estimate is None else f"{k} of {n}: {phrases.rate(estimate)}"


def _confusion(of: Evaluation) -> Iterator[Table]:
    for caption, which, columns in (
        ("Levels by the incident's category", "by_category", GIVEN),
        ("Levels by the reference's level", "by_reference", GIVEN),
        ("Likelihood of malicious activity by category", "likelihood_by_category", LIKELIHOODS),
    ):
        yield Table(
            caption,
            ("candidate", "of", *columns),
            [
                [one.candidate, row, *map(str, counts)]
                for one in of.levels.levels
                for row, counts in getattr(one, which).items()
            ],
        )


def _costs(of: Evaluation) -> list[Table]:
    return [
        Table(
            f"Against the {against}",
            ("of", *GIVEN),
            [[row, *(f"{costs[level]:g}" for level in GIVEN)] for row, costs in rows.items()],
        )
        for against, rows in of.costs.items()
    ]


def _measures(of: Evaluation, task: str) -> Table:
    found = {(one.metric, one.candidate): one for one in of.measured.measures if one.task == task}
    titles = {one.metric: one.title for one in of.measured.measures if one.task == task}
    names = list(dict.fromkeys(candidate for _, candidate in found))
    return Table(
        f"{task.capitalize()}, each with the number of answers that it is of",
        ("measure", *names),
        [
            [title, *(_measure(found.get((metric, name))) for name in names)]
            for metric, title in titles.items()
        ],
    )


def _measure(one: Measure | None) -> str:
    if one is None or one.n == 0:
        return phrases.NONE
    if one.k is not None:
        return _share(one.k, one.n, one.estimate)
    if one.estimate is None:
        return f"n = {one.n}"
    return f"{phrases.estimate(one.estimate).removesuffix(')')}; n = {one.n})"


def _tests(of: Evaluation, task: str) -> Table:
    return Table(
        "Incidents where only one of the two has it; p is exact, and adjusted by Holm for the "
        "number of tests of the task",
        ("measure", "first", "second", "n", "only first", "only second", "p", "p, Holm"),
        [
            [
                *(one.title, one.first, one.second),
                *(str(n) for n in (one.n, one.only_first, one.only_second)),
                *(phrases.NONE if p is None else f"{p:.3g}" for p in (one.p, one.p_holm)),
            ]
            for one in of.measured.tests
            if one.task == task
        ],
    )


def _losses(of: Evaluation) -> Table | None:
    rows = [
        [
            run.name,
            when,
            *(phrases.NONE if losses[task] is None else f"{losses[task]:.4f}" for task in losses),
        ]
        for run in of.runs
        for when, losses in (("before", run.before), ("after", run.after))
        if any(loss is not None for loss in losses.values())
    ]
    return Table("Loss a token", ("run", "training", "all", *TASKS), rows) if rows else None


def _provenance(of: Evaluation) -> list[Table]:
    verdicts = {
        name: sha256 for table in of.tables.values() for name, sha256 in table.files.items()
    }
    read = [
        [of.reference, "the records", of.reference_sha256],
        *([one.name, "answers", one.sha256] for one in of.candidates if one.sha256),
        *([name, "verdicts", sha256] for name, sha256 in verdicts.items()),
        *([run.name, "a run", run.sha256] for run in of.runs),
    ]
    runs = [
        [
            run.name,
            run.recipe or phrases.NONE,
            run.base_model or phrases.NONE,
            f"{run.trained_on:,}",
        ]
        for run in of.runs
    ]
    answers = [
        [
            one.name,
            one.kind,
            *(
                f"{of.failed(one, task)} failed" if task in one.tasks() else "not asked"
                for task in TASKS
            ),
        ]
        for one in of.candidates
    ]
    return [
        Table(
            "What was read",
            ("name", "what", "sha256"),
            [[name, what, sha256[:_DIGEST]] for name, what, sha256 in read],
            right=False,
        ),
        Table("Runs", ("run", "recipe", "base model", "incidents of train"), runs),
        Table("Candidates", ("name", "kind", *TASKS), answers, right=False),
    ]
