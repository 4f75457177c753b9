"""The normalised tables: their contracts, and the writers of rows.

Rows as dictionaries in, `data/tables/<name>.parquet` out. A contract is a dataframely schema:
column types, ranges and keys. Each batch is validated before it is written; constraints on a whole
table (unique keys, references) are checked by `check` when all are in the database. A violation is
a bug of ours, never a fault of the input: bad input is rejected before.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import dataframely as dy
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from immune_data.common import duck
from immune_data.prompts import TASKS
from immune_data.recipes import SCORE_MAX, SUB_SCORE_MAX

if TYPE_CHECKING:
    import duckdb

DATASETS = ("summaries", "cause_risk")


class _Incident(dy.Schema):
    incident_id = dy.String(primary_key=True, min_length=1)


class Incidents(_Incident):
    """One row per incident.

    Facts come from the cause and risk dataset, and from the summaries where that has none.
    """

    category = dy.String(nullable=True)
    source_ip = dy.String(nullable=True)
    timewindow = dy.String(nullable=True)
    timeline = dy.String(nullable=True)
    threat_level = dy.Float64(nullable=True)
    event_count = dy.Int64(nullable=True, min=0)
    in_summaries = dy.Bool()
    in_cause_risk = dy.Bool()


class Dags(_Incident):
    """One row per incident and dataset that has a DAG for it; `tokens` by Qwen2.5."""

    dataset = dy.String(primary_key=True, check=lambda dataset: dataset.is_in(DATASETS))
    text = dy.String(min_length=1)
    text_sha256 = dy.String(regex="^[0-9a-f]{64}$")
    tokens = dy.Int64(min=1)


class _Task(_Incident):
    task = dy.String(primary_key=True, check=lambda task: task.is_in(TASKS))


class Responses(_Task):
    """One row per incident, task and model that answered.

    `chars` are code points, `words` those of Python's `str.split()`, `tokens` Qwen2.5's.
    `risk_level` is the first level word in a risk answer, null where there is none.
    """

    model = dy.String(primary_key=True, min_length=1)
    text = dy.String(min_length=1)
    tokens = dy.Int64(min=1)
    chars = dy.Int64(min=1)
    words = dy.Int64(min=1)
    risk_level = dy.String(nullable=True)


def _sub_score() -> dy.Float64:
    return dy.Float64(nullable=True, min=0, max=SUB_SCORE_MAX)


def _in_range() -> pl.Expr:
    return pl.col("score") <= pl.col("task").replace_strict(SCORE_MAX, default=0)


class Judgements(_Task):
    """One row per incident, task, model and judge run.

    `row` is the record's place in its file, `position` that of the model's key in the record's
    scores (both from 1), `rank` the judge's own; a cause and risk judge ranks both as one. `calls`
    are those that scored the answer, `spread` the standard deviation of their scores, if the file
    has it.
    """

    model = dy.String(primary_key=True, min_length=1)
    judge_run = dy.String(primary_key=True)
    row = dy.Int64(min=1)
    position = dy.Int64(min=1)
    score = dy.Float64(min=0)
    rank = dy.Int64(nullable=True, min=1)
    evidence_grounding = _sub_score()
    cause_specificity = _sub_score()
    alternative_hypotheses = _sub_score()
    risk_calibration = _sub_score()
    actionability = _sub_score()
    business_impact = _sub_score()
    calls = dy.Int64(nullable=True, min=1)
    spread = dy.Float64(nullable=True, min=0)

    @dy.rule()
    def score_in_range(cls) -> pl.Expr:
        return _in_range()

    @dy.rule()
    def spread_is_of_two_calls(cls) -> pl.Expr:
        return pl.col("spread").is_null() | (pl.col("calls").fill_null(0) > 1)


class JudgeCalls(_Task):
    """One row per incident, task, judge run, call (from 1) and model that was scored in it.

    `position` is the answer's place in the order that the judge was shown, from 1.
    """

    judge_run = dy.String(primary_key=True)
    call = dy.Int64(primary_key=True, min=1)
    model = dy.String(primary_key=True, min_length=1)
    position = dy.Int64(min=1)
    score = dy.Float64(min=0)

    @dy.rule()
    def score_in_range(cls) -> pl.Expr:
        return _in_range()


class JudgeRuns(dy.Schema):
    """One row per judge run and task; `precedence` from 1, and the number of `incidents` judged."""

    judge_run = dy.String(primary_key=True)
    task = dy.String(primary_key=True, check=lambda task: task.is_in(TASKS))
    precedence = dy.Int64(min=1)
    judge = dy.String()
    provider = dy.String()
    incidents = dy.Int64(min=0)


class Justifications(_Task):
    """One row per incident, task and judge run with a justification."""

    judge_run = dy.String(primary_key=True)
    text = dy.String(min_length=1)


class SourceFiles(dy.Schema):
    """One row per file read: `rows_read` are the rows used plus `rows_rejected`.

    `synthetic` says whether the file itself says that it was made up.
    """

    file = dy.String(primary_key=True)
    role = dy.String()
    sha256 = dy.String(regex="^[0-9a-f]{64}$")
    bytes = dy.Int64(min=0)
    synthetic = dy.Bool()
    rows_read = dy.Int64(min=0)
    rows_rejected = dy.Int64(min=0)


class Rejects(dy.Schema):
    """One row per reject: a whole row, or the entries of a row with the same reason."""

    file = dy.String(primary_key=True)
    row = dy.Int64(primary_key=True, min=1)
    reason = dy.String(primary_key=True)
    scope = dy.String(check=lambda scope: scope.is_in(["row", "entry"]))
    incident_id = dy.String(nullable=True)
    detail = dy.String()
    json = dy.String()


TABLES: dict[str, type[dy.Schema]] = {
    "incidents": Incidents,
    "dags": Dags,
    "responses": Responses,
    "judgements": Judgements,
    "judge_calls": JudgeCalls,
    "judge_runs": JudgeRuns,
    "justifications": Justifications,
    "source_files": SourceFiles,
    "rejects": Rejects,
}

# (table, its columns, the table and columns that must contain them)
REFERENCES = (
    ("dags", ["incident_id"], "incidents", ["incident_id"]),
    ("responses", ["incident_id"], "incidents", ["incident_id"]),
    ("judgements", ["incident_id"], "incidents", ["incident_id"]),
    ("judgements", ["judge_run", "task"], "judge_runs", ["judge_run", "task"]),
    (
        "judge_calls",
        ["incident_id", "task", "judge_run", "model"],
        "judgements",
        ["incident_id", "task", "judge_run", "model"],
    ),
    ("justifications", ["incident_id"], "incidents", ["incident_id"]),
    ("justifications", ["judge_run", "task"], "judge_runs", ["judge_run", "task"]),
    ("rejects", ["file"], "source_files", ["file"]),
    ("judge_runs", ["judge_run"], "source_files", ["file"]),
)


def path(folder: Path, table: str) -> Path:
    return folder / f"{table}.parquet"


def validate(table: str, rows: list[dict]) -> pa.Table:
    """Rows as an Arrow table, checked against the contract of their table.

    Raises:
        dataframely.exc.ValidationError: a row violates it.
    """
    schema = TABLES[table]
    # Column by column: Polars takes rows of dictionaries several times slower.
    columns = {
        name: pl.Series(name, [row.get(name) for row in rows], column.dtype)
        for name, column in schema.columns().items()
    }
    # Rechunked, or the pages of the file would depend on the number of threads.
    return _to_arrow(schema.validate(pl.DataFrame(columns)).rechunk())


class Writers:
    """Streaming writers of all tables into `folder`, with one row group per call of `write`."""

    def __init__(self, folder: Path) -> None:
        self._writers = {
            table: pq.ParquetWriter(
                duck.path(path(folder, table)),
                _to_arrow(schema.create_empty()).schema,
                compression="zstd",
            )
            for table, schema in TABLES.items()
        }

    def __enter__(self) -> Writers:
        return self

    def write(self, table: str, rows: pa.Table) -> None:
        """Append rows from `validate`."""
        if rows.num_rows:
            self._writers[table].write_table(rows)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for writer in self._writers.values():
            writer.close()


def _to_arrow(frame: pl.DataFrame) -> pa.Table:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def check(connection: duckdb.DuckDBPyConnection, models: set[str]) -> None:
    """Check the constraints on whole tables: unique keys, references, canonical models.

    The tables are those of the connection's current schema.

    Raises:
        AssertionError: a table violates its contract.
    """

    def returns_rows(query: str) -> bool:
        return bool(connection.execute(f"{query} limit 1").fetchall())

    for table, schema in TABLES.items():
        keys = ", ".join(schema.primary_key())
        repeated_keys = f"select {keys} from {table} group by {keys} having count(*) > 1"
        assert not returns_rows(repeated_keys), f"{table}: a key occurs twice"
    for table, columns, other, other_columns in REFERENCES:
        pairs = zip(columns, other_columns, strict=True)
        condition = " and ".join(f"{table}.{left} = {other}.{right}" for left, right in pairs)
        dangling = f"select 1 from {table} anti join {other} on {condition}"
        assert not returns_rows(dangling), f"{table}: {columns} not in {other}"
    for table in ("responses", "judgements"):
        rows = connection.execute(f"select distinct model from {table}").fetchall()
        unknown = {model for (model,) in rows} - models
        assert not unknown, f"{table}: models {sorted(unknown)} are not canonical"
