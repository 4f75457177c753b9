"""What `quality.py` says: cells in, pooled numbers with intervals out, as tables and a figure.

All seeds of a recipe are pooled: a share is of all answers of all seeds, a loss is of a token of
all reference answers. Intervals are of 95 %, by a bootstrap over groups: a group, the incidents of
one source IP and time window, is drawn whole, with the answers of every seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec
from quality_cell import Cell, Measured, recipe_of
from quality_held import Asked, Held

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


def _ends_never(case: Case) -> float | None:
    finished = _METRICS["finished"](case)
    return None if finished is None else 1 - finished


# What is counted of an answer: its title, whether it looks at the whole evidence, and how.
SHARES: dict[str, tuple[str, bool, Callable[[Case], float | None]]] = {
    "structure": ("has the structure", False, _METRICS["structure"]),
    "grounded_shown": ("grounded in what was shown", False, _METRICS["grounded"]),
    "grounded_whole": ("grounded in all evidence", True, _METRICS["grounded"]),
    "never_ends": ("never ends", False, _ends_never),
}


class Share(msgspec.Struct, frozen=True):
    """How many answers do something, of those that could: of a task and a tier of event count."""

    task: str
    events: str
    measure: str
    k: int
    n: int
    share: float | None
    low: float | None
    high: float | None


class Loss(msgspec.Struct, frozen=True):
    """The loss of a token of the reference answers, and how far it is from the first recipe's."""

    task: str
    tokens: int
    loss: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float


class Result(msgspec.Struct, frozen=True):
    """A recipe's row: all seeds pooled. The reference answers have shares alone."""

    recipe: str
    seeds: list[int]
    train_records: int
    train_tokens: int  # of an epoch, as trained on
    shared_tokens: int  # of the records that all recipes keep
    seconds: float
    losses: list[Loss]
    shares: list[Share]


@dataclass(frozen=True)
class Answer:
    """A measured answer with what is needed to pool it."""

    group: str
    events: str
    measured: Measured
    shown: Case
    whole: Case


def results(held: Held, cells: dict[str, list[Cell]], asked: dict[str, list[Record]]) -> list[Any]:
    """A result for the reference answers, and one for each recipe; the first is compared with."""
    groups = sorted({incident.group for incident in held.incidents.values()})
    first = next(iter(cells))
    sums = {name: _losses(held, groups, of_recipe) for name, of_recipe in cells.items()}
    references = asked.get(held.reference) or asked[first]
    made = [
        Result(REFERENCE, [], 0, 0, 0, 0.0, [], _shares(_references(held, references), groups)),
    ]
    for name, of_recipe in cells.items():
        answers = [
            one
            for cell in of_recipe
            for one in _answers(held.incidents, cell.measured, asked[name])
        ]
        made.append(
            Result(
                recipe=name,
                seeds=[cell.seed for cell in of_recipe],
                train_records=of_recipe[0].records,
                train_tokens=of_recipe[0].train_tokens,
                shared_tokens=held.recipes[recipe_of(name)].shared_tokens,
                seconds=fmean(cell.seconds for cell in of_recipe),
                losses=[
                    _loss(task, sums[name][task], sums[first][task])
                    for task in sums[name]
                    if task in sums[first] and (task != ALL or len(sums[name]) == len(sums[first]))
                ],
                shares=_shares(answers, groups),
            )
        )
    return made


def _answers(
    incidents: dict[str, Asked], measured: Iterable[Measured], asked: Iterable[Record]
) -> list[Answer]:
    records = {(one.incident_id, one.task): one for one in asked}
    found = []
    for one in measured:
        record, incident = records[one.incident_id, one.task], incidents[one.incident_id]
        prompt = tuple(message.content for message in record.messages[:-1])
        reference = record.messages[-1].content
        finish = one.finish or None
        shown, whole = (
            Case(one.task, one.answer, reference, texts, finish)
            for texts in (prompt, (*prompt, incident.evidence))
        )
        found.append(Answer(incident.group, _tier(incident), one, shown, whole))
    return found


def _references(held: Held, asked: Sequence[Record]) -> list[Answer]:
    """The reference answers, as if a model had given them."""
    given = [
        Measured(one.incident_id, one.task, 0.0, 0, one.messages[-1].content, "") for one in asked
    ]
    return _answers(held.incidents, given, asked)


def _tier(incident: Asked) -> str:
    if incident.event_count is None:
        return _UNKNOWN
    return _FEW if incident.event_count < MANY_EVENTS else _MANY


Sums = tuple[list[float], list[float]]  # by group: a total, and of how many it is


def _by_group(groups: Sequence[str], of: Iterable[tuple[str, float, float]]) -> Sums:
    totals, numbers = dict.fromkeys(groups, 0.0), dict.fromkeys(groups, 0.0)
    for group, total, number in of:
        totals[group] += total
        numbers[group] += number
    return list(totals.values()), list(numbers.values())


def _losses(held: Held, groups: Sequence[str], cells: Iterable[Cell]) -> dict[str, Sums]:
    measured = [one for cell in cells for one in cell.measured]
    tasks = [task for task in TASKS if any(one.task == task for one in measured)]
    return {
        task: _by_group(
            groups,
            (
                (held.incidents[one.incident_id].group, one.loss, one.tokens)
                for one in measured
                if task in (ALL, one.task)
            ),
        )
        for task in (ALL, *tasks)
    }


def _loss(task: str, of: Sums, first: Sums) -> Loss:
    loss, compared = (sum(totals) / sum(numbers) for totals, numbers in (of, first))
    return Loss(
        task,
        round(sum(of[1])),
        loss,
        *intervals.of_groups(*of),
        loss - compared,
        *intervals.of_difference(*of, *first),
    )


def _shares(answers: Sequence[Answer], groups: Sequence[str]) -> list[Share]:
    found = []
    tiers = [tier for tier in (_FEW, _MANY, _UNKNOWN) if any(a.events == tier for a in answers)]
    for task in TASKS:
        of_task = [answer for answer in answers if answer.measured.task == task]
        for tier in (ALL, *tiers) if of_task else ():
            of_tier = [answer for answer in of_task if tier in (ALL, answer.events)]
            for measure, (_, is_whole, of) in SHARES.items():
                cases = [(one.group, one.whole if is_whole else one.shown) for one in of_tier]
                values = [(group, of(case)) for group, case in cases]
                found.append(_share(task, tier, measure, values, groups))
    return found


def _share(
    task: str,
    tier: str,
    measure: str,
    values: Iterable[tuple[str, float | None]],
    groups: Sequence[str],
) -> Share:
    sums = _by_group(groups, ((group, value, 1) for group, value in values if value is not None))
    k, n = (round(sum(of)) for of in sums)
    if not n:
        return Share(task, tier, measure, 0, 0, None, None, None)
    return Share(task, tier, measure, k, n, k / n, *intervals.of_groups(*sums))


# Tables: a title, columns, rows; the same for a terminal and in Markdown.

Table = tuple[str, list[str], list[list[Any]]]


def tables(held: Held, found: Sequence[Result]) -> list[Table]:
    trained = [one for one in found if one.losses]
    tasks = [loss.task for loss in trained[0].losses]
    first = trained[0].recipe
    training = [
        [
            *(one.recipe, len(one.seeds), one.train_records, one.train_tokens),
            *(one.shared_tokens, round(one.seconds)),
        ]
        for one in trained
    ]
    losses = [
        [one.recipe, *_by_task(one, tasks, lambda loss: _interval(loss.loss, loss.low, loss.high))]
        for one in trained
    ]
    differences = [
        [
            one.recipe,
            *_by_task(
                one,
                tasks,
                lambda loss: _interval(
                    loss.difference, loss.difference_low, loss.difference_high, "+"
                ),
            ),
        ]
        for one in trained[1:]
    ]
    made = [
        (
            f"trained on, and for how long; {held.shared_records:,} records are kept by all",
            ["recipe", "seeds", "records", "tokens", "of those all keep", "seconds"],
            training,
        ),
        ("held-out loss of an answer token", ["recipe", *tasks], losses),
    ]
    if differences:
        made.append((f"held-out loss beside that of {first}", ["recipe", *tasks], differences))
    columns = ["recipe", "events", *(title for title, _, _ in SHARES.values())]
    for task in TASKS:
        rows = [
            [one.recipe, tier, *(_counted(share) for share in of_tier)]
            for one in found
            for tier, of_tier in _by_tier(one.shares, task).items()
        ]
        if rows:
            made.append((f"{task} answers", columns, rows))
    return made


def _by_task(one: Result, tasks: Iterable[str], cell: Callable[[Loss], str]) -> list[str]:
    """A cell for each task; a dash for one that a variant did not learn."""
    losses = {loss.task: loss for loss in one.losses}
    return [cell(losses[task]) if task in losses else "–" for task in tasks]


def _by_tier(shares: Iterable[Share], task: str) -> dict[str, list[Share]]:
    found: dict[str, list[Share]] = {}
    for share in shares:
        if share.task == task:
            found.setdefault(share.events, []).append(share)
    return found


def _interval(value: float, low: float, high: float, sign: str = "") -> str:
    return f"{value:{sign}.4f} ({low:{sign}.4f} to {high:{sign}.4f})"


def _counted(share: Share) -> str:
    if share.share is None:
        return "–"
    of = f"{share.k:,} of {share.n:,}"
    if share.events != ALL:
        return of
    return f"{of} ({share.low:.0%} to {share.high:.0%})"


def show(made: Iterable[Table]) -> None:
    for title, columns, rows in made:
        table.show(title, columns, rows)


def markdown(made: Iterable[Table], notes: Iterable[str]) -> str:
    """The tables for a page."""
    parts = list(notes)
    for title, columns, rows in made:
        right = table.numeric(rows, len(columns))
        cells = [[table.cell(value) for value in row] for row in rows]
        parts += [f"{title[:1].upper()}{title[1:]}:", table.markdown(columns, cells, right)]
    return "\n\n".join(parts) + "\n"


def draw(found: Sequence[Result], path: Path) -> None:
    """The losses, and the shares of all answers: a point and its interval for each recipe."""
    names = [one.recipe for one in found]
    losses = [
        Score(loss.task, one.recipe, loss.task, loss.tokens, loss.loss, loss.low, loss.high)
        for one in found
        for loss in one.losses
    ]
    tasks = [task for task in TASKS if any(s.task == task for one in found for s in one.shares)]
    with figure.styled():
        from matplotlib.figure import Figure

        rows = len({score.task for score in losses}), *[len(SHARES)] * len(tasks)
        each = 0.17 * len(names) + 0.22
        drawn = Figure(figsize=(8.6, each * sum(rows) + 1.7), layout="constrained")
        panels = drawn.subplots(len(rows), 1, height_ratios=rows)
        figure.panel(panels[0], losses, names, {score.task: score.task for score in losses})
        figure.title(panels[0], "held-out loss of an answer token")
        for axes, task in zip(panels[1:], tasks, strict=True):
            shares = [
                Score(task, one.recipe, share.measure, share.n, share.share, share.low, share.high)
                for one in found
                for share in one.shares
                if share.task == task and share.events == ALL
            ]
            figure.panel(axes, shares, names, {key: of[0] for key, of in SHARES.items()})
            figure.title(axes, f"{task} answers")
            axes.set_xlim(-0.02, 1.02)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        panels[-1].set_xlabel("pooled over seeds, with the 95 % bootstrap interval over groups")
        figure.legend(drawn, panels[-1], len(names))
    figure.save(drawn, path)


def write(path: Path, text: str) -> None:
    with files.replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")
