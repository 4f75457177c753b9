"""The folder that is published: emitted datasets in, all files of a Hub repository out.

It is written whole or not at all, and the same emitted datasets give the same bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from immune_data.common import duck, jsonfile, publishing
from immune_data.contract import incidents, manifest, record
from immune_data.publish import card, relations
from immune_data.publish.datasets import SPLITS, Dataset, Terms
from immune_data.report import figures
from immune_data.select.database import reading
from immune_data.select.steps import sql_folder

if TYPE_CHECKING:
    import duckdb

    from immune_data.audit.checks import Result
    from immune_data.common.drawing import Drawing

AUDIT = "audit.json"

_ROW_GROUP = 1000


def write(
    out: Path, datasets: Sequence[Dataset], terms: Terms, to: Path, report: Callable[[str], None]
) -> None:
    """Write the folder to publish as `to`, replacing an earlier publication.

    Raises:
        ImmuneError: `to` is something else than a publication, or cannot be written.
    """
    publishing.write(to, lambda folder: _fill(folder, out, datasets, terms, report))


def _fill(
    folder: Path,
    out: Path,
    datasets: Sequence[Dataset],
    terms: Terms,
    report: Callable[[str], None],
) -> None:
    drawn = {}
    shutil.copytree(
        out / "tables", folder / "tables", ignore=shutil.ignore_patterns(manifest.NAME, ".*")
    )
    for part in ("pipeline", "audit", "comments/tables", "comments/relations"):
        files = sorted((sql_folder() / part).glob("*.sql"))
        _copy(files, folder / "sql" / part)
    for dataset in datasets:
        report(f"writing {dataset.name}")
        into = folder / dataset.name
        (into / "relations").mkdir(parents=True)
        for name in (manifest.NAME, incidents.NAME):
            shutil.copyfile(dataset.folder / name, into / name)
        for split, ours in SPLITS.items():
            shutil.copyfile(dataset.folder / f"{ours}.jsonl", into / f"{split}.jsonl")
            _write_parquet(into / f"{split}.jsonl", into / f"{split}.parquet")
        with reading(out, dataset.name) as connection:
            connection.execute("set threads = 1")  # or the files would depend on their number
            _export(connection, "main", folder / "tables")
            _export(connection, dataset.name, into / "relations")
            page = relations.page(connection, dataset.name)
        (folder / relations.NAME).write_text(page, encoding="utf-8")
        report(f"drawing the figures of {dataset.name}")
        drawn[dataset.name] = figures.drawn(dataset.facts)
        _write_figures(drawn[dataset.name], folder / "figures" / dataset.name)
    audit = {dataset.name: [_row(result) for result in dataset.audit] for dataset in datasets}
    jsonfile.write(folder / AUDIT, audit)
    report("writing the card")
    text = card.render(folder, datasets, terms, drawn)
    (folder / publishing.CARD).write_text(text, encoding="utf-8")
    publishing.write_manifest(
        folder,
        terms.repo_id,
        terms.license,
        synthetic=any(dataset.manifest.synthetic for dataset in datasets),
        accepted=list(terms.accepted),
        recipes=[
            {
                "recipe": dataset.name,
                "schema_version": dataset.manifest.schema_version,
                "inputs_sha256": dataset.manifest.inputs.sha256,
            }
            for dataset in datasets
        ],
    )


def _copy(files: Sequence[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)


def _write_figures(figures: Sequence[Drawing], folder: Path) -> None:
    folder.mkdir(parents=True)
    for figure in figures:
        (folder / f"{figure.name}.svg").write_text(figure.svg, encoding="utf-8")


def _write_parquet(jsonl: Path, parquet: Path) -> None:
    """Write the rows of a JSONL file as Parquet, with the same columns."""
    import msgspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = record.arrow_schema()
    decode = msgspec.json.Decoder(record.Record).decode
    with (
        jsonl.open("rb") as lines,
        pq.ParquetWriter(duck.path(parquet), schema, compression="zstd") as writer,
    ):
        while batch := [msgspec.to_builtins(decode(line)) for line in islice(lines, _ROW_GROUP)]:
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))


def _export(connection: duckdb.DuckDBPyConnection, schema: str, folder: Path) -> None:
    """Write the tables that a run made in a schema, unless `folder` already has them."""
    from immune_data.select.pipeline import signed

    for name in signed(connection, schema):
        path = folder / f"{name}.parquet"
        if not path.exists():
            # The order of rows in `main` depends on the order of runs.
            order = "order by all" if schema == "main" else ""
            target = duck.quoted(duck.path(path))
            connection.execute(
                f'copy (from "{schema}"."{name}" {order}) '
                f"to {target} (format parquet, compression zstd)"
            )


def _row(result: Result) -> dict[str, Any]:
    return {
        "check": result.check.name,
        "severity": result.check.severity,
        "failed": result.failed,
        "rows": result.rows,
        "first_incident": result.first_incident,
        "bound": result.check.bound,
        "sentence": result.check.sentence,
    }
