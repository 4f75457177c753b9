"""Published tables of results: a small file in, what is wrong with its tables out.

The file is TOML: `source`, where the numbers come from, and a `[[tables]]` for each table with its
`name`, its number of `incidents` and its `[[tables.rows]]` in the published order. A row has a
`candidate` and its `win_rate` in per cent; it may have `wins`, `mean_rank`, `interval` (of the win
rate, two numbers), `scores` (by name), and `kind = "baseline"` if it needs no model. A table may
describe its judge with `judge`, `rubric`, `orders` and `calls`, and say in `trained_on` how many of
its incidents, or of their groups, a candidate had been trained on.
"""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from immune_data.common import textfile
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.common.text import are, counted, one_line
from immune_train.evaluate import phrases
from immune_train.evaluate.resampling import Estimate
from immune_train.evaluate.scores import check_win_rates
from immune_train.score.intervals import wilson

_ROUNDED = 0.05  # half the last digit of a rate in per cent with one decimal
_RANK_ROUNDED = 0.005
_NORMAL = 1.959964  # the normal distribution's 97.5th percentile


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    candidate: str
    win_rate: float
    wins: float | None = None
    mean_rank: float | None = None
    interval: tuple[float, float] | None = None
    scores: dict[str, float] = {}
    kind: str | None = None


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    incidents: int
    rows: list[Row]
    judge: str | None = None
    rubric: str | None = None
    orders: str | None = None
    calls: int | None = None
    trained_on: int | None = None


class Publication(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: str
    tables: list[Table]


def read(path: Path) -> Publication:
    """The tables of a file.

    Raises:
        ImmuneError: it does not have the documented format.
    """
    try:
        published = msgspec.convert(tomllib.loads(textfile.read(path)), Publication)
    except tomllib.TOMLDecodeError as error:
        raise ImmuneError(f"{path} is not TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise ImmuneError(f"{path} does not have the format of published tables: {error}") from None
    for table in published.tables:
        names = [row.candidate for row in table.rows]
        rates = [row.win_rate for row in table.rows]
        if len(names) < 2 or len(set(names)) < len(names) or table.incidents < 1:
            raise ImmuneError(
                f"the table {table.name} in {path} should have incidents, and two or more "
                "different candidates"
            )
        if not all(0 <= rate <= 100 for rate in rates):
            raise ImmuneError(
                f"the table {table.name} in {path} has a win rate that is not a percentage"
            )
    if not published.tables:
        raise ImmuneError(f"{path} contains no table")
    return published


def faults(table: Table) -> list[str]:
    """What is wrong with a table or missing from it, one sentence each."""
    return [
        *_sums(table),
        *_counts(table),
        *_order(table),
        *_intervals(table),
        *_indistinguishable(table),
        *_missing(table),
    ]


def _sums(table: Table) -> Iterator[str]:
    rates = [row.win_rate / 100 for row in table.rows]
    try:
        check_win_rates(rates, table.name, _ROUNDED * len(rates) / 100 + 1e-9)
    except CheckFailed:
        unwon = round((1 - sum(rates)) * table.incidents)
        reason = (
            f"{unwon} of {counted(table.incidents, 'incident')} {are(unwon, 'has', 'have')} no "
            "winner, so the table mixes rows of several runs, or incidents were left out"
            if unwon > 0
            else "some incidents are won more than once"
        )
        yield f"The win rates sum to {phrases.share(sum(rates), 1)}: {reason}."
    wins = [row.wins for row in table.rows]
    if all(value is not None for value in wins):
        total = math.fsum(value for value in wins if value is not None)
        if total != table.incidents:
            yield f"The wins sum to {total:g}, not to {counted(table.incidents, 'incident')}."
    ranks = [row.mean_rank for row in table.rows if row.mean_rank is not None]
    if len(ranks) == len(table.rows):
        expected = len(ranks) * (len(ranks) + 1) / 2
        if abs(math.fsum(ranks) - expected) > _RANK_ROUNDED * len(ranks) + 1e-9:
            yield (
                f"The mean ranks sum to {math.fsum(ranks):.2f}, but should sum to {expected:g} if "
                "every candidate has a rank on every incident: failed answers were left out."
            )


def _counts(table: Table) -> Iterator[str]:
    for row in table.rows:
        wins = row.win_rate / 100 * table.incidents
        if abs(wins - round(wins)) > _ROUNDED / 100 * table.incidents + 1e-9:
            yield (
                f"{row.candidate}: {row.win_rate:g}% of {counted(table.incidents, 'incident')} "
                f"are {wins:.2f} wins, which is not a whole number."
            )
        elif row.wins is not None and abs(wins - row.wins) > _ROUNDED / 100 * table.incidents:
            yield (
                f"{row.candidate}: {row.wins:g} wins of {table.incidents} are not "
                f"{row.win_rate:g}%."
            )


def _order(table: Table) -> Iterator[str]:
    """The order of the rows, which should be that of a column."""
    columns = {"win rate": [row.win_rate for row in table.rows]}
    for name in table.rows[0].scores:
        if all(name in row.scores for row in table.rows):
            columns[name] = [row.scores[name] for row in table.rows]
    ranks = [row.mean_rank for row in table.rows]
    if all(rank is not None for rank in ranks):
        columns["mean rank"] = [-rank for rank in ranks if rank is not None]
    if not any(values == sorted(values, reverse=True) for values in columns.values()):
        yield f"The rows are not in the order of any column ({', '.join(columns)})."


def _intervals(table: Table) -> Iterator[str]:
    without_interval = [row for row in table.rows if row.interval is None]
    if without_interval:
        intervals = "; ".join(
            f"{row.candidate} {phrases.rate(_estimate(row, table.incidents))}"
            for row in without_interval
        )
        yield f"There are no intervals. Wilson's 95% intervals are: {intervals}."


def _estimate(row: Row, incidents: int) -> Estimate:
    wins = round(row.win_rate / 100 * incidents)
    return Estimate(row.win_rate / 100, *wilson(wins, incidents))


def _indistinguishable(table: Table) -> Iterator[str]:
    """Pairs whose win rates differ by no more than chance, both counted on the same incidents."""
    close = []
    pairs = list(itertools.combinations(table.rows, 2))
    for first, second in pairs:
        first_rate, second_rate = first.win_rate / 100, second.win_rate / 100
        spread = math.sqrt(
            (first_rate + second_rate - (first_rate - second_rate) ** 2) / table.incidents
        )
        if abs(first_rate - second_rate) <= _NORMAL * spread:
            close.append(f"{first.candidate} and {second.candidate}")
    if close:
        count = f"{len(close)} of {counted(len(pairs), 'pair')}"
        yield f"{count} cannot be distinguished: {'; '.join(close)}."


def _missing(table: Table) -> Iterator[str]:
    if not any(row.kind == "baseline" for row in table.rows):
        yield "There is no baseline, so it is unknown what a constant answer would get."
    if table.trained_on is None:
        yield "It does not say how many of its incidents, or of their groups, were trained on."
    elif table.trained_on:
        of_all = f"{table.trained_on} of its {counted(table.incidents, 'incident')}"
        yield f"{of_all} {are(table.trained_on, 'was', 'were')} trained on."
    missing = [
        name for name in ("judge", "rubric", "orders", "calls") if getattr(table, name) is None
    ]
    if missing:
        yield f"Missing about its judge: {', '.join(missing)}."


def show(published: Publication, faults: Sequence[list[str]]) -> None:
    """Print what is wrong with each table."""
    print(one_line(f"source: {published.source}"))
    for table, sentences in zip(published.tables, faults, strict=True):
        candidates = counted(len(table.rows), "candidate")
        incidents = counted(table.incidents, "incident")
        print(f"\n{one_line(f'{table.name}: {candidates}, {incidents}')}")
        for sentence in sentences or ["Nothing is wrong with it."]:
            print(one_line(f"- {sentence}"))
