"""From source files to an emitted dataset: a source folder and a recipe in, files in place out.

Everything is made in a hidden folder and moved to its place when all of it is complete: `tables/`,
`immune.duckdb` and `sft/<recipe>/`. Current files are reused, not rebuilt, and everything else is
kept: other recipes' relations, and anything in the database that no run made.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from immune_data.common import duck, files, processes
from immune_data.common.digests import digest
from immune_data.common.errors import ImmuneError
from immune_data.common.processes import Pool
from immune_data.contract import incidents, manifest, prompting, recipe_identity
from immune_data.contract.incidents import Incident
from immune_data.contract.manifest import Counts, Manifest, Tables, TablesInputs
from immune_data.contract.tokens import read_vocabulary
from immune_data.emit import inputs
from immune_data.read.input_files import input_files
from immune_data.recipes import Recipe
from immune_data.select import database
from immune_data.select.database import NAME as DATABASE
from immune_data.select.database import STORAGE, Contents

if TYPE_CHECKING:
    import duckdb

FILES = ["eval.jsonl", "train.jsonl"]
OUTPUTS = sorted([*FILES, incidents.NAME])

# Below this much source text, starting processes costs more than they save.
_WORTH_WORKERS = 1 << 26
_GZIP_RATIO = 8

# Starts and ends the workers that share the work.
Workers = Callable[[], AbstractContextManager[Pool | None]]

_EXISTING = re.compile(r'(\w+) with name "([^"]*)" already exists')


@dataclass(frozen=True)
class Emitted:
    """An emitted dataset: its folder, its manifest, and whether it was current already."""

    folder: Path
    manifest: Manifest
    current: bool


def emit(
    source: Path,
    out: Path,
    recipe: Recipe,
    *,
    force: bool = False,
    replace: bool = False,
    threads: int | None = None,
    workers: Workers | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Emitted:
    """Make the dataset of `recipe` from the files in `source`, unless it exists and is current.

    `force` rebuilds all of it; `replace` allows losing what would otherwise be refused. `workers`
    read, condense, clean and render; by default they are `threads` processes of this machine.

    Raises:
        ImmuneError: the input or the output folder is not valid, or something would be lost without
            `replace`; the earlier output is then unchanged.
    """
    threads = threads or processes.processors()
    build = _Build(source, out, recipe, force, replace, threads, workers, report)
    # Errors in the input are raised before the output folder is created or read.
    input_files(source, recipe)
    prompting.load(recipe)
    duck.path(out)
    with files.locked(out):
        stamp = build.stamp()
        contents = build.contents()
        tables_inputs = build.current_tables()
        if tables_inputs is not None:
            current = build.current_dataset(contents, tables_inputs)
            if current is not None:
                return Emitted(build.dataset, current, current=True)
        build.refuse_obstacles()
        build.refuse_namesake(contents)
        build.refuse_other_sources(contents, tables_inputs)
        with files.staging(out) as hidden:
            new = build.make(hidden, tables_inputs, contents)
            build.install(hidden, stamp)
    return Emitted(build.dataset, new, current=False)


@dataclass(frozen=True)
class _Build:
    """One run: where it reads and writes, and by which recipe."""

    source: Path
    out: Path
    recipe: Recipe
    force: bool
    replace: bool
    threads: int
    workers: Workers | None
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

    @property
    def log(self) -> Path:
        """What a client has committed but not yet written into the database."""
        return self.out / f"{DATABASE}.wal"

    def current_tables(self) -> TablesInputs | None:
        """The inputs of the tables, if they are those of a run now."""
        existing = manifest.read(self.tables, Tables)
        if self.force or existing is None:
            return None
        current = inputs.of_tables(inputs.sources(self.source, self.recipe), self.recipe)
        if existing.inputs != current or not manifest.intact(self.tables, existing):
            return None
        return current

    def current_dataset(
        self, contents: Contents | None, tables_inputs: TablesInputs
    ) -> Manifest | None:
        """The dataset's manifest, if files and database are those that a run would make now."""
        existing = manifest.read(self.dataset, Manifest)
        current_inputs = inputs.of_dataset(tables_inputs.sources, self.recipe)
        if existing is None or existing.inputs != current_inputs:
            return None
        in_database = contents.recipes.get(self.recipe.name) if contents else None
        if in_database is None or in_database.inputs_sha256 != current_inputs.sha256:
            return None
        same = contents is not None and contents.synthetic == existing.synthetic
        return existing if same and manifest.intact(self.dataset, existing) else None

    def contents(self) -> Contents | None:
        """The contents of the database; None if it does not exist, or may be overwritten."""
        with self._replaceable():
            return database.contents(self.database)
        return None

    def _refuse_a_writer(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Check that nobody has opened the database for writing meanwhile."""
        with self._replaceable():
            database.refuse_a_writer(connection, self.database)

    @contextmanager
    def _replaceable(self) -> Iterator[None]:
        """In here, a database that cannot be read is an error unless it may be overwritten."""
        try:
            yield
        except database.Unreadable as error:
            if not self.replace:
                raise ImmuneError(f"{error}: move it away, or rebuild it with --replace") from None

    def stamp(self) -> list[tuple[int, int, int] | None]:
        """A value that changes when somebody writes to the database."""
        return [
            (stat.st_ino, stat.st_size, stat.st_mtime_ns) if (stat := _stat(path)) else None
            for path in (self.database, self.log)
        ]

    @property
    def recipe_file(self) -> str | None:
        """The recipe's file, relative to the output folder, so that both may move together."""
        file = self.recipe.file
        return None if file is None else os.path.relpath(file, self.out.resolve())

    def refuse_obstacles(self) -> None:
        """Refuse early what `install` would refuse after everything is made."""
        if self.database.is_dir():
            raise _is_folder(self.database)
        for folder in (self.tables, self.dataset):
            _refuse_obstacle(folder)

    def refuse_namesake(self, contents: Contents | None) -> None:
        """Refuse to overwrite the output of another recipe of the same name.

        The same file may have been edited since. Shipped names are reserved.
        """
        if self.replace or self.recipe.file is None:
            return
        current = recipe_identity.recipe_sha256(self.recipe)
        earlier = contents.recipes.get(self.recipe.name) if contents else None
        digests = {earlier.recipe_sha256} if earlier else set()
        existing = manifest.read(self.dataset, Manifest)
        if existing is not None:
            digests.add(existing.inputs.recipe_sha256)
        file = earlier.file if earlier else None
        if digests - {current} and file != self.recipe_file:
            other = f", {os.path.normpath(self.out.resolve() / file)}" if file else ""
            raise ImmuneError(
                f"{self.dataset} was emitted by another recipe of the same name{other}: rename "
                f"{self.recipe.file}, emit into another folder with --data, or overwrite the other "
                "one with --replace"
            )

    def refuse_other_sources(
        self, contents: Contents | None, tables_inputs: TablesInputs | None
    ) -> None:
        """Refuse early what `make` would refuse after the tables are made."""
        if contents and not self.replace and self._dropped(contents, same_tables=False):
            if tables_inputs is None:
                sources = inputs.sources(self.source, self.recipe)
                tables_inputs = inputs.of_tables(sources, self.recipe)
            digest_of_sources = _sources_digest(tables_inputs)
            same = contents.made_from is not None and contents.made_from[1] == digest_of_sources
            self._refuse_loss(contents, self._dropped(contents, same_tables=same))

    def _dropped(self, contents: Contents | None, *, same_tables: bool) -> list[str]:
        """The schemas that a run cannot keep: those of recipes made from other tables."""
        if contents is None:
            return []
        if contents.storage != STORAGE:
            dropped = [*contents.recipes, *contents.others]
        else:
            dropped = [] if same_tables else [*contents.recipes]
        return sorted(name for name in dropped if name != self.recipe.name)

    def _refuse_loss(self, contents: Contents, dropped: list[str]) -> None:
        if not dropped or self.replace:
            return
        reason = f"made from other tables than those of {self.source}"
        if contents.storage != STORAGE:
            reason = f"in a format of DuckDB {contents.storage} that is not written any more"
        raise ImmuneError(
            f"{self.database} contains {', '.join(dropped)}, {reason}: emit into another folder "
            "with --data, or drop them with --replace"
        )

    def make(
        self, hidden: Path, tables_inputs: TablesInputs | None, contents: Contents | None
    ) -> Manifest:
        """Make everything in `hidden` and return the dataset's manifest.

        `tables_inputs` are those of current tables; without them the sources are read.
        """
        import duckdb

        from immune_data.select import pipeline

        try:
            return self._make(hidden, tables_inputs, contents)
        except processes.Killed:
            raise ImmuneError(
                "a process that reads and renders was killed, as the system does when memory runs "
                "out: run again with --threads 1, which needs less; nothing was changed"
            ) from None
        except duckdb.CatalogException as error:
            match = _EXISTING.search(str(error))
            if match is None:
                raise
            raise ImmuneError(
                f"{self.database} contains a {match[1].lower()} {self.recipe.name}.{match[2]} that "
                "no run made, where a relation should be: rename it"
            ) from None
        except duckdb.OutOfMemoryException:
            raise ImmuneError(
                f"the tables in {self.out} need more than the {pipeline.most_memory():,} MB that "
                "DuckDB may use: run again with --threads 1, which needs less; nothing was changed"
            ) from None

    def _make(
        self, hidden: Path, tables_inputs: TablesInputs | None, contents: Contents | None
    ) -> Manifest:
        from immune_data.emit import records
        from immune_data.select import asking, cleaning, condensing, pipeline

        processes.give_back()
        renderer = records.renderer(self.recipe)
        workers = self.workers or partial(processes.workers, self._processes(), read_vocabulary)
        tables = self.tables
        if tables_inputs is None:
            tables = hidden / "tables"
            with workers() as pool:
                tables_inputs = self._make_tables(tables, pool)
            processes.release()
        # New ones: those that have read the sources keep twice the memory.
        with workers() as pool:
            new = manifest.read(tables, Tables)
            assert new is not None, "the tables' manifest is written with them"
            tables_sha256 = digest(msgspec.to_builtins(new.outputs))
            made_from = tables_sha256, _sources_digest(tables_inputs)
            same = bool(contents and contents.made_from and contents.made_from[0] == tables_sha256)
            dropped = self._dropped(contents, same_tables=same)
            if contents is not None:
                self._refuse_loss(contents, dropped)
            kept = contents is not None and contents.storage == STORAGE
            if kept:
                for path in (self.database, self.log):
                    if path.exists():
                        shutil.copyfile(path, hidden / path.name)
            with pipeline.connect(hidden / DATABASE, self.threads, hidden) as connection:
                for name in dropped if kept else ():
                    pipeline.drop(connection, name)
                if self.force or not (kept and same):
                    self.report("loading tables")
                    models = set(self.recipe.models)
                    load = partial(pipeline.load_tables, connection, tables, made_from, models)
                    pipeline.with_enough_memory(connection, load)

                def condense_evidence(at: duckdb.DuckDBPyConnection) -> None:
                    if self.recipe.dag.form == "condensed":
                        self.report("condensing evidence")
                    condensing.write(at, self.recipe, pool)

                def clean_answers(at: duckdb.DuckDBPyConnection) -> None:
                    self.report("cleaning answers")
                    cleaning.write(at, hidden, asking.load(self.recipe), pool)

                def write_records(at: duckdb.DuckDBPyConnection) -> None:
                    self.report("rendering records")
                    records.write(at, hidden, renderer, pool)

                current_inputs = inputs.of_dataset(tables_inputs.sources, self.recipe)
                pipeline.run(
                    connection,
                    self.recipe,
                    database.Emitted(
                        inputs_sha256=current_inputs.sha256,
                        recipe_sha256=current_inputs.recipe_sha256,
                        file=self.recipe_file,
                        source=str(self.source),
                    ),
                    {
                        "condensed": condense_evidence,
                        "cleaning": clean_answers,
                        "conversations": write_records,
                    },
                    self.report,
                )
                incidents.write(hidden, _incidents(connection))
                content = Manifest(
                    schema_version=manifest.SCHEMA_VERSION,
                    recipe=self.recipe.name,
                    synthetic=_synthetic(connection),
                    asking_sha256=renderer.asking.sha256,
                    inputs=current_inputs,
                    counts=_counts(connection),
                    outputs=manifest.outputs(hidden, OUTPUTS),
                )
                pipeline.finish(connection)
                self._refuse_a_writer(connection)
        manifest.write(hidden, content)
        return content

    def _make_tables(self, folder: Path, pool: Pool | None) -> TablesInputs:
        from immune_data.read.normalise import normalise

        folder.mkdir()
        hashes = normalise(self.source, self.recipe, folder, pool, self.report)
        current_inputs = inputs.of_tables(hashes, self.recipe)
        names = sorted(path.name for path in folder.glob("*.parquet"))
        manifest.write(folder, Tables(current_inputs, manifest.outputs(folder, names)))
        return current_inputs

    def _processes(self) -> int:
        size = sum(
            file.path.stat().st_size * (_GZIP_RATIO if file.path.suffix == ".gz" else 1)
            for file in input_files(self.source, self.recipe)
        )
        return self.threads if size >= _WORTH_WORKERS else 1

    def install(self, hidden: Path, stamp: list[tuple[int, int, int] | None]) -> None:
        """Move everything to its place. Manifests are removed first and come last."""
        staged = [(hidden / DATABASE, self.database)]
        staged += [(hidden / name, self.dataset / name) for name in (*OUTPUTS, manifest.NAME)]
        if (hidden / "tables").is_dir():
            parquet = sorted((hidden / "tables").glob("*.parquet"))
            new = [(path, self.tables / path.name) for path in parquet]
            new.append((hidden / "tables" / manifest.NAME, self.tables / manifest.NAME))
            staged = [*new, *staged]
        if self.stamp() != stamp:
            raise ImmuneError(f"{self.database} was changed during the run: run again")
        for _, final in staged:
            if final.is_dir():
                raise _is_folder(final)
            _refuse_obstacle(final.parent)
            final.parent.mkdir(parents=True, exist_ok=True)
        for _, final in staged:
            if final.name == manifest.NAME:
                final.unlink(missing_ok=True)
        # A client that died has left its log next to the database. It was read, and fits no other.
        self.log.unlink(missing_ok=True)
        for path, final in staged:
            files.move(path, final)


def _is_folder(path: Path) -> ImmuneError:
    return ImmuneError(f"{path} is a folder: move it away")


def _refuse_obstacle(folder: Path) -> None:
    """Refuse a folder whose path leads through something that is not a folder."""
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise ImmuneError(f"{existing} is not a folder: move it away")


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _sources_digest(tables_inputs: TablesInputs) -> str:
    """One value for the sources of tables and their declaration."""
    return digest([tables_inputs.sources, tables_inputs.settings])


def _synthetic(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether any source file says that it is synthetic."""
    return connection.execute("select bool_or(synthetic) from source_files").fetchall()[0][0]


def _incidents(connection: duckdb.DuckDBPyConnection) -> list[Incident]:
    """The incidents of the dataset, from the database."""
    from immune_data.select import steps

    return msgspec.convert(duck.rows(connection, steps.text("emit/incidents.sql")), list[Incident])


def _counts(connection: duckdb.DuckDBPyConnection) -> Counts:
    """The numbers in the manifest and in the closing table, from the database."""
    from immune_data.select import steps

    shares = duck.rows(connection, steps.text("emit/shares.sql"))

    def share(name: str) -> list[dict[str, Any]]:
        return [
            {
                "split": row["split"],
                name: row["value"],
                "records": row["records"],
                "tokens": row["tokens"],
            }
            for row in shares
            if row["property"] == name
        ]

    counts = {
        "funnel": duck.rows(connection, "from funnel"),
        "sides": duck.rows(connection, "from sides"),
        "tasks": share("task"),
        "models": share("model"),
        "origins": share("origin"),
        "rejects": duck.rows(connection, steps.text("emit/rejects.sql")),
        "warnings": duck.rows(connection, steps.text("emit/warnings.sql")),
    }
    return msgspec.convert(counts, Counts)
