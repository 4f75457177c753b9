"""What an emitted dataset was made from, and what it is: facts in, `manifest.json` out.

The manifest is written last, so its presence means that the dataset beside it is complete.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import immune_data
from immune_data import pipeline, prompts
from immune_data.errors import CheckFailed, ImmuneError
from immune_data.recipes import Recipe
from immune_data.sources import input_files
from immune_data.vocabulary import RANKS_SHA256

SCHEMA_VERSION = 2
NAME = "manifest.json"


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """The sha256 of a value's JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


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
        "vocabulary_sha256": RANKS_SHA256,
        "sources": hashes,
        "settings": {key: settings[key] for key in ("sources", "models")},
    }


def dataset_inputs(tables: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Everything that decides the dataset: the tables' inputs, the SQL, the prompts, the recipe."""
    return {
        **tables,
        "sql": {path.name: sha256(path) for _, path in pipeline.steps()},
        "prompts": {
            path.name: sha256(path)
            for path in prompts.files(recipe.prompts_folder, recipe.records.prompt_layout)
        },
        "settings": pipeline.settings(recipe),
    }


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


def outputs(folder: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """Size and sha256 of the named files of `folder`."""
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
        for name in names
    }


def intact(folder: Path, manifest: dict[str, Any] | None) -> bool:
    """Whether the files beside a manifest are those it names."""
    try:
        files = manifest["outputs"]
        return bool(files) and outputs(folder, sorted(files)) == {
            name: files[name] for name in sorted(files)
        }
    except (OSError, KeyError, TypeError):
        return False


def _complete(manifest: dict[str, Any] | None) -> bool:
    if not manifest or not isinstance(manifest.get("counts"), dict):
        return False
    files = manifest.get("outputs")
    if not isinstance(files, dict) or not files:
        return False
    return all(isinstance(file, dict) and "sha256" in file for file in files.values())


def check(folder: Path) -> dict[str, Any]:
    """The manifest of the dataset in `folder`, its files verified.

    Raises:
        ImmuneError: there is no manifest.
        CheckFailed: a file is missing or is not the one the manifest names.
    """
    manifest = read(folder)
    if not _complete(manifest):
        raise ImmuneError(f"{folder} holds no complete dataset (no {NAME}): emit it first")
    for name, expected in manifest["outputs"].items():
        path = folder / name
        if not path.is_file():
            raise CheckFailed(f"{path} is missing although the manifest names it: emit again")
        if sha256(path) != expected["sha256"]:
            raise CheckFailed(f"{path} is not the file that the manifest names: emit again")
    return manifest
