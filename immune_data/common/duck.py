"""DuckDB: connections bounded in memory, and what it asks of the file system.

DuckDB and pyarrow read more into a path than a file's name: home, patterns, the scheme and the
options of an address, the columns of a Hive table.
"""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from immune_data.common import signals
from immune_data.common.errors import ImmuneError

if TYPE_CHECKING:
    import duckdb

# A relation: one file, whose place is the parameter, by its `pattern`.
PARQUET = "read_parquet(?, hive_partitioning = false)"

MEMORY = "512MB"  # what a command that only asks has

_CANNOT = "?\\"  # to DuckDB an address's options, and another `/`


def path(file: Path) -> str:
    """A file or folder as DuckDB and pyarrow open it.

    Raises:
        ImmuneError: DuckDB cannot.
    """
    whole = os.path.abspath(file)  # noqa: PTH100 (without it a name may begin with `~` or `s3:`)
    for character in _CANNOT:
        if character in whole:
            raise ImmuneError(
                f"DuckDB cannot work in {whole}, whose name holds {character}: use another folder"
            )
    try:
        whole.encode()
    except UnicodeEncodeError:
        raise ImmuneError(
            f"DuckDB cannot work in {whole}, whose name is not UTF-8: use another folder"
        ) from None
    return whole


def pattern(file: Path) -> str:
    """A pattern that only this file matches, for what takes patterns."""
    return glob.escape(path(file))


def quoted(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def spill() -> Iterator[str]:
    """A `temp_directory` for as long as the context lasts.

    Where no temporary folder can be written to it is none (""): a query that needs more memory
    than there is then fails.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="immune-", ignore_cleanup_errors=True)
    except OSError:
        yield ""
        return
    with folder as name, signals.unfinished(Path(name)):
        yield path(Path(name))


def connect(
    database: str = ":memory:", *, memory: str = MEMORY, spill: str = "", **settings: Any
) -> duckdb.DuckDBPyConnection:
    """A connection that holds no more than `memory`.

    Args:
        database: a file to work in, as DuckDB opens it.
        memory: a size as DuckDB reads it.
        spill: a folder for what memory does not hold; without one a query that needs more fails.
        settings: any other configuration of DuckDB.
    """
    import duckdb

    config = {"memory_limit": memory, "temp_directory": spill, **settings}
    return duckdb.connect(database, config=config)


def attach(connection: duckdb.DuckDBPyConnection, file: Path, catalog: str, *options: str) -> None:
    """Open a database file under the name `catalog`, with options of `attach`, and use it."""
    listed = f" ({', '.join(options)})" if options else ""
    connection.execute(f"attach {quoted(path(file))} as {catalog}{listed}")
    connection.execute(f"use {catalog}.main")


def rows(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: object = None
) -> list[dict[str, Any]]:
    """The rows of a query, each by the names of its columns."""
    result = connection.execute(query, parameters)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
