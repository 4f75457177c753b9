"""What may be published: emitted recipes in, their datasets, verified and audited, out."""

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

# The Hub's own words for our splits, in the order it shows them.
SPLITS = {"train": "train", "validation": "eval"}

# What anyone needs to ask our questions by SQL on the Hub.
TABLE_CONFIGS = ("incidents", "dags", "responses", "judgements")
RELATION_CONFIGS = ("gates", "funnel")

_TAKEN = (*TABLE_CONFIGS, *RELATION_CONFIGS, "default", "tables", "sql", "figures")


@dataclass(frozen=True)
class Dataset:
    """An emitted dataset that may be published: its manifest, and its facts, audit included."""

    name: str
    argument: str  # what names its recipe on a command line
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
    checks.load(accepted)
    datasets = []
    for recipe in recipes:
        if recipe.name.lower() in _TAKEN:
            raise ImmuneError(
                f"a published recipe cannot be called {recipe.name}, for which a config or a "
                "folder of every publication is named: rename its file and emit it again"
            )
        content = _verified(out, recipe)
        publishing.check_synthetic(recipe.name, content.synthetic, declared=synthetic)
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


def _verified(out: Path, recipe: Recipe) -> Manifest:
    """The manifest of a dataset whose files, tables, relations and SQL are those it names."""
    folder = out / "sft" / recipe.name
    content = manifest.check(folder)
    tables = manifest.read(out / "tables", Tables)
    if tables is None or not manifest.intact(out / "tables", tables):
        raise CheckFailed(
            f"{out / 'tables'} does not hold the files its {manifest.NAME} names: emit again"
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
