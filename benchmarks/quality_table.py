"""The results of `quality.py`: cells in, pooled numbers with intervals out, as tables and a figure.

All seeds of a recipe are pooled: a share is over all answers of all seeds, a loss is per token of
all reference answers. The 95% intervals are from a bootstrap over groups: a group, the incidents of
one source IP and time window, is drawn whole, with the answers of every seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec
from quality_cell import Cell, Measurement, recipe_of
from quality_held import Held, HeldIncident

from immune_data.common import files, table
from immune_data.contract.record import Record
from immune_data.prompts import TASKS
from immune_train.score import figure, intervals
from immune_train.score.answers import Case
from immune_train.score.metrics import METRICS, REFERENCE, Score

ALL = "all"
MANY_EVENTS = 500
_FEW, _MANY, _UNKNOWN = f"below {MANY_EVENTS}", f"from {MANY_EVENTS}", "not known"

_METRICS = {metric.name: metric.of for metric in METRICS}


def _never_ends(case: Case) -> float | None:
    finished = _METRICS["finished"](case)
    return None if finished is None else 1 - finished


# Measures of an answer: the title, whether it uses the whole evidence, and the function.
SHARES: dict[str, tuple[str, bool, Callable[[Case], float | None]]] = {
    "structure": ("has the structure", False, _METRICS["structure"]),
    "grounded_shown": ("grounded in what was shown", False, _METRICS["grounded"]),
    "grounded_whole": ("grounded in all evidence", True, _METRICS["grounded"]),
    "never_ends": ("never ends", False, _never_ends),
}


class Share(msgspec.Struct, frozen=True):
    """`k` of `n` answers of a task and a tier of event count have a property."""

    task: str
    events: str
    measure: str
    k: int
    n: int
    share: float | None
    low: float | None
    high: float | None


class Loss(msgspec.Struct, frozen=True):
    """The loss per token of the reference answers, and its difference from the first recipe's."""

    task: str
    tokens: int
    loss: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float


class Result(msgspec.Struct, frozen=True):
    """A recipe's row: all seeds pooled. The reference answers have only shares."""

    recipe: str
    seeds: list[int]
    train_records: int
    train_tokens: int  # of an epoch, as trained on
    shared_tokens: int  # of the records that all recipes share
    seconds: float
    losses: list[Loss]
    shares: list[Share]


@dataclass(frozen=True)
class Answer:
    """A measured answer with the information for pooling it."""

    group: str
    events: str
    measured: Measurement
    shown: Case
    whole: Case


def results(
    held: Held, cells: dict[str, list[Cell]], records: dict[str, list[Record]]
) -> list[Any]:
    """A result for the reference answers, and one for each recipe; the first is the baseline."""
    groups = sorted({incident.group for incident in held.incidents.values()})
    baseline = next(iter(cells))
    sums = {name: _losses(held, groups, of_recipe) for name, of_recipe in cells.items()}
    references = records.get(held.reference) or records[baseline]
    rows = [
        Result(REFERENCE, [], 0, 0, 0, 0.0, [], _shares(_references(held, references), groups)),
    ]
    for name, of_recipe in cells.items():
        answers = [
            answer
            for cell in of_recipe
            for answer in _answers(held.incidents, cell.measured, records[name])
        ]
        rows.append(
            Result(
                recipe=name,
                seeds=[cell.seed for cell in of_recipe],
                train_records=of_recipe[0].records,
                train_tokens=of_recipe[0].train_tokens,
                shared_tokens=held.recipes[recipe_of(name)].shared_tokens,
                seconds=fmean(cell.seconds for cell in of_recipe),
                losses=[
                    _loss(task, sums[name][task], sums[baseline][task])
                    for task in sums[name]
                    if task in sums[baseline]
                    and (task != ALL or len(sums[name]) == len(sums[baseline]))
                ],
                shares=_shares(answers, groups),
            )
        )
    return rows


def _answers(
    incidents: dict[str, HeldIncident], measured: Iterable[Measurement], questions: Iterable[Record]
) -> list[Answer]:
    records = {(record.incident_id, record.task): record for record in questions}
    answers = []
    for measurement in measured:
        record = records[measurement.incident_id, measurement.task]
        incident = incidents[measurement.incident_id]
        prompt = tuple(message.content for message in record.messages[:-1])
        reference = record.messages[-1].content
        finish = measurement.finish or None
        shown, whole = (
            Case(measurement.task, measurement.answer, reference, texts, finish)
            for texts in (prompt, (*prompt, incident.evidence))
        )
        answers.append(Answer(incident.group, _tier(incident), measurement, shown, whole))
    return answers


def _references(held: Held, records: Sequence[Record]) -> list[Answer]:
    """The reference answers as if they were a model's."""
    measurements = [
        Measurement(record.incident_id, record.task, 0.0, 0, record.messages[-1].content, "")
        for record in records
    ]
    return _answers(held.incidents, measurements, records)


def _tier(incident: HeldIncident) -> str:
    if incident.event_count is None:
        return _UNKNOWN
    return _FEW if incident.event_count < MANY_EVENTS else _MANY


Sums = tuple[list[float], list[float]]  # by group: a total, and the number of its members


def _by_group(groups: Sequence[str], of: Iterable[tuple[str, float, float]]) -> Sums:
    totals, numbers = dict.fromkeys(groups, 0.0), dict.fromkeys(groups, 0.0)
    for group, total, number in of:
        totals[group] += total
        numbers[group] += number
    return list(totals.values()), list(numbers.values())


def _losses(held: Held, groups: Sequence[str], cells: Iterable[Cell]) -> dict[str, Sums]:
    measurements = [measurement for cell in cells for measurement in cell.measured]
    tasks = [
        task for task in TASKS if any(measurement.task == task for measurement in measurements)
    ]
    return {
        task: _by_group(
            groups,
            (
                (
                    held.incidents[measurement.incident_id].group,
                    measurement.loss,
                    measurement.tokens,
                )
                for measurement in measurements
                if task in (ALL, measurement.task)
            ),
        )
        for task in (ALL, *tasks)
    }


def _loss(task: str, sums: Sums, baseline: Sums) -> Loss:
    loss, baseline_loss = (sum(totals) / sum(numbers) for totals, numbers in (sums, baseline))
    return Loss(
        task,
        round(sum(sums[1])),
        loss,
        *intervals.of_groups(*sums),
        loss - baseline_loss,
        *intervals.of_difference(*sums, *baseline),
    )


def _shares(answers: Sequence[Answer], groups: Sequence[str]) -> list[Share]:
    shares = []
    tiers = [tier for tier in (_FEW, _MANY, _UNKNOWN) if any(a.events == tier for a in answers)]
    for task in TASKS:
        task_answers = [answer for answer in answers if answer.measured.task == task]
        for tier in (ALL, *tiers) if task_answers else ():
            tier_answers = [answer for answer in task_answers if tier in (ALL, answer.events)]
            for measure, (_, is_whole, metric) in SHARES.items():
                cases = [
                    (answer.group, answer.whole if is_whole else answer.shown)
                    for answer in tier_answers
                ]
                values = [(group, metric(case)) for group, case in cases]
                shares.append(_share(task, tier, measure, values, groups))
    return shares


def _share(
    task: str,
    tier: str,
    measure: str,
    values: Iterable[tuple[str, float | None]],
    groups: Sequence[str],
) -> Share:
    sums = _by_group(groups, ((group, value, 1) for group, value in values if value is not None))
    k, n = (round(sum(values_of)) for values_of in sums)
    if not n:
        return Share(task, tier, measure, 0, 0, None, None, None)
    return Share(task, tier, measure, k, n, k / n, *intervals.of_groups(*sums))


# Tables: a title, columns, rows; the same for a terminal and in Markdown.

Table = tuple[str, list[str], list[list[Any]]]


def tables(held: Held, results: Sequence[Result]) -> list[Table]:
    trained_results = [result for result in results if result.losses]
    tasks = [loss.task for loss in trained_results[0].losses]
    baseline = trained_results[0].recipe
    training = [
        [
            *(result.recipe, len(result.seeds), result.train_records, result.train_tokens),
            *(result.shared_tokens, round(result.seconds)),
        ]
        for result in trained_results
    ]
    losses = [
        [
            result.recipe,
            *_by_task(result, tasks, lambda loss: _interval(loss.loss, loss.low, loss.high)),
        ]
        for result in trained_results
    ]
    differences = [
        [
            result.recipe,
            *_by_task(
                result,
                tasks,
                lambda loss: _interval(
                    loss.difference, loss.difference_low, loss.difference_high, "+"
                ),
            ),
        ]
        for result in trained_results[1:]
    ]
    made_tables = [
        (
            f"train records and time; all recipes share {held.shared_records:,} records",
            ["recipe", "seeds", "records", "tokens", "tokens shared by all", "seconds"],
            training,
        ),
        ("held-out loss per answer token", ["recipe", *tasks], losses),
    ]
    if differences:
        made_tables.append(
            (f"held-out loss minus that of {baseline}", ["recipe", *tasks], differences)
        )
    columns = ["recipe", "events", *(title for title, _, _ in SHARES.values())]
    for task in TASKS:
        rows = [
            [result.recipe, tier, *(_share_text(share) for share in of_tier)]
            for result in results
            for tier, of_tier in _by_tier(result.shares, task).items()
        ]
        if rows:
            made_tables.append((f"{task} answers", columns, rows))
    return made_tables


def _by_task(result: Result, tasks: Iterable[str], cell: Callable[[Loss], str]) -> list[str]:
    """A cell for each task; a dash for tasks that a variant was not trained on."""
    losses = {loss.task: loss for loss in result.losses}
    return [cell(losses[task]) if task in losses else "–" for task in tasks]


def _by_tier(shares: Iterable[Share], task: str) -> dict[str, list[Share]]:
    by_tier: dict[str, list[Share]] = {}
    for share in shares:
        if share.task == task:
            by_tier.setdefault(share.events, []).append(share)
    return by_tier


def _interval(value: float, low: float, high: float, sign: str = "") -> str:
    return f"{value:{sign}.4f} ({low:{sign}.4f} to {high:{sign}.4f})"


def _share_text(share: Share) -> str:
    if share.share is None:
        return "–"
    of = f"{share.k:,} of {share.n:,}"
    if share.events != ALL:
        return of
    return f"{of} ({share.low:.0%} to {share.high:.0%})"


def show(tables: Iterable[Table]) -> None:
    for title, columns, rows in tables:
        table.show(title, columns, rows)


def markdown(tables: Iterable[Table], notes: Iterable[str]) -> str:
    """The tables for a page."""
    parts = list(notes)
    for title, columns, rows in tables:
        right = table.numeric(rows, len(columns))
        cells = [[table.cell(value) for value in row] for row in rows]
        parts += [f"{title[:1].upper()}{title[1:]}:", table.markdown(columns, cells, right)]
    return "\n\n".join(parts) + "\n"


def draw(results: Sequence[Result], path: Path) -> None:
    """The losses, and the shares of all answers: a point and its interval for each recipe."""
    names = [result.recipe for result in results]
    losses = [
        Score(loss.task, result.recipe, loss.task, loss.tokens, loss.loss, loss.low, loss.high)
        for result in results
        for loss in result.losses
    ]
    tasks = [
        task for task in TASKS if any(s.task == task for result in results for s in result.shares)
    ]
    with figure.styled():
        from matplotlib.figure import Figure

        rows = len({score.task for score in losses}), *[len(SHARES)] * len(tasks)
        row_height = 0.17 * len(names) + 0.22
        drawing = Figure(figsize=(8.6, row_height * sum(rows) + 1.7), layout="constrained")
        panels = drawing.subplots(len(rows), 1, height_ratios=rows)
        figure.panel(panels[0], losses, names, {score.task: score.task for score in losses})
        figure.title(panels[0], "held-out loss per answer token")
        for axes, task in zip(panels[1:], tasks, strict=True):
            shares = [
                Score(
                    task, result.recipe, share.measure, share.n, share.share, share.low, share.high
                )
                for result in results
                for share in result.shares
                if share.task == task and share.events == ALL
            ]
            figure.panel(axes, shares, names, {key: metric[0] for key, metric in SHARES.items()})
            figure.title(axes, f"{task} answers")
            axes.set_xlim(-0.02, 1.02)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        panels[-1].set_xlabel("pooled over seeds, with the 95% bootstrap interval over groups")
        figure.legend(drawing, panels[-1], len(names))
    figure.save(drawing, path)


def write(path: Path, text: str) -> None:
    with files.replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
