"""The inputs of the tables and of a dataset: sources, recipe and our own code in, sha256 out."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import immune_data
from immune_data.common.digests import digest, sha256
from immune_data.common.errors import ImmuneError
from immune_data.contract import manifest, recipe_identity
from immune_data.contract.manifest import Inputs, Manifest, TablesInputs
from immune_data.contract.vocabulary import RANKS_SHA256
from immune_data.read.input_files import input_files
from immune_data.recipes import Recipe
from immune_data.select import steps

# Modules that make no table and no record. All others affect what is emitted: until it is listed
# here, a new or renamed module causes every dataset to be rebuilt.
_WITHOUT_EFFECT = (
    *("audit", "publish", "report", "sample", "sql", "why"),
    *("common/hub", "common/plotting", "common/publishing"),
)


def sources(folder: Path, recipe: Recipe) -> dict[str, str]:
    """The sha256 of each existing source file.

    Raises:
        ImmuneError: a source file is missing or cannot be read.
    """
    hashes = {}
    for file in input_files(folder, recipe):
        try:
            hashes[file.name] = sha256(file.path)
        except OSError as error:
            raise ImmuneError(f"cannot read {file.path}: {error.strerror}") from None
    return hashes


def of_tables(sources: dict[str, str], recipe: Recipe) -> TablesInputs:
    """Everything that determines the tables."""
    return TablesInputs(
        schema_version=manifest.SCHEMA_VERSION,
        version=immune_data.__version__,
        code_sha256=code_sha256(),
        vocabulary_sha256=RANKS_SHA256,
        sources=sources,
        settings={key: recipe.settings[key] for key in ("sources", "models")},
    )


def of_dataset(sources: dict[str, str], recipe: Recipe) -> Inputs:
    """Everything that determines the dataset.

    The sources, which may be out of reach, are given by their sha256; all else is as it is now.
    """
    return Inputs(
        schema_version=manifest.SCHEMA_VERSION,
        version=immune_data.__version__,
        code_sha256=code_sha256(),
        vocabulary_sha256=RANKS_SHA256,
        sources=sources,
        settings=recipe.settings,
        sql={path.name: sha256(path) for path in steps.sql_files()},
        prompts=recipe_identity.prompts_sha256(recipe),
    )


@cache
def code_sha256() -> str:
    """One value for the Python files that affect what is emitted."""
    package = Path(__file__).parent.parent
    names = sorted(path.relative_to(package).as_posix() for path in package.rglob("*.py"))
    return digest({name: sha256(package / name) for name in names if affects_output(name)})


def program() -> str:
    """The program in words, the same on all machines that share the work."""
    return (
        f"{immune_data.NAME} {immune_data.__version__} (code {code_sha256()[:12]}, "
        f"Python {platform.python_version()})"
    )


def affects_output(name: str) -> bool:
    """Whether a Python file, given by its path in this package, affects what is emitted."""
    return not any(name == f"{part}.py" or name.startswith(f"{part}/") for part in _WITHOUT_EFFECT)


def check(folder: Path, recipe: Recipe) -> Manifest:
    """The manifest of a dataset with intact files that `recipe` would make the same way now.

    Recipe, prompts, SQL and code are those that made it from the sources in the manifest.

    Raises:
        ImmuneError: there is no manifest, or another version of immune wrote it.
        CheckFailed: a file is missing or is not the one the manifest names, or the inputs differ.
    """
    content = manifest.check(folder)
    inputs = of_dataset(content.inputs.sources, recipe)
    manifest.refuse_changes(folder, content.inputs, inputs, "emit again")
    return content
