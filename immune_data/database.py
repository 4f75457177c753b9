"""Read what was emitted: an output folder and a recipe in, a read-only DuckDB connection out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from immune_data import duck, signals
from immune_data.errors import ImmuneError

if TYPE_CHECKING:
    import duckdb

NAME = "immune.duckdb"


@contextmanager
def reading(out: Path, recipe: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the database of `out` whose current schema is the recipe's.

    It can make temporary relations and nothing else. Memory is bounded, as in a run.

    Raises:
        ImmuneError: there is no database, it cannot be read, or it does not hold the recipe.
    """
    import duckdb

    path = out / NAME
    if not path.is_file():
        raise ImmuneError(
            f"{path} does not exist: emit a recipe first, or name its folder by --out"
        )
    with duck.spill() as spill:
        try:
            connection = duckdb.connect(
                duck.path(path),
                read_only=True,
                config={"memory_limit": "512MB", "temp_directory": spill},
            )
        except duckdb.Error as error:
            raise ImmuneError(f"{path} cannot be opened: {str(error).splitlines()[0]}") from None
        with connection, signals.interruptible(connection.interrupt):
            known = connection.execute(
                "select schema_name from information_schema.schemata "
                "where catalog_name = current_database() order by schema_name"
            ).fetchall()
            emitted = [name for (name,) in known if name not in ("main", "information_schema")]
            if recipe not in emitted:
                raise ImmuneError(
                    f"{path} holds {', '.join(emitted) or 'no recipe'} and not {recipe}: "
                    f"emit it with `python -m immune_data.emit --recipe {recipe}`"
                )
            connection.execute(f'use "{recipe}"')
            yield connection
