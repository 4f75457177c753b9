"""Run the pipeline: tables as Parquet and a recipe in, relations in `data/immune.duckdb` out.

Every step of `steps` makes its relations in a schema of the recipe's name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from immune_data.common import duck
from immune_data.common.errors import ImmuneError
from immune_data.read import tables
from immune_data.recipes import Recipe
from immune_data.select import orders, steps
from immune_data.select import recipe as recipe_relation
from immune_data.select.database import CATALOG, PRIVATE, STORAGE, Emitted
from immune_data.select.relations import use
from immune_data.select.steps import STEPS, Function, Query

if TYPE_CHECKING:
    import duckdb

# The end of the comment on each table that a run made: the database may have other tables as well.
_OURS = "made by immune_data.emit"

# The comment on the table, at the top of a file with comments, up to its last quote.
_OF_TABLE = re.compile(r"\Acomment on table \w+ is\s+'(?:[^']|'')*(?=')")

# DuckDB compresses a group of rows when it is complete, threads side by side. Its own size is
# made for narrow rows: of rows as wide as ours, one group is a whole table.
_ROW_GROUP = 8192

# Enough for a hundred times the sample. DuckDB spills what it can, but not everything.
# A step that needs more is run again with twice as much, up to half of the machine's memory.
MEMORY = 320  # MB


def connect(database: Path, threads: int, scratch: Path) -> duckdb.DuckDBPyConnection:
    """Open a database to build in, bounded in memory, spilling into `scratch`.

    It keeps no log: a run that ends early leaves nothing to recover. Only what `finish` has written
    is in the file.
    """
    connection = duck.connect(
        memory=f"{MEMORY}MB",
        spill=duck.path(scratch / "spill"),
        threads=threads,
        preserve_insertion_order=True,
        autoinstall_known_extensions=False,
    )
    # Evidence repeats itself: on it this codec is the smallest of all, and the fastest.
    connection.execute("set force_compression = 'zstd'")
    duck.attach(
        connection,
        database,
        CATALOG,
        f"row_group_size {_ROW_GROUP}",
        f"storage_version '{STORAGE}'",
        "recovery_mode no_wal_writes",
    )
    return connection


def finish(connection: duckdb.DuckDBPyConnection) -> None:
    """Write all that was made into the file of the database."""
    connection.execute(f"checkpoint {CATALOG}")


def most_memory() -> int:
    """The most MB that DuckDB may use here."""
    return max(MEMORY, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 21)


def with_enough_memory(connection: duckdb.DuckDBPyConnection, step: Callable[[], object]) -> None:
    """Run a step that can be run again from its beginning, if need be with more memory."""
    import duckdb

    memory = MEMORY
    while True:
        try:
            step()
            return
        except duckdb.OutOfMemoryException:
            memory *= 2
            if memory > most_memory():
                raise
            connection.execute(f"set memory_limit = '{memory}MB'")


def load_tables(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    made_from: tuple[str, str],
    models: set[str],
) -> None:
    """Load the tables of `folder` into the schema `main` and check them as a whole.

    `made_from` contains the sha256 of the tables, and of what they were read from; `models` are the
    canonical ones.
    """
    use(connection, "main")
    for path in sorted(folder.glob("*.parquet")):
        connection.execute(
            f'create or replace table "{path.stem}" as from {duck.PARQUET}',
            [duck.pattern(path)],
        )
    connection.execute(
        "create or replace table made_from as select $1 as tables_sha256, $2 as inputs_sha256",
        list(made_from),
    )
    tables.check(connection, models)


def _describe(
    connection: duckdb.DuckDBPyConnection, schema: str, kind: str, names: Iterable[str]
) -> None:
    """Comment on tables of a schema and on their columns, with the files in `sql/comments/KIND`.

    All but `emitted` are signed as well: signed tables may be published.
    """
    comments = {name: steps.text(f"comments/{kind}/{name}.sql") for name in sorted(names)}
    signed_comments = [
        text if name == PRIVATE else _OF_TABLE.sub(rf"\g<0> ({_OURS})", text, count=1)
        for name, text in comments.items()
    ]
    use(connection, schema)
    connection.begin()
    # Hundreds of statements in which there is nothing to optimise.
    connection.execute("pragma disable_optimizer")
    connection.execute("\n".join(signed_comments))
    connection.execute("pragma enable_optimizer")
    connection.commit()


def _comments(connection: duckdb.DuckDBPyConnection, schema: str) -> dict[str, str | None]:
    """The tables of a schema by name, with their comments."""
    return dict(
        connection.execute(
            "select table_name, comment from duckdb_tables() "
            "where database_name = ? and schema_name = ? order by table_name",
            [CATALOG, schema],
        ).fetchall()
    )


def signed(connection: duckdb.DuckDBPyConnection, schema: str) -> dict[str, str]:
    """The relations of a schema that a run made, by name, each with its comment."""
    return {
        name: comment.removesuffix(f" ({_OURS})")
        for name, comment in _comments(connection, schema).items()
        if comment and comment.removesuffix(")").endswith(_OURS)
    }


def drop(connection: duckdb.DuckDBPyConnection, recipe: str) -> None:
    """Remove a recipe and its relations from the database."""
    connection.execute(f'drop schema {CATALOG}."{recipe}" cascade')
    for table in ("emitted", "eval_incidents"):
        connection.execute(f"delete from main.{table} where recipe = ?", [recipe])


# Makes relations in the current schema of a connection.
Maker = Callable[["duckdb.DuckDBPyConnection"], None]


def run(
    connection: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    emitted: Emitted,
    makers: Mapping[str, Maker],
    report: Callable[[str], None],
) -> None:
    """Run every step in the recipe's schema and make that schema the current one.

    `makers` contains each function of the steps that needs more than the recipe, by the first
    relation that it makes.
    """
    schema = f'{CATALOG}."{recipe.name}"'
    connection.execute(f"create schema if not exists {schema}")
    for relation in signed(connection, recipe.name):
        connection.execute(f'drop table {schema}."{relation}"')
    use(connection, recipe.name)
    others = set(_relations(connection, recipe.name))
    for name in sorted(others.intersection(_relations(connection, "main"))):
        raise ImmuneError(
            f"the database has a relation {recipe.name}.{name} that no run made, which would hide "
            f"main.{name}: rename it"
        )
    makers = {
        "recipe": lambda at: recipe_relation.write(at, recipe, emitted),
        "shuffle": lambda at: orders.shuffle(at, recipe),
        "permutation": lambda at: orders.permutation(at, recipe),
        **makers,
    }
    make: Callable[[], object]
    for step in STEPS:
        match step:
            case Query():
                report(f"running {step.file}")
                [relation] = step.relations
                query = step.path.read_text(encoding="utf-8")
                make = partial(connection.execute, f'create table "{relation}" as\n{query}')
            case Function():
                make = partial(makers[step.relations[0]], connection)
        with_enough_memory(connection, make)
    _note_eval_incidents(connection, recipe)
    _note_emitted(connection, recipe, emitted)
    commented = {path.stem for path in (steps.sql_folder() / "comments" / "tables").iterdir()}
    _describe(connection, "main", "tables", commented & _comments(connection, "main").keys())
    relations = set(_relations(connection, recipe.name)) - others
    _describe(connection, recipe.name, "relations", relations)


def _relations(connection: duckdb.DuckDBPyConnection, schema: str) -> list[str]:
    """The tables and views of a schema."""
    rows = connection.execute(
        "select table_name from information_schema.tables "
        "where table_catalog = ? and table_schema = ? order by table_name",
        [CATALOG, schema],
    ).fetchall()
    return [name for (name,) in rows]


def _note_eval_incidents(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> None:
    """Update `main.eval_incidents`, one row per recipe and incident that it evaluates on.

    SQL cannot query all schemas at once, and a recipe's train records are checked against them all.
    """
    connection.execute(
        "create table if not exists main.eval_incidents (recipe varchar, incident_id varchar)"
    )
    connection.execute("delete from main.eval_incidents where recipe = ?", [recipe.name])
    query = steps.text("emit/eval_incidents.sql")
    connection.execute(f"insert into main.eval_incidents\n{query}")


def _note_emitted(connection: duckdb.DuckDBPyConnection, recipe: Recipe, emitted: Emitted) -> None:
    """Update `main.emitted`, one row per recipe: what it was emitted by, and from where."""
    connection.execute(
        "create table if not exists main.emitted "
        "(recipe varchar, inputs_sha256 varchar, recipe_sha256 varchar, file varchar)"
    )
    # An earlier version made the table without it.
    connection.execute("alter table main.emitted add column if not exists source varchar")
    connection.execute("delete from main.emitted where recipe = ?", [recipe.name])
    connection.execute(
        "insert into main.emitted values (?, ?, ?, ?, ?)",
        [
            recipe.name,
            emitted.inputs_sha256,
            emitted.recipe_sha256,
            emitted.file,
            emitted.source,
        ],
    )
