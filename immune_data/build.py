"""From source files to an emitted dataset: a source folder and a recipe in, files in place out.

Everything is made in a hidden folder and moved to its name when all of it is whole: `tables/`,
`immune.duckdb` and `sft/<recipe>/`. What is there and current is used, not made again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from immune_data import duck, manifest, parallel, staging
from immune_data.database import NAME as DATABASE
from immune_data.errors import ImmuneError
from immune_data.recipes import Recipe
from immune_data.sources import input_files

if TYPE_CHECKING:
    import duckdb

FILES = ["eval.jsonl", "train.jsonl"]

# Below this much source text, starting processes costs more than they save.
_WORTH_WORKERS = 1 << 26
_GZIP_RATIO = 8


@dataclass(frozen=True)
class Emitted:
    """An emitted dataset: its folder, its manifest, and whether it was there already."""

    folder: Path
    manifest: dict[str, Any]
    current: bool


def emit(
    source: Path,
    out: Path,
    recipe: Recipe,
    *,
    force: bool = False,
    threads: int | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Emitted:
    """Make the dataset of `recipe` from the files in `source`, unless it is there and current.

    Raises:
        ImmuneError: the input or the output folder is not what it should be; what was emitted
            before is then untouched.
    """
    build = _Build(source, out, recipe, force, threads or parallel.processors(), report)
    # What is wrong is said before an output folder is made.
    input_files(source, recipe)
    duck.path(out)
    with staging.locked(out):
        tables_inputs = build.current_tables()
        if tables_inputs is not None:
            current = build.current_dataset(tables_inputs)
            if current is not None:
                return Emitted(build.dataset, current, current=True)
        with staging.staging(out) as hidden:
            made = build.make(hidden, tables_inputs)
            build.install(hidden)
    return Emitted(build.dataset, made, current=False)


@dataclass(frozen=True)
class _Build:
    """One run: where it reads and writes, and by which recipe."""

    source: Path
    out: Path
    recipe: Recipe
    force: bool
    threads: int
    report: Callable[[str], None]

    @property
    def tables(self) -> Path:
        return self.out / "tables"

    @property
    def dataset(self) -> Path:
        return self.out / "sft" / self.recipe.name

    @property
    def database(self) -> Path:
        return self.out / DATABASE

    def current_tables(self) -> dict[str, Any] | None:
        """What the tables were made from, if that is what they would be made from now."""
        found = manifest.read(self.tables)
        if self.force or found is None:
            return None
        inputs = manifest.table_inputs(
            manifest.source_hashes(self.source, self.recipe), self.recipe
        )
        current = found.get("inputs") == inputs and manifest.intact(self.tables, found)
        return inputs if current else None

    def current_dataset(self, tables_inputs: dict[str, Any]) -> dict[str, Any] | None:
        """The dataset's manifest, if files and database are what a run would make now."""
        found = manifest.read(self.dataset)
        inputs = manifest.dataset_inputs(tables_inputs, self.recipe)
        if not manifest.complete(found) or found["inputs"] != inputs:
            return None
        in_database = _asked(
            self.database,
            "select inputs_sha256, (select bool_or(synthetic) from main.source_files) "
            f'from "{self.recipe.name}".recipe',
        )
        held = in_database == [(manifest.digest(inputs), found["synthetic"])]
        return found if held and manifest.intact(self.dataset, found) else None

    def make(self, hidden: Path, tables_inputs: dict[str, Any] | None) -> dict[str, Any]:
        """Make everything in `hidden`; the dataset's manifest comes back.

        `tables_inputs` is what current tables were made from; without it the sources are read.
        """
        import duckdb

        from immune_data import pipeline

        try:
            return self._make(hidden, tables_inputs)
        except parallel.Killed:
            raise ImmuneError(
                "a process that reads and renders was killed, as the system does when memory runs "
                "out: run again with --threads 1, which needs less; nothing was changed"
            ) from None
        except duckdb.OutOfMemoryException:
            raise ImmuneError(
                f"the tables in {self.out} do not fit the {pipeline.MEMORY} that DuckDB may use: "
                "run again with --threads 1, which needs less; nothing was changed"
            ) from None

    def _make(self, hidden: Path, tables_inputs: dict[str, Any] | None) -> dict[str, Any]:
        from immune_data import answers, pipeline, records

        renderer = records.renderer(self.recipe)
        tables = self.tables
        if tables_inputs is None:
            tables = hidden / "tables"
            with parallel.workers(self._processes()) as pool:
                tables_inputs = self._make_tables(tables, pool)
            parallel.release()
        # New ones: those that have read the sources hold on to twice the memory.
        with parallel.workers(self._processes()) as pool:
            tables_sha256 = manifest.digest(tables_inputs)
            # Other recipes' relations stay, as long as they were made from the same tables.
            kept = _asked(self.database, "from main.made_from") == [(tables_sha256,)]
            if kept:
                shutil.copyfile(self.database, hidden / DATABASE)
            with pipeline.connect(hidden / DATABASE, self.threads, hidden) as connection:
                if self.force or not kept:
                    self.report("loading tables")
                    pipeline.load_tables(connection, tables, tables_sha256)

                def clean_answers(at: duckdb.DuckDBPyConnection) -> None:
                    self.report("cleaning answers")
                    answers.write(at, renderer, pool)

                def write_records(at: duckdb.DuckDBPyConnection) -> None:
                    self.report("rendering records")
                    records.write(at, hidden, renderer, pool)

                inputs = manifest.dataset_inputs(tables_inputs, self.recipe)
                pipeline.run(
                    connection,
                    self.recipe,
                    manifest.digest(inputs),
                    {"candidates": clean_answers, "warnings": write_records},
                    self.report,
                )
                content = {
                    "schema_version": manifest.SCHEMA_VERSION,
                    "recipe": self.recipe.name,
                    "synthetic": _synthetic(connection),
                    "asking_sha256": renderer.asking.sha256,
                    "inputs": inputs,
                    "counts": _counts(connection),
                    "outputs": manifest.outputs(hidden, FILES),
                }
        manifest.write(hidden, content)
        return content

    def _make_tables(self, folder: Path, pool: Any) -> dict[str, Any]:
        from immune_data.normalise import normalise

        folder.mkdir()
        hashes = normalise(self.source, self.recipe, folder, pool, self.report)
        inputs = manifest.table_inputs(hashes, self.recipe)
        names = sorted(path.name for path in folder.glob("*.parquet"))
        manifest.write(folder, {"inputs": inputs, "outputs": manifest.outputs(folder, names)})
        return inputs

    def _processes(self) -> int:
        size = sum(
            file.path.stat().st_size * (_GZIP_RATIO if file.path.suffix == ".gz" else 1)
            for file in input_files(self.source, self.recipe)
        )
        return self.threads if size >= _WORTH_WORKERS else 1

    def install(self, hidden: Path) -> None:
        """Give everything its name. Manifests go first and come last: they vouch for the rest."""
        staged = [(hidden / DATABASE, self.database)]
        staged += [(hidden / name, self.dataset / name) for name in (*FILES, manifest.NAME)]
        if (hidden / "tables").is_dir():
            parquet = sorted((hidden / "tables").glob("*.parquet"))
            made = [(path, self.tables / path.name) for path in parquet]
            made.append((hidden / "tables" / manifest.NAME, self.tables / manifest.NAME))
            staged = [*made, *staged]
        for _, final in staged:
            if final.is_dir():
                raise ImmuneError(f"{final} is a folder: move it away")
        for _, final in staged:
            if final.name == manifest.NAME:
                final.unlink(missing_ok=True)
        # A client that died has left its log beside the database, and it fits no other one.
        self.database.with_name(f"{DATABASE}.wal").unlink(missing_ok=True)
        for path, final in staged:
            staging.move(path, final)


def _asked(database: Path, query: str) -> list[tuple] | None:
    """What the database answers; None if it cannot."""
    import duckdb

    if not database.is_file():
        return None
    try:
        with duckdb.connect(duck.path(database), read_only=True) as connection:
            return connection.execute(query).fetchall()
    except duckdb.Error:
        return None


def _synthetic(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether any source file says that it was made up."""
    return connection.execute("select bool_or(synthetic) from source_files").fetchall()[0][0]


def _counts(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """What the manifest and the closing table say, all asked of the database."""

    def rows(query: str) -> list[dict[str, Any]]:
        found = connection.execute(query)
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def share(column: str) -> list[dict[str, Any]]:
        return rows(
            f"select split, {column}, count(*) as records, sum(tokens)::bigint as tokens "
            f"from conversations group by all order by split, {column}"
        )

    return {
        "funnel": rows("select * from funnel"),
        "tasks": share("task"),
        "models": share("model"),
        "origins": share("origin"),
        "rejects": rows(
            "select file, reason, scope, count(*) as rejects from rejects "
            "group by all order by file, reason, scope"
        ),
        "warnings": rows(
            "select warning, split, count(*) as records, count(distinct incident_id) as incidents "
            "from warnings group by all order by warning, split"
        ),
    }
