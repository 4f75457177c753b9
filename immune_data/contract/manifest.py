"""What an emitted dataset was made from, and what it is: facts in, `manifest.json` out.

That of synthetic source files says `"synthetic": true`, and what is made of the dataset repeats it.
The manifest is written last, so its presence means that the dataset beside it is complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import immune_data
from immune_data import prompts
from immune_data.common.digests import digest, outputs, sha256
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.contract.vocabulary import RANKS_SHA256
from immune_data.read.sources import input_files
from immune_data.recipes import Recipe
from immune_data.select import pipeline

SCHEMA_VERSION = 3
NAME = "manifest.json"

_NAMED = 5  # changes that a complaint names

# Stages and commands that make no table and no record. All others decide what is emitted: one that
# is new, or that has moved, makes datasets anew until it is named here.
_READERS = ("audit", "publish", "report", "sample", "sql", "why")


@cache
def code_sha256() -> str:
    """One value for the Python files that decide what is emitted."""
    package = Path(__file__).parent.parent
    names = sorted(path.relative_to(package) for path in package.rglob("*.py"))
    return digest(
        {
            name.as_posix(): sha256(package / name)
            for name in names
            if name.parts[0].removesuffix(".py") not in _READERS
        }
    )


def source_hashes(source: Path, recipe: Recipe) -> dict[str, str]:
    """The sha256 of each source file that is there.

    Raises:
        ImmuneError: a source file is missing or cannot be read.
    """
    hashes = {}
    for file in input_files(source, recipe):
        try:
            hashes[file.name] = sha256(file.path)
        except OSError as error:
            raise ImmuneError(f"cannot read {file.path}: {error.strerror}") from None
    return hashes


def table_inputs(hashes: dict[str, str], recipe: Recipe) -> dict[str, Any]:
    """Everything that decides the tables: the sources by sha256, and how they are read."""
    settings = pipeline.settings(recipe)
    return {
        "schema_version": SCHEMA_VERSION,
        "version": immune_data.__version__,
        "code_sha256": code_sha256(),
        "vocabulary_sha256": RANKS_SHA256,
        "sources": hashes,
        "settings": {key: settings[key] for key in ("sources", "models")},
    }


def dataset_inputs(tables: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Everything that decides the dataset: the tables' inputs, the SQL, the prompts, the recipe.

    Of `tables` the sources count, which may be out of reach; all else is what is here now.
    """
    return {
        **table_inputs(tables["sources"], recipe),
        "sql": {path.name: sha256(path) for _, path in pipeline.steps()},
        **_recipe_inputs(recipe),
    }


def _recipe_inputs(recipe: Recipe) -> dict[str, Any]:
    files = prompts.files(recipe.prompts_folder, recipe.records.prompt_layout)
    return {
        "prompts": {path.name: sha256(path) for path in files},
        "settings": pipeline.settings(recipe),
    }


def recipe_sha256(recipe: Recipe | dict[str, Any]) -> str:
    """One value for a recipe and its prompts: what it is, wherever its files lie.

    Instead of a recipe, it takes the inputs of a dataset that was made by one.
    """
    inputs = recipe if isinstance(recipe, dict) else _recipe_inputs(recipe)
    return digest({key: inputs.get(key) for key in ("prompts", "settings")})


def changes(found: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What two descriptions of inputs do not have in common, by path: `settings.split.seed`."""

    def differing(found: Any, now: Any, path: str) -> Iterator[str]:
        if isinstance(found, dict) and isinstance(now, dict):
            for key in sorted(found.keys() | now.keys()):
                yield from differing(found.get(key), now.get(key), f"{path}.{key}" if path else key)
        elif found != now:
            yield path

    return list(differing(json.loads(json.dumps(found)), json.loads(json.dumps(now)), ""))


def refuse_changes(folder: Path, found: dict[str, Any], now: dict[str, Any], again: str) -> None:
    """Refuse a dataset that would not be made from these inputs as it was.

    Raises:
        CheckFailed: they differ; `again` says what to do.
    """
    differing = changes(found, now)
    if differing:
        more = f" and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
        named = ", ".join(differing[:_NAMED]) + more
        raise CheckFailed(f"{folder} was emitted with something else for {named}: {again}")


def write(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / NAME
    text = json.dumps(content, indent=2, ensure_ascii=False, sort_keys=False)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def read(folder: Path) -> dict[str, Any] | None:
    """The manifest in `folder`; None where there is none or it cannot be read as one."""
    try:
        content = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def intact(folder: Path, manifest: dict[str, Any] | None) -> bool:
    """Whether the files beside a manifest are those it names."""
    try:
        files = manifest["outputs"]
        return bool(files) and outputs(folder, sorted(files)) == {
            name: files[name] for name in sorted(files)
        }
    except (OSError, KeyError, TypeError):
        return False


def complete(manifest: dict[str, Any] | None) -> bool:
    """Whether it is the manifest of a dataset, with all that is read from one."""
    if not manifest or not isinstance(manifest.get("counts"), dict):
        return False
    inputs = manifest.get("inputs")
    if not isinstance(inputs, dict) or not isinstance(inputs.get("sources"), dict):
        return False
    if not isinstance(manifest.get("synthetic"), bool):
        return False
    files = manifest.get("outputs")
    if not isinstance(files, dict) or not files:
        return False
    return all(isinstance(file, dict) and "sha256" in file for file in files.values())


def check(folder: Path, recipe: Recipe | None = None) -> dict[str, Any]:
    """The manifest of the dataset in `folder`, its files verified.

    With a recipe, it is what that recipe, its prompts, the SQL and the code make of the sources
    that the manifest names.

    Raises:
        ImmuneError: there is no manifest, or another version of us wrote it.
        CheckFailed: a file is missing or is not the one the manifest names, or the inputs differ.
    """
    manifest = read(folder)
    if manifest and manifest.get("schema_version") not in (None, SCHEMA_VERSION):
        raise ImmuneError(f"{folder} was emitted by another version of immune: emit it again")
    if not complete(manifest):
        raise ImmuneError(f"{folder} holds no complete dataset (no {NAME}): emit it first")
    for name, expected in manifest["outputs"].items():
        path = folder / name
        if not path.is_file():
            raise CheckFailed(f"{path} is missing although the manifest names it: emit again")
        if sha256(path) != expected["sha256"]:
            raise CheckFailed(f"{path} is not the file that the manifest names: emit again")
    if recipe is not None:
        inputs = manifest["inputs"]
        refuse_changes(folder, inputs, dataset_inputs(inputs, recipe), "emit again")
    return manifest
