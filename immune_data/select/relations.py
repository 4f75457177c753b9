"""Relations made of frames: rows of Python in, tables of the current schema out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from immune_data.select.database import CATALOG

if TYPE_CHECKING:
    import duckdb
    import polars as pl


def use(connection: duckdb.DuckDBPyConnection, schema: str) -> None:
    """Make a schema of the database the current one."""
    connection.execute(f'use {CATALOG}."{schema}"')


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
        use(cursor, schema)
        cursor.begin()

        def append(relation: str, frame: pl.DataFrame) -> None:
            cursor.register("frame", frame.to_arrow())
            verb = f"insert into {relation}" if relation in made else f"create table {relation} as"
            cursor.execute(f"{verb} from frame")
            cursor.unregister("frame")
            made.add(relation)

        yield append
        cursor.commit()
