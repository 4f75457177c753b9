"""Run the pipeline: tables as Parquet and a recipe in, relations in `data/immune.duckdb` out.

Every file in `sql/pipeline/` is one query; it is materialised under the file's name, in the order
of the files, in a schema of the recipe's name. Beside them stand the few relations that SQL
cannot make: the recipe itself, the two seeded orders, and the emitted conversations.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from immune_data.common import duck
from immune_data.common.errors import ImmuneError
from immune_data.recipes import Recipe
from immune_data.select.database import CATALOG, STORAGE, Emitted

if TYPE_CHECKING:
    import duckdb
    import polars as pl

_PACKAGE = Path(__file__).parent.parent

# The comment on each table that a run made: the database may hold somebody else's as well.
_OURS = "made by immune_data.emit"


def sql_folder() -> Path:
    """Where the SQL lies: in the installed package, or at the top of a checkout."""
    installed = _PACKAGE / "sql"
    return installed if installed.is_dir() else _PACKAGE.parent / "sql"


def steps() -> list[tuple[str, Path]]:
    """(relation, file) of every pipeline step, in order."""
    files = sorted((sql_folder() / "pipeline").glob("*.sql"))
    return [(path.stem.partition("_")[2], path) for path in files]


# DuckDB compresses a group of rows when it is complete, threads side by side. Its own size is
# made for narrow rows: of rows as wide as ours, one group is a whole table.
_ROW_GROUP = 8192

# What a hundred times the sample needs. DuckDB spills what it can, but not all it holds.
MEMORY = "320MB"


def connect(database: Path, threads: int, scratch: Path) -> duckdb.DuckDBPyConnection:
    """Open a database to build in, bounded in memory, spilling into `scratch`."""
    connection = duck.connect(
        memory=MEMORY,
        spill=duck.path(scratch / "spill"),
        threads=threads,
        preserve_insertion_order=True,
        autoinstall_known_extensions=False,
    )
    # Evidence repeats itself: of all codecs this one is the smallest on it, and the fastest.
    connection.execute("set force_compression = 'zstd'")
    duck.attach(
        connection,
        database,
        CATALOG,
        f"row_group_size {_ROW_GROUP}",
        f"storage_version '{STORAGE}'",
    )
    return connection


def _use(connection: duckdb.DuckDBPyConnection, schema: str) -> None:
    connection.execute(f'use {CATALOG}."{schema}"')


def load_tables(
    connection: duckdb.DuckDBPyConnection, folder: Path, made_from: tuple[str, str]
) -> None:
    """Make the tables of `folder` the tables of schema `main`.

    `made_from` holds the sha256 of the tables, and of what they were read from.
    """
    for path in sorted(folder.glob("*.parquet")):
        connection.execute(
            f'create or replace table main."{path.stem}" as from {duck.PARQUET}',
            [duck.pattern(path)],
        )
    connection.execute(
        "create or replace table main.made_from as select $1 as tables_sha256, $2 as inputs_sha256",
        list(made_from),
    )
    _sign(connection, "main.made_from")


def _sign(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    connection.execute(f"comment on table {table} is '{_OURS}'")


def signed(connection: duckdb.DuckDBPyConnection, schema: str) -> list[str]:
    """The relations of a schema that a run made, by name."""
    found = connection.execute(
        "select table_name from duckdb_tables() "
        "where database_name = ? and schema_name = ? and comment = ? order by table_name",
        [CATALOG, schema, _OURS],
    ).fetchall()
    return [name for (name,) in found]


def drop(connection: duckdb.DuckDBPyConnection, recipe: str) -> None:
    """Take a recipe and its relations out of the database."""
    connection.execute(f'drop schema {CATALOG}."{recipe}" cascade')
    for table in ("emitted", "eval_incidents"):
        connection.execute(f"delete from main.{table} where recipe = ?", [recipe])


def run(
    connection: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    emitted: Emitted,
    before: dict[str, Callable[[duckdb.DuckDBPyConnection], None]],
    report: Callable[[str], None],
) -> None:
    """Materialise every step in the recipe's schema and make that schema the current one.

    `before` names steps that need something made from the steps above them first.
    """
    schema = f'{CATALOG}."{recipe.name}"'
    connection.execute(f"create schema if not exists {schema}")
    for relation in signed(connection, recipe.name):
        connection.execute(f'drop table {schema}."{relation}"')
    _use(connection, recipe.name)
    theirs = set(_relations(connection, recipe.name))
    for name in sorted(theirs.intersection(_relations(connection, "main"))):
        raise ImmuneError(
            f"the database has a relation {recipe.name}.{name} that no run made, and it would be "
            f"taken for main.{name}: rename it"
        )
    _insert_recipe(connection, recipe, emitted)
    before = {
        "splits": lambda at: _order(at, "shuffle", _shuffled(at, recipe)),
        "risk_splits": lambda at: _order(at, "permutation", _permuted(at, recipe)),
        **before,
    }
    for relation, path in steps():
        if relation in before:
            before[relation](connection)
        report(f"running {path.name}")
        connection.execute(f'create table "{relation}" as\n{path.read_text(encoding="utf-8")}')
    for relation in set(_relations(connection, recipe.name)) - theirs:
        _sign(connection, f'{schema}."{relation}"')
    _note_eval_incidents(connection, recipe)
    _note_emitted(connection, recipe, emitted)


def _relations(connection: duckdb.DuckDBPyConnection, schema: str) -> list[str]:
    """The tables and views of a schema."""
    found = connection.execute(
        "select table_name from information_schema.tables "
        "where table_catalog = ? and table_schema = ? order by table_name",
        [CATALOG, schema],
    ).fetchall()
    return [name for (name,) in found]


@contextmanager
def appending(
    connection: duckdb.DuckDBPyConnection,
) -> Iterator[Callable[[str, pl.DataFrame], None]]:
    """A function that appends a frame to a relation of the current schema, made by its first one.

    It works on a cursor of its own, so that a query on `connection` may be read meanwhile, and in
    one transaction, so that what it writes is written once.
    """
    schema = connection.execute("select current_schema()").fetchall()[0][0]
    made = set()
    with connection.cursor() as cursor:
        _use(cursor, schema)
        cursor.begin()

        def append(relation: str, frame: pl.DataFrame) -> None:
            cursor.register("frame", frame.to_arrow())
            verb = f"insert into {relation}" if relation in made else f"create table {relation} as"
            cursor.execute(f"{verb} from frame")
            cursor.unregister("frame")
            made.add(relation)

        yield append
        cursor.commit()


def _insert_recipe(connection: duckdb.DuckDBPyConnection, recipe: Recipe, emitted: Emitted) -> None:
    import polars as pl

    values = recipe.settings
    for key in ("sources", "models"):
        values[key] = json.dumps(values[key])
    with appending(connection) as append:
        digests = {
            "inputs_sha256": emitted.inputs_sha256,
            "recipe_sha256": emitted.recipe_sha256,
        }
        append("recipe", pl.DataFrame([{**values, **digests}]))


def _note_eval_incidents(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> None:
    """Keep `main.eval_incidents`, one row per recipe and incident that it evaluates on.

    SQL cannot ask all schemas at once, and a recipe's train records are held against all of them.
    """
    connection.execute(
        "create table if not exists main.eval_incidents (recipe varchar, incident_id varchar)"
    )
    connection.execute("delete from main.eval_incidents where recipe = ?", [recipe.name])
    connection.execute(
        "insert into main.eval_incidents select distinct $1, incident_id from conversations "
        "where split = 'eval' order by incident_id",
        [recipe.name],
    )
    _sign(connection, "main.eval_incidents")


def _note_emitted(connection: duckdb.DuckDBPyConnection, recipe: Recipe, emitted: Emitted) -> None:
    """Keep `main.emitted`, one row per recipe: by what it was emitted, and its file's place.

    It is not signed: a place is nobody else's business, and what is signed may be published.
    """
    connection.execute(
        "create table if not exists main.emitted "
        "(recipe varchar, inputs_sha256 varchar, recipe_sha256 varchar, file varchar)"
    )
    connection.execute("delete from main.emitted where recipe = ?", [recipe.name])
    connection.execute(
        "insert into main.emitted values (?, ?, ?, ?)",
        [recipe.name, emitted.inputs_sha256, emitted.recipe_sha256, emitted.file],
    )


def _passing(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    return connection.execute(f"select count(*) from {relation} where passed").fetchall()[0][0]


def _shuffled(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> list[int]:
    """Rule 5: the ordinals of the passing incidents in shuffled order."""
    ordinals = list(range(1, _passing(connection, "gates") + 1))
    random.Random(recipe.split.seed).shuffle(ordinals)
    return ordinals


def _permuted(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> list[int]:
    """Rule 8: the order that scikit-learn's `train_test_split` draws.

    It is one call of NumPy's frozen `RandomState.permutation`; the first of it are the test
    part, as `sklearn.model_selection.ShuffleSplit` has it.
    """
    import numpy as np

    incidents = _passing(connection, "risk_gates")
    return (np.random.RandomState(recipe.risk.seed).permutation(incidents) + 1).tolist()


def _order(connection: duckdb.DuckDBPyConnection, relation: str, ordinals: list[int]) -> None:
    """A relation of (position, ordinal), both from 1."""
    import polars as pl

    columns = {"position": range(1, len(ordinals) + 1), "ordinal": ordinals}
    with appending(connection) as append:
        append(relation, pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.Int64)))
