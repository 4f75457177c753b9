"""Relations made by Python: frames in, tables of the current schema out."""

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
    """A function that appends a frame to a relation of the current schema; the first creates it.

    It uses a cursor of its own, so that a result of `connection` may be read meanwhile, and one
    transaction, so that everything is written once.
    """
    schema = connection.execute("select current_schema()").fetchall()[0][0]
    existing = set()
    with connection.cursor() as cursor:
        use(cursor, schema)
        cursor.begin()

        def append(relation: str, frame: pl.DataFrame) -> None:
            rows = cursor.from_arrow(frame.to_arrow())  # what is registered is kept to the end
            if relation in existing:
                rows.insert_into(relation)
            else:
                rows.create(relation)
                existing.add(relation)

        yield append
        cursor.commit()
