"""What may be published: emitted recipes in, their verified and audited datasets out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from immune_data.audit import checks
from immune_data.audit.checks import Result
from immune_data.common import publishing
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.contract import manifest
from immune_data.contract.manifest import Manifest, Tables
from immune_data.emit import inputs
from immune_data.recipes import Recipe
from immune_data.report.facts import Facts, gather
from immune_data.select.database import reading

# The Hub's names for our splits, in the order in which it shows them.
SPLITS = {"train": "train", "validation": "eval"}

# What is needed to ask our questions in SQL on the Hub.
TABLE_CONFIGS = ("incidents", "dags", "responses", "judgements")
RELATION_CONFIGS = ("gates", "funnel")

_RESERVED = (*TABLE_CONFIGS, *RELATION_CONFIGS, "default", "tables", "sql", "figures")


@dataclass(frozen=True)
class Dataset:
    """An emitted dataset that may be published: its manifest, and its facts with the audit."""

    name: str
    argument: str  # its recipe's name on a command line
    folder: Path
    manifest: Manifest
    facts: Facts

    @property
    def audit(self) -> list[Result]:
        return [offence.result for offence in self.facts.audit]

    @property
    def settings(self) -> dict[str, Any]:
        return self.manifest.inputs.settings

    @property
    def errors(self) -> list[Result]:
        """The failed checks that make a record wrong to train on."""
        return [
            result for result in self.audit if result.failed and result.check.severity == "error"
        ]


@dataclass(frozen=True)
class Terms:
    """The name, licence and accepted checks under which datasets are published."""

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
    """The emitted datasets of `recipes`, each verified and audited.

    Raises:
        ImmuneError: a dataset is not emitted, has no records, is synthetic and `synthetic` is
            false or the other way round, or a name cannot be used.
        CheckFailed: files are not those of a manifest, or an `error` that was not accepted failed.
    """
    checks.load(accepted)
    datasets = []
    for recipe in recipes:
        if recipe.name.lower() in _RESERVED:
            raise ImmuneError(
                f"a published recipe cannot have the name {recipe.name}, since every publication "
                "has a config or a folder of that name: rename its file and emit it again"
            )
        content = _verified(out, recipe)
        publishing.check_synthetic(recipe.name, content.synthetic, declared=synthetic)
        facts = gather(out, recipe, report)
        folder = out / "sft" / recipe.name
        datasets.append(Dataset(recipe.name, recipe.argument, folder, content, facts))
    for dataset in datasets:
        errors = [error for error in dataset.errors if error.check.name not in accepted]
        if errors:
            faults = ", ".join(f"{error.check.name} (rows: {error.rows:,})" for error in errors)
            names = " ".join(error.check.name for error in errors)
            raise CheckFailed(
                f"the audit of {dataset.name} finds errors: {faults}; see them with "
                f"`python -m immune_data.audit --recipe {dataset.argument}`, then publish another "
                f"recipe, or accept them and list them on the card with --accept {names}"
            )
    return datasets


def _verified(out: Path, recipe: Recipe) -> Manifest:
    """The manifest of a dataset, after a check that files, tables, relations and SQL match it."""
    folder = out / "sft" / recipe.name
    content = manifest.check(folder)
    tables = manifest.read(out / "tables", Tables)
    if tables is None or not manifest.intact(out / "tables", tables):
        raise CheckFailed(
            f"{out / 'tables'} does not contain the files that its {manifest.NAME} names: emit "
            "again"
        )
    again = f"emit it again with `python -m immune_data.emit --recipe {recipe.argument}`"
    now = inputs.of_dataset(tables.inputs.sources, recipe)
    manifest.refuse_changes(folder, content.inputs, now, again)
    with reading(out, recipe.name) as connection:
        [(sha256, synthetic)] = connection.execute(
            "select inputs_sha256, (select bool_or(synthetic) from source_files) from recipe"
        ).fetchall()
    if sha256 != content.inputs.sha256 or synthetic != content.synthetic:
        raise CheckFailed(f"the relations of {recipe.name} are not those of its files: {again}")
    for split in SPLITS.values():
        if not any(row.split == split for row in content.counts.tasks):
            raise ImmuneError(f"{recipe.name} has no {split} records: there is nothing to publish")
    return content
