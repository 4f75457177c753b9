"""The whole way from source files to SFT JSONL; a rerun with nothing changed does nothing.

    python -m immune_data.emit --source data/source --out data --recipe unified-v2

In: the recipe's source files. Out: `tables/*.parquet`, `immune.duckdb` and
`sft/<recipe>/{train,eval}.jsonl` with its `manifest.json`, all under the output folder.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from immune_data import cli, manifest, recipes, staging
from immune_data.database import NAME as DATABASE
from immune_data.errors import ImmuneError
from immune_data.recipes import Recipe

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
    threads = threads or os.cpu_count() or 1
    table_inputs = manifest.table_inputs(source, recipe)
    inputs = manifest.dataset_inputs(table_inputs, recipe)
    tables, dataset, database = out / "tables", out / "sft" / recipe.name, out / DATABASE
    with staging.locked(out):
        tables_current = not force and _current(tables, table_inputs)
        known = manifest.read(dataset)
        if tables_current and _current(dataset, inputs) and _holds(database, recipe, inputs):
            return Emitted(dataset, known, current=True)
        with staging.staging(out) as hidden:
            made = _make(
                source,
                recipe,
                inputs,
                hidden,
                tables if tables_current else None,
                database,
                threads,
                report,
            )
            manifest.write(hidden, made)
            _install(hidden, tables, dataset, database, table_inputs)
    return Emitted(dataset, made, current=False)


def _current(folder: Path, inputs: dict[str, Any]) -> bool:
    found = manifest.read(folder)
    return bool(found) and found.get("inputs") == inputs and manifest.intact(folder, found)


def _holds(database: Path, recipe: Recipe, inputs: dict[str, Any]) -> bool:
    """Whether the database holds the recipe's relations, made from these very inputs."""
    return _asked(database, f'select inputs_sha256 from "{recipe.name}".recipe') == [
        (manifest.digest(inputs),)
    ]


def _asked(database: Path, query: str) -> list[tuple] | None:
    """What the database answers; None if it cannot."""
    import duckdb

    if not database.is_file():
        return None
    try:
        with duckdb.connect(str(database), read_only=True) as connection:
            return connection.execute(query).fetchall()
    except duckdb.Error:
        return None


def _make(
    source: Path,
    recipe: Recipe,
    inputs: dict[str, Any],
    hidden: Path,
    tables: Path | None,
    database: Path,
    threads: int,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Build everything in `hidden`; the manifest's content comes back.

    `tables` are current ones to build on, or None to read the sources anew.
    """
    import shutil

    from immune_data import answers, parallel, pipeline, records
    from immune_data.normalise import normalise

    renderer = records.renderer(recipe)
    processes = threads if _text_size(source, recipe) >= _WORTH_WORKERS else 1
    with parallel.workers(processes) as pool:
        if tables is None:
            (hidden / "tables").mkdir()
            read = normalise(source, recipe, hidden / "tables", pool, report)
            for name, sha256 in inputs["sources"].items():
                if read.get(name) != sha256:
                    raise ImmuneError(
                        f"{name} in {source} changed while it was read: "
                        "run again once it is at rest"
                    )
        elif _asked(database, "from source_files"):
            shutil.copyfile(database, hidden / DATABASE)
        with pipeline.connect(hidden / DATABASE, threads=threads, scratch=hidden) as connection:
            report("loading tables")
            pipeline.load_tables(connection, tables or hidden / "tables")

            def write_records(at: duckdb.DuckDBPyConnection) -> None:
                report("rendering records")
                records.write(at, hidden, renderer, pool)

            def clean_answers(at: duckdb.DuckDBPyConnection) -> None:
                report("cleaning answers")
                answers.write(at, renderer, pool)

            pipeline.run(
                connection,
                recipe,
                manifest.digest(inputs),
                {"candidates": clean_answers, "warnings": write_records},
                report,
            )
            return {
                "schema_version": manifest.SCHEMA_VERSION,
                "recipe": recipe.name,
                "inputs": inputs,
                "counts": _counts(connection),
                "outputs": manifest.outputs(hidden, FILES),
            }


def _text_size(source: Path, recipe: Recipe) -> int:
    from immune_data.sources import input_files

    return sum(
        file.path.stat().st_size * (_GZIP_RATIO if file.path.suffix == ".gz" else 1)
        for file in input_files(source, recipe)
    )


def _install(
    hidden: Path, tables: Path, dataset: Path, database: Path, table_inputs: dict[str, Any]
) -> None:
    """Give everything its name. Manifests go first and come last: they vouch for the rest."""
    for path in (database, *(dataset / name for name in (*FILES, manifest.NAME))):
        if path.is_dir():
            raise ImmuneError(f"{path} is a folder: move it away")
    (dataset / manifest.NAME).unlink(missing_ok=True)
    if (hidden / "tables").is_dir():
        files = sorted((hidden / "tables").glob("*.parquet"))
        content = {
            "inputs": table_inputs,
            "outputs": manifest.outputs(hidden / "tables", [file.name for file in files]),
        }
        (tables / manifest.NAME).unlink(missing_ok=True)
        for file in files:
            staging.move(file, tables / file.name)
        staging.move(manifest.write(hidden / "tables", content), tables / manifest.NAME)
    # A client that died has left its log beside the database, and it fits no other one.
    database.with_name(f"{DATABASE}.wal").unlink(missing_ok=True)
    staging.move(hidden / DATABASE, database)
    for name in FILES:
        staging.move(hidden / name, dataset / name)
    staging.move(hidden / manifest.NAME, dataset / manifest.NAME)


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


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "immune_data.emit",
        summary="Read the source files, run the pipeline and write the fine-tuning dataset.",
        example="python -m immune_data.emit --source data/source --out data --recipe unified-v2",
    )
    cli.add_folders(parser)
    cli.add_recipe(parser)
    parser.add_argument("--force", action="store_true", help="make everything anew")
    parser.add_argument(
        "--check", action="store_true", help="only verify the emitted files against the manifest"
    )
    parser.add_argument("--threads", type=cli.positive, help="default: one per processor")
    parser.add_argument("--json", action="store_true", help="print the manifest's counts as JSON")
    return cli.run(parser, _command, argv)


def _command(arguments: argparse.Namespace) -> None:
    recipe = recipes.load(arguments.recipe)
    if arguments.check:
        folder = arguments.out / "sft" / recipe.name
        found = manifest.check(folder)
        emitted = Emitted(folder, found, current=True)
    else:
        if arguments.threads:
            os.environ["POLARS_MAX_THREADS"] = str(arguments.threads)
        with cli.progress() as report:
            emitted = emit(
                arguments.source,
                arguments.out,
                recipe,
                force=arguments.force,
                threads=arguments.threads,
                report=report,
            )
    if arguments.json:
        content = {
            "folder": str(emitted.folder),
            "current": emitted.current,
            **emitted.manifest["counts"],
        }
        print(json.dumps(content, indent=2))
    elif arguments.check:
        print(f"{emitted.folder}: every file is the one its manifest names")
    else:
        from immune_data import summary

        summary.show(emitted.folder, emitted.manifest, current=emitted.current)


if __name__ == "__main__":
    sys.exit(main())
