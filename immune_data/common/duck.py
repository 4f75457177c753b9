"""DuckDB: connections with bounded memory, and paths that it reads as we mean them.

DuckDB and pyarrow see more in a path than the name of a file: the home folder, patterns, the scheme
and the options of an address, the columns of a Hive table.
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

# A relation of one file, whose `pattern` is the parameter.
PARQUET = "read_parquet(?, hive_partitioning = false)"

MEMORY = "512MB"  # for commands that only query

# DuckDB makes a filter of the keys of each join, an array of which it zeroes hundreds of kilobytes:
# a seventh of the time to emit a small dataset. Ten times the sample is not slower without them.
_DISABLED_OPTIMIZERS = "join_filter_pushdown"

_REFUSED = "?\\"  # to DuckDB the options of an address, and another `/`


def path(file: Path) -> str:
    """A file or folder as DuckDB and pyarrow open it.

    Raises:
        ImmuneError: DuckDB cannot.
    """
    absolute = os.path.abspath(file)  # noqa: PTH100 (without it a name may begin with `~` or `s3:`)
    for character in _REFUSED:
        if character in absolute:
            raise ImmuneError(
                f"DuckDB cannot work in {absolute}, whose name contains {character}: use another "
                "folder"
            )
    try:
        absolute.encode()
    except UnicodeEncodeError:
        raise ImmuneError(
            f"DuckDB cannot work in {absolute}, whose name is not UTF-8: use another folder"
        ) from None
    return absolute


def pattern(file: Path) -> str:
    """A pattern that matches only this file, for functions that take patterns."""
    return glob.escape(path(file))


def quoted(text: str) -> str:
    """A text as a SQL literal."""
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def spill() -> Iterator[str]:
    """A `temp_directory` for as long as the context lasts.

    Where there is no writable temporary folder it is empty (""): a query that needs more memory
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
    """A connection that uses no more than `memory`.

    Args:
        database: a file to work in, as DuckDB opens it.
        memory: a size as DuckDB reads it.
        spill: a folder for what does not fit in memory; without one a query that needs more fails.
        settings: any other configuration of DuckDB.
    """
    import duckdb

    config = {
        "memory_limit": memory,
        "temp_directory": spill,
        "disabled_optimizers": _DISABLED_OPTIMIZERS,
        **settings,
    }
    return duckdb.connect(database, config=config)


def attach(connection: duckdb.DuckDBPyConnection, file: Path, catalog: str, *options: str) -> None:
    """Open a database file under the name `catalog`, with options of `attach`, and use it."""
    clause = f" ({', '.join(options)})" if options else ""
    connection.execute(f"attach {quoted(path(file))} as {catalog}{clause}")
    connection.execute(f"use {catalog}.main")


def rows(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: object = None
) -> list[dict[str, Any]]:
    """The rows of a query, each by the names of its columns."""
    result = connection.execute(query, parameters)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
