"""Audit checks: the files in `sql/audit/` and a recipe's connection in, their results out.

A check is one file. The comment at its top has `-- severity: error`, `warn` or `info`; then
`-- reads:` with the relations made by Python, and `-- bound: 0.2` if it is a share; and a sentence
about what is wrong with the rows that its query returns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from immune_data.common import duck
from immune_data.common.errors import ImmuneError
from immune_data.common.text import one_line, suggestion
from immune_data.select.steps import sql_folder

if TYPE_CHECKING:
    import duckdb
    import polars as pl

SEVERITIES = ("error", "warn", "info")

_DIRECTIVE = re.compile(r"(severity|bound|reads):\s*(\S.*)")
_ROWS = "audit_rows"


@dataclass(frozen=True)
class Check:
    """One file of `sql/audit/`."""

    name: str
    sentence: str
    severity: str
    bound: float | None
    query: str


@dataclass(frozen=True)
class Result:
    """The result of a check: the number of rows, and the incident of the first one, if any."""

    check: Check
    rows: int
    failed: bool
    first_incident: str | None

    @property
    def status(self) -> str:
        return "failed" if self.failed else "passed"


def folder() -> Path:
    return sql_folder() / "audit"


def load(names: Sequence[str] | None = None) -> list[Check]:
    """The checks with these names, or all of them, the gravest first.

    Raises:
        ImmuneError: there is no check of a name.
    """
    known = {path.stem: path for path in sorted(folder().glob("*.sql"))}
    for name in names or ():
        if name not in known:
            hint = suggestion(name, known, "`audit --list` names them all", most=3)
            raise ImmuneError(f"there is no check {one_line(name, 80) or repr(name)}: {hint}")
    checks = [_read(known[name]) for name in dict.fromkeys(names or known)]
    return sorted(checks, key=lambda check: (SEVERITIES.index(check.severity), check.name))


def run(
    connection: duckdb.DuckDBPyConnection, checks: Iterable[Check], keep: Path | None = None
) -> Iterator[Result]:
    """Run checks, one after the other.

    Args:
        connection: one whose current schema is a recipe's.
        checks: what to run.
        keep: a folder that gets the rows of each check that fails, as `<check>.parquet`.
    """
    for check in checks:
        with _materialised(connection, check):
            result = _result(connection, check)
            if result.failed and keep is not None:
                path = duck.quoted(duck.path(keep / f"{check.name}.parquet"))
                connection.execute(f"copy {_ROWS} to {path} (format parquet, compression zstd)")
        yield result


def run_with_rows(
    connection: duckdb.DuckDBPyConnection, check: Check, limit: int
) -> tuple[Result, pl.DataFrame]:
    """Run a check once, for its result and the first rows that it finds."""
    with _materialised(connection, check):
        return _result(connection, check), _first_rows(connection, limit)


def rows(
    connection: duckdb.DuckDBPyConnection, check: Check, limit: int | None = None
) -> pl.DataFrame:
    """The rows that a check finds, or the first of them."""
    with _materialised(connection, check):
        return _first_rows(connection, limit)


def _result(connection: duckdb.DuckDBPyConnection, check: Check) -> Result:
    [(count,)] = connection.execute(f"select count(*) from {_ROWS}").fetchall()
    first = _first_incident(connection) if count else None
    return Result(check, count, count > 0, first)


def _first_rows(connection: duckdb.DuckDBPyConnection, limit: int | None) -> pl.DataFrame:
    import polars as pl

    query = f"from {_ROWS}" if limit is None else f"from {_ROWS} limit {limit:d}"
    return pl.DataFrame(connection.sql(query).to_arrow_table())


def _read(path: Path) -> Check:
    text = path.read_text(encoding="utf-8")
    comment = []
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        comment.append(line.removeprefix("--").strip())
    values = {match[1]: match[2] for match in map(_DIRECTIVE.fullmatch, comment) if match}
    sentence = " ".join(line for line in comment if line and not _DIRECTIVE.fullmatch(line))
    severity = values.get("severity")
    if severity not in SEVERITIES:
        raise ImmuneError(
            f"{path} should say `-- severity:` error, warn or info in the comment at its top"
        )
    if not sentence:
        raise ImmuneError(f"{path} should say what is wrong in the comment at its top")
    try:
        bound = float(values["bound"]) if "bound" in values else None
    except ValueError:
        raise ImmuneError(f"{path} has a `-- bound:` that is not a number") from None
    return Check(path.stem, sentence, severity, bound, text)


@contextmanager
def _materialised(connection: duckdb.DuckDBPyConnection, check: Check) -> Iterator[None]:
    """The rows of a check in a temporary table, spilled to disk if they are many."""
    import duckdb

    try:
        connection.execute(f"create or replace temp table {_ROWS} as\n{check.query}")
    except duckdb.Error as error:
        raise ImmuneError(f"check {check.name} cannot run: {str(error).splitlines()[0]}") from None
    yield
    connection.execute(f"drop table {_ROWS}")  # not after an error, which ends the command anyway


def _first_incident(connection: duckdb.DuckDBPyConnection) -> str | None:
    """The incident that the first row names, if rows name incidents."""
    found = duck.rows(connection, f"from {_ROWS} limit 1")
    return found[0].get("incident_id")
