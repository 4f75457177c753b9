"""Compare two emitted datasets: two folders with `train.jsonl` and `eval.jsonl` in, the missing,
added and changed records out, by incident and task.

DuckDB reads the files, so that memory contains only digests of texts, or spills them to disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from immune_data.common import duck, table
from immune_data.common.errors import ImmuneError
from immune_data.contract.record import duckdb_columns

if TYPE_CHECKING:
    import duckdb

_SHOWN = 20
_COLUMNS = duckdb_columns()
_PLAIN = [key for key in _COLUMNS if key not in ("messages", "incident_id", "task")]
# The fields in which records may differ; texts by their digests.
_FIELDS = ("split", *_PLAIN, "prompt", "answer")

_READ = """
create temp table {side} as
select
    '{split}' as split,
    row_number() over () as line,
    incident_id,
    task,
    {plain},
    md5(messages[:-2]::varchar) as prompt,
    md5(messages[-1].content) as answer
from read_json($path, format = 'newline_delimited', columns = {columns},
    hive_partitioning = false)
"""
_COMPARE = """
create temp table compared as
with a_records as (
    select incident_id, task, count(*) as records, {lists} from a group by incident_id, task
),
b_records as (
    select incident_id, task, count(*) as records, {lists} from b group by incident_id, task
)
select
    incident_id,
    task,
    case
        when b_records.records is null then 'missing'
        when a_records.records is null then 'added'
        else 'changed'
    end as difference,
    coalesce(a_records.records, 0) as records_a,
    coalesce(b_records.records, 0) as records_b,
    [field for field in [
        if(a_records.records <> b_records.records, 'records', null), {changes}
    ] if field is not null] as fields
from a_records full outer join b_records using (incident_id, task)
where a_records.records is null or b_records.records is null or len(fields) > 0
order by incident_id, task
"""


@dataclass(frozen=True)
class Difference:
    """The records missing from the second of two datasets, added to it and changed in it."""

    folders: tuple[Path, Path]
    connection: duckdb.DuckDBPyConnection

    @cached_property
    def counts(self) -> list[tuple[str, str, int]]:
        """(difference, task, incidents)."""
        return self.connection.execute(
            "select difference, task, count(*) from compared group by all order by all"
        ).fetchall()

    @cached_property
    def reordered(self) -> list[str]:
        """The splits with the same records in another order."""
        return [
            split
            for split in ("train", "eval")
            if not self.counts
            and self.connection.execute(
                "select count(*) from a full outer join b using (split, line) where split = ? and "
                "(a.incident_id, a.task, a.answer, a.prompt) "
                "is distinct from (b.incident_id, b.task, b.answer, b.prompt)",
                [split],
            ).fetchall()
            != [(0,)]
        ]

    @property
    def equal(self) -> bool:
        return not self.counts and not self.reordered

    def rows(self, limit: int | None = None) -> list[dict[str, Any]]:
        query = "from compared" if limit is None else f"from compared limit {limit:d}"
        return duck.rows(self.connection, query)

    def summary(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "folders": [str(folder) for folder in self.folders],
            "equal": self.equal,
            "counts": [
                {"difference": difference, "task": task, "incidents": incidents}
                for difference, task, incidents in self.counts
            ],
            "reordered": self.reordered,
            "rows": self.rows(),
        }

    def show(self) -> None:
        """Print the counts and the first rows."""
        first, second = self.folders
        if self.equal:
            print(f"{second} has the same records as {first}")
            return
        if self.reordered:
            print(f"{second} has the records of {first} in another order: {self.reordered}")
            return
        table.show(
            f"missing from {second}, added or changed, compared with {first}",
            ["difference", "task", "incidents"],
            self.counts,
        )
        rows = self.rows(_SHOWN)
        table.show(
            "records by incident and task",
            ["incident", "task", "difference", "before", "now", "in"],
            [[*list(row.values())[:5], _fields(row)] for row in rows],
            whole=["incident"],
        )
        more = sum(incidents for *_, incidents in self.counts) - len(rows)
        if more > 0:
            print(f"and {more:,} more: --json prints all")


def _fields(row: dict[str, Any]) -> str:
    """The fields in which records differ, if both sides have equally many: else `records`."""
    return "records" if row["records_a"] != row["records_b"] else ", ".join(row["fields"])


@contextmanager
def compare(first: Path, second: Path) -> Iterator[Difference]:
    """The difference of two datasets, for as long as the context lasts.

    Raises:
        ImmuneError: a folder does not contain an emitted dataset.
    """
    with duck.spill() as spill:
        database = f"{spill}/difference.duckdb" if spill else ":memory:"
        with duck.connect(database, spill=spill) as connection:
            for side, folder in (("a", first), ("b", second)):
                for number, split in enumerate(("train", "eval")):
                    _read(connection, side, split, folder / f"{split}.jsonl", append=number > 0)
            connection.execute(
                _COMPARE.format(
                    lists=", ".join(
                        f"list({field} order by split, line) as {field}" for field in _FIELDS
                    ),
                    changes=", ".join(
                        f"if(a_records.{field} is distinct from b_records.{field}, '{field}', null)"
                        for field in _FIELDS
                    ),
                )
            )
            yield Difference((first, second), connection)


def _read(
    connection: duckdb.DuckDBPyConnection, side: str, split: str, path: Path, *, append: bool
) -> None:
    import duckdb

    if not path.is_file():
        raise ImmuneError(
            f"{path} does not exist: name folders of emitted datasets, as data/sft/unified-v2"
        )
    query = _READ.format(side=side, split=split, columns=_COLUMNS, plain=", ".join(_PLAIN))
    if append:
        query = query.replace(f"create temp table {side} as", f"insert into {side}")
    try:
        connection.execute(query, {"path": duck.pattern(path)})
    except duckdb.Error as error:
        message = str(error).splitlines()[0]
        raise ImmuneError(f"{path} does not contain emitted records: {message}") from None
