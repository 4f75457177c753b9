"""Texts to read in any order: rows of tables in, one file out.

A table is scanned once, in the order of the database. A text has the number of its row in all
tables, one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import polars as pl

if TYPE_CHECKING:
    import duckdb

_BATCH = 256


@dataclass(frozen=True)
class Places:
    """The places of texts: the number of each table's first row, and start and size in bytes."""

    first: dict[str, int]
    start: np.ndarray
    size: np.ndarray


def write(
    connection: duckdb.DuckDBPyConnection, wanted: dict[str, np.ndarray], path: Path
) -> Places:
    """Write into `path` the texts of the rows that `wanted` names for each table by their rowid."""
    first, rows = {}, 0
    for table in wanted:
        first[table] = rows
        rows += connection.execute(f"select count(*) from {table}").fetchall()[0][0]
    is_wanted = np.zeros(rows, dtype=bool)
    for table, numbers in wanted.items():
        is_wanted[first[table] + numbers] = True
    places = Places(first, np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64))
    position = 0
    with path.open("wb") as file:
        for table in wanted:
            for numbers, texts in _scan(connection, table, first[table], is_wanted):
                size = texts.str.len_bytes().cast(pl.Int64).to_numpy()
                places.start[numbers] = position + size.cumsum() - size
                places.size[numbers] = size
                position += file.write("".join(texts).encode())
    return places


def _scan(
    connection: duckdb.DuckDBPyConnection, table: str, first: int, is_wanted: np.ndarray
) -> Iterator[tuple[np.ndarray, pl.Series]]:
    """The texts of a table that are wanted, in batches, and their numbers."""
    rows = connection.sql(f"select rowid, text from {table}")
    for batch in rows.to_arrow_reader(_BATCH):
        frame = pl.DataFrame(batch)
        numbers = first + frame["rowid"].to_numpy()
        if is_wanted[numbers].any():
            yield numbers[is_wanted[numbers]], frame["text"].filter(is_wanted[numbers])


def read(file: BinaryIO, start: int, size: int) -> bytes:
    """The text, in UTF-8, at a place in a file written by `write`."""
    return os.pread(file.fileno(), size, start)
