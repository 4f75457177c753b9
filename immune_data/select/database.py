"""The database of an output folder: its path in; its contents, or a read-only connection, out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from immune_data.common import duck, signals
from immune_data.common.errors import ImmuneError
from immune_data.contract.recipe_identity import recipe_sha256
from immune_data.recipes import Recipe
from immune_data.select import steps

if TYPE_CHECKING:
    import duckdb

NAME = "immune.duckdb"
CATALOG = "immune"  # what DuckDB calls a file of that name

# The form of the file, which DuckDB reads from that version on. Its own newest form can be read by
# DuckDB 2 alone, and most clients are older.
STORAGE = "v1.4.0"

_HOLDER = re.compile(r"PID (\d+)")

# A column that a run makes, in the files with the comments on columns.
_COLUMN = re.compile(r"^comment on column (\w+)\.(\w+) is", re.MULTILINE)
PRIVATE = "emitted"  # a table that is never published


class Unreadable(ImmuneError):
    """A database that is damaged, or in a format that this DuckDB does not support."""


class OtherVersion(ImmuneError):
    """A database that another version of immune made."""


@dataclass(frozen=True)
class Emitted:
    """A recipe whose relations are in a database: its file, and the folder of the sources."""

    inputs_sha256: str
    recipe_sha256: str
    file: str | None
    source: str | None = None


@dataclass(frozen=True)
class Contents:
    """The contents of a database: the tables it was made from, recipes, and other schemas."""

    storage: str
    made_from: tuple[str, str] | None  # sha256 of the tables, and of what they were read from
    synthetic: bool | None  # whether any source file says that it was made up
    recipes: dict[str, Emitted]
    others: tuple[str, ...]


def contents(path: Path) -> Contents | None:
    """The contents of a database; None if it does not exist.

    Raises:
        Unreadable: it cannot be opened.
        ImmuneError: another program has it open for writing.
    """
    import duckdb

    if not path.is_file():
        return None
    with opened(path) as connection:
        try:
            return _contents(connection)
        except duckdb.Error as error:
            message = str(error).splitlines()[0]
            raise Unreadable(f"{path} is not a database of a run ({message})") from None


def _contents(connection: duckdb.DuckDBPyConnection) -> Contents:
    def rows(query: str) -> list[tuple]:
        return connection.execute(query, [CATALOG]).fetchall()

    [(storage,)] = rows(
        "select tags['storage_version'] from duckdb_databases() where database_name = ?"
    )
    tables = rows("select table_name from duckdb_tables() where database_name = ?")
    schemas = _schemas(connection)
    recipes, made_from, synthetic = {}, None, None
    if ("emitted",) in tables:
        emitted = connection.execute(
            "select recipe, inputs_sha256, recipe_sha256, file from main.emitted"
        ).fetchall()
        recipes = {name: Emitted(*facts) for name, *facts in emitted if name in schemas}
        [made_from] = connection.execute("select * from main.made_from").fetchall()
        [(synthetic,)] = connection.execute(
            "select bool_or(synthetic) from main.source_files"
        ).fetchall()
    others = tuple(name for name in schemas if name not in recipes)
    return Contents(storage.removesuffix("+"), made_from, synthetic, recipes, others)


def _schemas(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The schemas of the database except for `main` and DuckDB's own."""
    rows = connection.execute(
        "select schema_name from duckdb_schemas() "
        "where database_name = ? and not internal order by schema_name",
        [CATALOG],
    ).fetchall()
    return [name for (name,) in rows]


@contextmanager
def opened(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection to a database, which can still create temporary relations.

    Memory is bounded, as in a run. This process may have other connections that read.

    Raises:
        Unreadable: it cannot be opened.
        ImmuneError: another program has it open for writing.
    """
    with (
        duck.spill() as spill,
        duck.connect(spill=spill) as connection,
        signals.interruptible(connection.interrupt),
    ):
        _attach(connection, path, CATALOG)
        yield connection


def refuse_a_writer(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Check, with the connection to another database, that nobody writes to the one at `path`.

    Raises:
        Unreadable: it cannot be opened.
        ImmuneError: another program has it open for writing.
    """
    if path.is_file():
        with connection.cursor() as cursor:  # the connection goes on using its own database
            _attach(cursor, path, "other")
        connection.execute("detach other")


def _attach(connection: duckdb.DuckDBPyConnection, path: Path, catalog: str) -> None:
    import duckdb

    try:
        duck.attach(connection, path, catalog, "read_only")
    except duckdb.ResourceInUseException:
        raise ImmuneError(
            f"{path} is open for writing in this process: close that connection first"
        ) from None
    except duckdb.Error as error:
        message = str(error).splitlines()[0]
        if "Could not set lock" in message:
            holder = _HOLDER.search(message)
            process = f" (process {holder[1]})" if holder else ""
            raise ImmuneError(
                f"{path} is open for writing in another program{process}: close it there, "
                "or open it there with -readonly, and run again"
            ) from None
        raise Unreadable(
            f"{path} cannot be opened by DuckDB {duckdb.__version__}: {message}"
        ) from None


@contextmanager
def reading(out: Path, recipe: Recipe | str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the database of `out` whose current schema is the recipe's.

    A recipe given by name is taken as it was emitted; a loaded one is compared.

    Raises:
        OtherVersion: another version of immune made it.
        ImmuneError: there is no database, it cannot be read, it does not contain the recipe, or it
            contains the relations of another one of that name.
    """
    path = out / NAME
    if not path.is_file():
        raise ImmuneError(
            f"{path} does not exist: emit a recipe first, or name its folder with --data"
        )
    name = recipe if isinstance(recipe, str) else recipe.name
    argument = recipe if isinstance(recipe, str) else recipe.argument
    with opened(path) as connection:
        emitted = _schemas(connection)
        if name not in emitted:
            raise ImmuneError(
                f"{path} contains {', '.join(emitted) or 'no recipe'} and not {name}: "
                f"emit it with `python -m immune_data.emit --recipe {argument}`"
            )
        connection.execute(f'use {CATALOG}."{name}"')
        if missing := _missing(connection, name):
            raise OtherVersion(
                f"{path} was made by another version of immune (without {missing}): emit the "
                f"recipe again with `python -m immune_data.emit --recipe {argument}`"
            )
        if isinstance(recipe, Recipe):
            _refuse_other_recipe(connection, path, recipe)
        yield connection


def _missing(connection: duckdb.DuckDBPyConnection, recipe: str) -> str | None:
    """A column of this version that is missing from the database; None if none is."""
    rows = connection.execute(
        "select schema_name, table_name, column_name from duckdb_columns() "
        "where database_name = ? and schema_name in ('main', ?)",
        [CATALOG, recipe],
    ).fetchall()
    columns = set(rows)
    for schema, kind in (("main", "tables"), (recipe, "relations")):
        for table, column in _commented_columns(kind):
            if (schema, table, column) not in columns:
                return f"{table}.{column}"
    return None


@cache
def _commented_columns(kind: str) -> list[tuple[str, str]]:
    """The columns that a run makes, each after its table, from the files `sql/comments/KIND`."""
    return [
        (table, column)
        for file in sorted((steps.sql_folder() / "comments" / kind).glob("*.sql"))
        for table, column in _COLUMN.findall(file.read_text(encoding="utf-8"))
        if table != PRIVATE
    ]


def _refuse_other_recipe(connection: duckdb.DuckDBPyConnection, path: Path, recipe: Recipe) -> None:
    """Refuse relations that a recipe of the same name and other content made."""
    import duckdb

    try:
        rows = connection.execute("select recipe_sha256 from recipe").fetchall()
    except duckdb.Error:
        rows = []
    if rows != [(recipe_sha256(recipe),)]:
        raise ImmuneError(
            f"the relations of {recipe.name} in {path} were made by another recipe of that name, "
            "or before this one or its prompts were edited: emit it again with "
            f"`python -m immune_data.emit --recipe {recipe.argument}`"
        )
