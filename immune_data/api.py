"""The Python API: a folder and a recipe in, the results of the commands as Polars frames out.

    from immune_data import Dataset

    dataset = Dataset("data", "unified-clean").emit("data/source")
    dataset.sql("select verdict, count(*) as incidents from gates group by verdict")

Each method does what the command of its name does, and fails as that one does: with an
`ImmuneError` whose message is for people. Nothing is kept open between two calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from immune_data import recipes
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.common.text import one_line, suggestion

if TYPE_CHECKING:
    import duckdb
    import polars as pl

StrPath = str | os.PathLike[str]

_SPLITS = ("train", "eval")


class Story(dict[str, Any]):
    """An incident's story as plain data; `print` shows it as the command `why` does."""

    def __init__(self, recipe: str, parts: dict[str, Any]) -> None:
        super().__init__(parts)
        self._recipe = recipe

    def __str__(self) -> str:
        from immune_data.why.page import Page

        return "\n".join(Page(full=False, colourful=False).lines(self._recipe, self))


class Dataset:
    """The dataset that a recipe makes of the sources, in a folder of artifacts.

    Args:
        data: the folder, as `--data` names it.
        recipe: a shipped recipe's name, or the path of a `.toml` file.

    Raises:
        ImmuneError: there is no such recipe, or it is not valid.
    """

    def __init__(self, data: StrPath = "data", recipe: StrPath = recipes.DEFAULT) -> None:
        self.data = Path(data)
        self.recipe = recipes.load(os.fspath(recipe))

    def __repr__(self) -> str:
        return f"Dataset({str(self.data)!r}, {self.recipe.file or self.recipe.name!r})"

    @property
    def folder(self) -> Path:
        """Where `emit` writes the records."""
        return self.data / "sft" / self.recipe.name

    def emit(
        self,
        source: StrPath,
        *,
        force: bool = False,
        replace: bool = False,
        threads: int | None = None,
        executor: str | None = None,
        insecure: bool = False,
        report: Callable[[str], None] = lambda line: None,
    ) -> Dataset:
        """Make the dataset from the files in `source`, unless it exists and is current.

        Large sources are read by several processes. A script that emits them does so behind the
        usual guard of its main part, since each process imports it.

        Args:
            source: the folder of the source files.
            force: rebuild everything.
            replace: overwrite what is in the way, as `--replace` does.
            threads: the maximum number of processes and threads; default: one per processor.
            executor: the address of a Dask scheduler whose workers share the work, as
                `--executor` takes it; default: processes of this machine.
            insecure: let it be on another machine without encryption.
            report: called with each step.

        Raises:
            ImmuneError: the sources or the cluster cannot be used, or something would be lost.
            CheckFailed: train or eval has no records.
        """
        from immune_data.emit import build, summary
        from immune_data.emit.executor import workers

        emitted = build.emit(
            Path(source),
            self.data,
            self.recipe,
            force=force,
            replace=replace,
            threads=threads,
            workers=workers(executor, insecure=insecure, report=report),
            report=report,
        )
        if reason := summary.missing(emitted.manifest):
            raise CheckFailed(f"{reason}; the table `funnel` shows the whole way")
        return self

    def table(self, name: str) -> pl.DataFrame:
        """A table or one of the recipe's relations, whole.

        Raises:
            ImmuneError: there is no table of that name, or the recipe was not emitted.
        """
        with self._connection() as connection:
            tables = _tables(connection, self.recipe.name)
            if name not in tables:
                hint = suggestion(name, tables, f"use {', '.join(tables)}", most=3)
                raise ImmuneError(f"there is no table {one_line(name, 80) or repr(name)}: {hint}")
            return connection.table(f'"{name}"').pl()

    def sql(self, query: str | Path) -> pl.DataFrame:
        """The rows of one query over the tables and the recipe's relations, read-only.

        Args:
            query: SQL, or the `Path` of a file of it.

        Raises:
            ImmuneError: it does not run, is not one query, or would change something.
        """
        from immune_data import sql
        from immune_data.common import textfile

        text = textfile.read(query) if isinstance(query, Path) else query
        with self._connection() as connection, sql.rows_of(connection, text) as relation:
            return relation.pl()

    def records(self, split: str = "train") -> pl.DataFrame:
        """The emitted records of `train` or `eval`, in the order of the file.

        Raises:
            ImmuneError: they were not emitted, or not by this recipe as it is now.
            CheckFailed: the file is not the one that was emitted.
        """
        import polars as pl

        from immune_data.contract.record import polars_schema
        from immune_data.emit import inputs

        if split not in _SPLITS:
            raise ImmuneError(
                f"there is no split {one_line(split, 80)!r}: use {' or '.join(_SPLITS)}"
            )
        inputs.check(self.folder, self.recipe)
        return pl.read_ndjson(self.folder / f"{split}.jsonl", schema=polars_schema())

    def audit(self, *names: str) -> pl.DataFrame:
        """The results of the checks with these names, or of all: one row per check, gravest first.

        Raises:
            ImmuneError: there is no such check, or the recipe was not emitted.
        """
        import polars as pl

        from immune_data.audit import checks

        selected = checks.load(names or None)
        with self._connection() as connection:
            return pl.DataFrame(
                [
                    {
                        "check": result.check.name,
                        "severity": result.check.severity,
                        "failed": result.failed,
                        "rows": result.rows,
                        "first_incident": result.first_incident,
                        "finds": result.check.sentence,
                    }
                    for result in checks.run(connection, selected)
                ],
                schema={
                    "check": pl.String,
                    "severity": pl.String,
                    "failed": pl.Boolean,
                    "rows": pl.Int64,
                    "first_incident": pl.String,
                    "finds": pl.String,
                },
            )

    def why(self, incident: str) -> Story:
        """One incident's way through every step, by its id or the beginning of one.

        Raises:
            ImmuneError: no incident's id begins like this, or several do.
        """
        from immune_data.why.story import find, tell

        with self._connection() as connection:
            return Story(self.recipe.name, tell(connection, find(connection, incident)))

    @contextmanager
    def _connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        from immune_data.select.database import reading

        with reading(self.data, self.recipe) as connection:
            yield connection


def _tables(connection: duckdb.DuckDBPyConnection, recipe: str) -> list[str]:
    """What a query can name without a schema: the tables, and the recipe's relations."""
    rows = connection.execute(
        "select distinct table_name from duckdb_tables() "
        "where database_name = current_database() and schema_name in ('main', ?) "
        "order by table_name",
        [recipe],
    ).fetchall()
    return [name for (name,) in rows]
