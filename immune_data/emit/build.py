"""From source files to an emitted dataset: a source folder and a recipe in, files in place out.

Everything is made in a hidden folder and moved to its name when all of it is whole: `tables/`,
`immune.duckdb` and `sft/<recipe>/`. What is there and current is used, not made again, and what is
somebody else's stays: other recipes' relations, and whatever a database holds that no run made.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
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
from immune_data.select.database import STORAGE, Held

if TYPE_CHECKING:
    import duckdb

FILES = ["eval.jsonl", "train.jsonl"]
OUTPUTS = sorted([*FILES, incidents.NAME])

# Below this much source text, starting processes costs more than they save.
_WORTH_WORKERS = 1 << 26
_GZIP_RATIO = 8

# Begins and ends those who share the work.
Workers = Callable[[], AbstractContextManager[Pool | None]]

_TAKEN = re.compile(r'(\w+) with name "([^"]*)" already exists')


@dataclass(frozen=True)
class Emitted:
    """An emitted dataset: its folder, its manifest, and whether it was there already."""

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
    """Make the dataset of `recipe` from the files in `source`, unless it is there and current.

    `force` rebuilds all of it; `replace` may drop what else would be lost. `workers` read,
    condense, clean and render, by default `threads` processes of this machine.

    Raises:
        ImmuneError: the input or the output folder is not what it should be, or something would
            be lost that `replace` does not give up; what was emitted before is then untouched.
    """
    threads = threads or processes.processors()
    build = _Build(source, out, recipe, force, replace, threads, workers, report)
    # What is wrong is said before an output folder is made, or read.
    input_files(source, recipe)
    prompting.load(recipe)
    duck.path(out)
    with files.locked(out):
        stamp = build.stamp()
        held = build.held()
        tables_inputs = build.current_tables()
        if tables_inputs is not None:
            current = build.current_dataset(held, tables_inputs)
            if current is not None:
                return Emitted(build.dataset, current, current=True)
        build.refuse_namesake(held)
        build.refuse_other_sources(held, tables_inputs)
        with files.staging(out) as hidden:
            made = build.make(hidden, tables_inputs, held)
            build.install(hidden, stamp)
    return Emitted(build.dataset, made, current=False)


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
        """What a client committed and has not put into the database yet."""
        return self.out / f"{DATABASE}.wal"

    def current_tables(self) -> TablesInputs | None:
        """What the tables were made from, if that is what they would be made from now."""
        found = manifest.read(self.tables, Tables)
        if self.force or found is None:
            return None
        now = inputs.of_tables(inputs.sources(self.source, self.recipe), self.recipe)
        return now if found.inputs == now and manifest.intact(self.tables, found) else None

    def current_dataset(self, held: Held | None, tables_inputs: TablesInputs) -> Manifest | None:
        """The dataset's manifest, if files and database are what a run would make now."""
        found = manifest.read(self.dataset, Manifest)
        now = inputs.of_dataset(tables_inputs.sources, self.recipe)
        if found is None or found.inputs != now:
            return None
        in_database = held.recipes.get(self.recipe.name) if held else None
        if in_database is None or in_database.inputs_sha256 != now.sha256:
            return None
        same = held is not None and held.synthetic == found.synthetic
        return found if same and manifest.intact(self.dataset, found) else None

    def held(self) -> Held | None:
        """What the database holds; None where there is none, or one that may be given up."""
        try:
            return database.held(self.database)
        except database.Unreadable as error:
            if self.replace:
                return None
            raise ImmuneError(f"{error}: move it away, or rebuild it with --replace") from None

    def stamp(self) -> list[tuple[int, int, int] | None]:
        """What tells whether somebody wrote to the database."""
        return [
            (stat.st_ino, stat.st_size, stat.st_mtime_ns) if (stat := _stat(path)) else None
            for path in (self.database, self.log)
        ]

    @property
    def recipe_file(self) -> str | None:
        """Where the recipe's file lies from the output folder, so that both may move together."""
        file = self.recipe.file
        return None if file is None else os.path.relpath(file, self.out.resolve())

    def refuse_namesake(self, held: Held | None) -> None:
        """Refuse to write over what another recipe of the same name made.

        The same file may have been edited since. Shipped names are nobody else's.
        """
        if self.replace or self.recipe.file is None:
            return
        now = recipe_identity.recipe_sha256(self.recipe)
        before = held.recipes.get(self.recipe.name) if held else None
        made_by = {before.recipe_sha256} if before else set()
        found = manifest.read(self.dataset, Manifest)
        if found is not None:
            made_by.add(found.inputs.recipe_sha256)
        file = before.file if before else None
        if made_by - {now} and file != self.recipe_file:
            other = f", {os.path.normpath(self.out.resolve() / file)}" if file else ""
            raise ImmuneError(
                f"{self.dataset} was emitted by another recipe of the same name{other}: rename "
                f"{self.recipe.file}, emit into another folder with --data, or give the other one "
                "up with --replace"
            )

    def refuse_other_sources(self, held: Held | None, tables_inputs: TablesInputs | None) -> None:
        """Refuse early what `make` would refuse once the tables are made."""
        if held and not self.replace and self._dropped(held, same_tables=False):
            if tables_inputs is None:
                sources = inputs.sources(self.source, self.recipe)
                tables_inputs = inputs.of_tables(sources, self.recipe)
            read_from = _read_from(tables_inputs)
            same = held.made_from is not None and held.made_from[1] == read_from
            self._refuse_loss(held, self._dropped(held, same_tables=same))

    def _dropped(self, held: Held | None, *, same_tables: bool) -> list[str]:
        """The schemas that a run cannot keep: those of recipes that other tables were made for."""
        if held is None:
            return []
        if held.storage != STORAGE:
            dropped = [*held.recipes, *held.others]
        else:
            dropped = [] if same_tables else [*held.recipes]
        return sorted(name for name in dropped if name != self.recipe.name)

    def _refuse_loss(self, held: Held, dropped: list[str]) -> None:
        if not dropped or self.replace:
            return
        why = f"which other tables than those of {self.source} were made for"
        if held.storage != STORAGE:
            why = f"in a form of DuckDB {held.storage} that is not written any more"
        raise ImmuneError(
            f"{self.database} holds {', '.join(dropped)}, {why}: emit into another folder with "
            "--data, or drop them with --replace"
        )

    def make(self, hidden: Path, tables_inputs: TablesInputs | None, held: Held | None) -> Manifest:
        """Make everything in `hidden`; the dataset's manifest comes back.

        `tables_inputs` is what current tables were made from; without it the sources are read.
        """
        import duckdb

        from immune_data.select import pipeline

        try:
            return self._make(hidden, tables_inputs, held)
        except processes.Killed:
            raise ImmuneError(
                "a process that reads and renders was killed, as the system does when memory runs "
                "out: run again with --threads 1, which needs less; nothing was changed"
            ) from None
        except duckdb.CatalogException as error:
            taken = _TAKEN.search(str(error))
            if taken is None:
                raise
            raise ImmuneError(
                f"{self.database} holds a {taken[1].lower()} {self.recipe.name}.{taken[2]} that no "
                "run made, where a relation should be: rename it"
            ) from None
        except duckdb.OutOfMemoryException:
            raise ImmuneError(
                f"the tables in {self.out} do not fit the {pipeline.MEMORY} that DuckDB may use: "
                "run again with --threads 1, which needs less; nothing was changed"
            ) from None

    def _make(
        self, hidden: Path, tables_inputs: TablesInputs | None, held: Held | None
    ) -> Manifest:
        from immune_data.emit import records
        from immune_data.select import asking, cleaning, condensing, pipeline

        renderer = records.renderer(self.recipe)
        workers = self.workers or partial(processes.workers, self._processes(), read_vocabulary)
        tables = self.tables
        if tables_inputs is None:
            tables = hidden / "tables"
            with workers() as pool:
                tables_inputs = self._make_tables(tables, pool)
            processes.release()
        # New ones: those that have read the sources hold on to twice the memory.
        with workers() as pool:
            made = manifest.read(tables, Tables)
            assert made is not None, "the tables' manifest is written with them"
            tables_sha256 = digest(msgspec.to_builtins(made.outputs))
            made_from = tables_sha256, _read_from(tables_inputs)
            same = bool(held and held.made_from and held.made_from[0] == tables_sha256)
            dropped = self._dropped(held, same_tables=same)
            if held is not None:
                self._refuse_loss(held, dropped)
            kept = held is not None and held.storage == STORAGE
            if kept:
                for path in (self.database, self.log):
                    if path.exists():
                        shutil.copyfile(path, hidden / path.name)
            with pipeline.connect(hidden / DATABASE, self.threads, hidden) as connection:
                for name in dropped if kept else ():
                    pipeline.drop(connection, name)
                if self.force or not (kept and same):
                    self.report("loading tables")
                    pipeline.load_tables(connection, tables, made_from)

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

                now = inputs.of_dataset(tables_inputs.sources, self.recipe)
                pipeline.run(
                    connection,
                    self.recipe,
                    database.Emitted(
                        inputs_sha256=now.sha256,
                        recipe_sha256=now.recipe_sha256,
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
                    inputs=now,
                    counts=_counts(connection),
                    outputs=manifest.outputs(hidden, OUTPUTS),
                )
                pipeline.finish(connection)
        manifest.write(hidden, content)
        return content

    def _make_tables(self, folder: Path, pool: Pool | None) -> TablesInputs:
        from immune_data.read.normalise import normalise

        folder.mkdir()
        hashes = normalise(self.source, self.recipe, folder, pool, self.report)
        now = inputs.of_tables(hashes, self.recipe)
        names = sorted(path.name for path in folder.glob("*.parquet"))
        manifest.write(folder, Tables(now, manifest.outputs(folder, names)))
        return now

    def _processes(self) -> int:
        size = sum(
            file.path.stat().st_size * (_GZIP_RATIO if file.path.suffix == ".gz" else 1)
            for file in input_files(self.source, self.recipe)
        )
        return self.threads if size >= _WORTH_WORKERS else 1

    def install(self, hidden: Path, stamp: list[tuple[int, int, int] | None]) -> None:
        """Give everything its name. Manifests go first and come last: they vouch for the rest."""
        staged = [(hidden / DATABASE, self.database)]
        staged += [(hidden / name, self.dataset / name) for name in (*OUTPUTS, manifest.NAME)]
        if (hidden / "tables").is_dir():
            parquet = sorted((hidden / "tables").glob("*.parquet"))
            made = [(path, self.tables / path.name) for path in parquet]
            made.append((hidden / "tables" / manifest.NAME, self.tables / manifest.NAME))
            staged = [*made, *staged]
        self.held()  # nobody has opened it for writing meanwhile
        if self.stamp() != stamp:
            raise ImmuneError(f"{self.database} was changed while the run was on: run again")
        for _, final in staged:
            if final.is_dir():
                raise ImmuneError(f"{final} is a folder: move it away")
            try:
                final.parent.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                above = (final.parent, *final.parent.parents)
                there = next(path for path in above if os.path.lexists(path))
                raise ImmuneError(
                    f"something else is where {there} should be a folder: move it away"
                ) from None
        for _, final in staged:
            if final.name == manifest.NAME:
                final.unlink(missing_ok=True)
        # A client that died has left its log beside the database. It was read, and fits no other.
        self.log.unlink(missing_ok=True)
        for path, final in staged:
            files.move(path, final)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _read_from(tables_inputs: TablesInputs) -> str:
    """One value for the sources of tables and for how they are declared."""
    return digest([tables_inputs.sources, tables_inputs.settings])


def _synthetic(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether any source file says that it was made up."""
    return connection.execute("select bool_or(synthetic) from source_files").fetchall()[0][0]


def _incidents(connection: duckdb.DuckDBPyConnection) -> list[Incident]:
    """The incidents of the dataset, as the database knows them."""
    from immune_data.select import steps

    return msgspec.convert(duck.rows(connection, steps.text("emit/incidents.sql")), list[Incident])


def _counts(connection: duckdb.DuckDBPyConnection) -> Counts:
    """What the manifest and the closing table say, all asked of the database."""
    from immune_data.select import steps

    shares = duck.rows(connection, steps.text("emit/shares.sql"))

    def share(asked: str) -> list[dict[str, Any]]:
        return [
            {
                "split": row["split"],
                asked: row["value"],
                "records": row["records"],
                "tokens": row["tokens"],
            }
            for row in shares
            if row["property"] == asked
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
