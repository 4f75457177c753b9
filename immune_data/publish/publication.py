"""The folder that is published: emitted datasets in, everything a Hub repository holds out.

Written whole or not at all, and the same emitted datasets give the same bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import immune_data
from immune_data.common import duck
from immune_data.common import files as staging
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.contract import manifest
from immune_data.recipes import Recipe
from immune_data.select.database import reading

if TYPE_CHECKING:
    import duckdb

    from immune_data.audit.checks import Result
    from immune_data.report.__main__ import Facts
    from immune_data.report.figures import Drawn

SCHEMA_VERSION = 1
AUDIT = "audit.json"
CARD = "README.md"

# The Hub's own words for our splits, in the order it shows them.
SPLITS = {"train": "train", "validation": "eval"}

# What anyone needs to ask our questions by SQL on the Hub.
TABLE_CONFIGS = ("incidents", "dags", "responses", "judgements")
RELATION_CONFIGS = ("gates", "funnel")

_TAKEN = (*TABLE_CONFIGS, *RELATION_CONFIGS, "default", "tables", "sql", "figures")
_ROW_GROUP = 1000


@dataclass(frozen=True)
class Dataset:
    """An emitted dataset that may be published: its manifest, and its facts, audit included."""

    name: str
    argument: str  # what names its recipe on a command line
    folder: Path
    manifest: dict[str, Any]
    facts: Facts

    @property
    def audit(self) -> list[Result]:
        return [offence.result for offence in self.facts.audit]

    @property
    def settings(self) -> dict[str, Any]:
        return self.manifest["inputs"]["settings"]

    @property
    def errors(self) -> list[Result]:
        """What fails and makes a record wrong to train on."""
        return [found for found in self.audit if found.failed and found.check.severity == "error"]


@dataclass(frozen=True)
class Terms:
    """Under which name, licence and accepted faults datasets are published."""

    repo_id: str
    license: str
    accepted: tuple[str, ...]


def audited(
    out: Path,
    recipes: Sequence[Recipe],
    accepted: Sequence[str],
    report: Callable[[str], None],
    *,
    synthetic: bool,
) -> list[Dataset]:
    """The emitted datasets of `recipes`, each verified and audited, fit to be published.

    Raises:
        ImmuneError: one is not emitted, has no records, is `synthetic` where it should not be or
            the other way round, or a name cannot be used.
        CheckFailed: files are not those of a manifest, or an `error` that nobody accepted failed.
    """
    from immune_data.audit import checks
    from immune_data.report.__main__ import gather

    checks.load(accepted)
    datasets = []
    for recipe in recipes:
        if recipe.name.lower() in _TAKEN:
            raise ImmuneError(
                f"a published recipe cannot be called {recipe.name}, for which a config or a "
                "folder of every publication is named: rename its file and emit it again"
            )
        content = _verified(out, recipe)
        say_synthetic(recipe.name, content["synthetic"], said=synthetic)
        facts = gather(out, recipe, report)
        folder = out / "sft" / recipe.name
        datasets.append(Dataset(recipe.name, recipe.argument, folder, content, facts))
    for dataset in datasets:
        found = [error for error in dataset.errors if error.check.name not in accepted]
        if found:
            faults = ", ".join(f"{error.check.name} (rows: {error.rows:,})" for error in found)
            names = " ".join(error.check.name for error in found)
            raise CheckFailed(
                f"the audit of {dataset.name} finds errors: {faults}; see them by "
                f"`python -m immune_data.audit --recipe {dataset.argument}`, then publish another "
                f"recipe or put them on the card with --accept {names}"
            )
    return datasets


def say_synthetic(what: str, synthetic: bool, *, said: bool) -> None:
    """See that whoever publishes made-up data knows it.

    Raises:
        ImmuneError: it is synthetic and that was not said, or it was said and is not so.
    """
    if synthetic and not said:
        raise ImmuneError(
            f"{what} is synthetic, made up by a program: take real sources, or publish it as what "
            "it is with --synthetic"
        )
    if said and not synthetic:
        raise ImmuneError(f"{what} is not synthetic: leave --synthetic out")


def _verified(out: Path, recipe: Recipe) -> dict[str, Any]:
    """The manifest of a dataset whose files, tables, relations and SQL are those it names."""
    folder = out / "sft" / recipe.name
    content = manifest.check(folder)
    tables = manifest.read(out / "tables")
    if not manifest.intact(out / "tables", tables):
        raise CheckFailed(
            f"{out / 'tables'} does not hold the files its {manifest.NAME} names: emit again"
        )
    again = f"emit it again with `python -m immune_data.emit --recipe {recipe.argument}`"
    now = manifest.dataset_inputs(tables["inputs"], recipe)
    manifest.refuse_changes(folder, content["inputs"], now, again)
    with reading(out, recipe.name) as connection:
        [(sha256, synthetic)] = connection.execute(
            "select inputs_sha256, (select bool_or(synthetic) from source_files) from recipe"
        ).fetchall()
    if sha256 != manifest.digest(content["inputs"]) or synthetic != content["synthetic"]:
        raise CheckFailed(f"the relations of {recipe.name} are not those of its files: {again}")
    for split in SPLITS.values():
        if not any(row["split"] == split for row in content["counts"]["tasks"]):
            raise ImmuneError(f"{recipe.name} has no {split} records: there is nothing to publish")
    return content


def write(
    out: Path, datasets: Sequence[Dataset], terms: Terms, to: Path, report: Callable[[str], None]
) -> None:
    """Write the folder to publish as `to`, in place of the publication that may be there.

    Raises:
        ImmuneError: `to` is something else than a publication, or cannot be written.
    """
    if to.exists() and not _replaceable(to):
        raise ImmuneError(f"{to} holds something else than a publication: name another with --to")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImmuneError(f"cannot write to {to.parent}: {error.strerror}") from None
    with staging.staging(to.parent) as hidden:
        made = hidden / "made"
        made.mkdir()
        _fill(made, out, datasets, terms, report)
        if to.exists():
            to.rename(hidden / "replaced")
        made.rename(to)


def _replaceable(folder: Path) -> bool:
    """Whether nothing is lost with a folder: it is empty, or we wrote it."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    found = manifest.read(folder)
    return found is not None and "publication" in found


def _fill(
    folder: Path,
    out: Path,
    datasets: Sequence[Dataset],
    terms: Terms,
    report: Callable[[str], None],
) -> None:
    from immune_data.publish import card
    from immune_data.report.__main__ import drawn
    from immune_data.select import pipeline

    figures = {}
    shutil.copytree(
        out / "tables", folder / "tables", ignore=shutil.ignore_patterns(manifest.NAME, ".*")
    )
    for part in ("pipeline", "audit"):
        files = sorted((pipeline.sql_folder() / part).glob("*.sql"))
        _copy(files, folder / "sql" / part)
    for dataset in datasets:
        report(f"writing {dataset.name}")
        into = folder / dataset.name
        (into / "relations").mkdir(parents=True)
        shutil.copyfile(dataset.folder / manifest.NAME, into / manifest.NAME)
        for split, ours in SPLITS.items():
            shutil.copyfile(dataset.folder / f"{ours}.jsonl", into / f"{split}.jsonl")
            _write_parquet(into / f"{split}.jsonl", into / f"{split}.parquet")
        with reading(out, dataset.name) as connection:
            connection.execute("set threads = 1")  # or the files would tell how many there were
            _export(connection, "main", folder / "tables")
            _export(connection, dataset.name, into / "relations")
        report(f"drawing the figures of {dataset.name}")
        figures[dataset.name] = drawn(dataset.facts)
        _write_figures(figures[dataset.name], folder / "figures" / dataset.name)
    audit = {dataset.name: [_row(found) for found in dataset.audit] for dataset in datasets}
    _write_json(folder / AUDIT, audit)
    report("writing the card")
    (folder / CARD).write_text(card.render(folder, datasets, terms, figures), encoding="utf-8")
    _write_json(folder / manifest.NAME, _content(folder, datasets, terms))


def _copy(files: Sequence[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)


def _write_figures(figures: Sequence[Drawn], folder: Path) -> None:
    folder.mkdir(parents=True)
    for figure in figures:
        (folder / f"{figure.name}.svg").write_text(figure.svg, encoding="utf-8")


def _write_parquet(jsonl: Path, parquet: Path) -> None:
    """The same rows in the same columns."""
    import msgspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    from immune_data.emit.records import Record

    turn = pa.struct([("role", pa.string()), ("content", pa.string())])
    schema = pa.schema(
        [
            ("messages", pa.list_(turn)),
            ("incident_id", pa.string()),
            ("task", pa.string()),
            ("model", pa.string()),
            ("score", pa.float64()),
            ("dag_truncated", pa.bool_()),
            ("origin", pa.string()),
            ("tokens", pa.int64()),
        ]
    )
    decode = msgspec.json.Decoder(Record).decode
    with (
        jsonl.open("rb") as lines,
        pq.ParquetWriter(duck.path(parquet), schema, compression="zstd") as writer,
    ):
        while batch := [msgspec.to_builtins(decode(line)) for line in islice(lines, _ROW_GROUP)]:
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))


def _export(connection: duckdb.DuckDBPyConnection, schema: str, folder: Path) -> None:
    """Write the tables of a schema that a run made and `folder` does not hold yet."""
    from immune_data.select.pipeline import signed

    for name in signed(connection, schema):
        path = folder / f"{name}.parquet"
        if not path.exists():
            # What the run itself keeps in `main` stands in the order of the runs.
            order = "order by all" if schema == "main" else ""
            target = duck.quoted(duck.path(path))
            connection.execute(
                f'copy (from "{schema}"."{name}" {order}) '
                f"to {target} (format parquet, compression zstd)"
            )


def _row(found: Result) -> dict[str, Any]:
    return {
        "check": found.check.name,
        "severity": found.check.severity,
        "failed": found.failed,
        "rows": found.rows,
        "first_incident": found.first_incident,
        "bound": found.check.bound,
        "sentence": found.check.sentence,
    }


def _content(folder: Path, datasets: Sequence[Dataset], terms: Terms) -> dict[str, Any]:
    """The publication's own manifest."""
    return {
        "publication": SCHEMA_VERSION,
        "repo_id": terms.repo_id,
        "license": terms.license,
        "version": immune_data.__version__,
        "synthetic": any(dataset.manifest["synthetic"] for dataset in datasets),
        "accepted": list(terms.accepted),
        "recipes": [
            {
                "recipe": dataset.name,
                "schema_version": dataset.manifest["schema_version"],
                "inputs_sha256": manifest.digest(dataset.manifest["inputs"]),
            }
            for dataset in datasets
        ],
        "files": manifest.outputs(folder, sorted(files(folder))),
    }


def files(folder: Path) -> Iterator[str]:
    """The files of a publication, relative to it and as the Hub writes them."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.relative_to(folder).as_posix()


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
