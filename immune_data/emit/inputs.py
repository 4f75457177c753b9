"""What decides the tables and a dataset: sources, recipe and this very code in, sha256 sums out."""

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

# What makes no table and no record. All others decide what is emitted: one that
# is new, or that has moved, makes every dataset be rebuilt until it is named here.
_READERS = (
    *("audit", "publish", "report", "sample", "sql", "why"),
    *("common/hub", "common/plotting", "common/publishing"),
)


def sources(folder: Path, recipe: Recipe) -> dict[str, str]:
    """The sha256 of each source file that is there.

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
    """Everything that decides the tables."""
    return TablesInputs(
        schema_version=manifest.SCHEMA_VERSION,
        version=immune_data.__version__,
        code_sha256=code_sha256(),
        vocabulary_sha256=RANKS_SHA256,
        sources=sources,
        settings={key: recipe.settings[key] for key in ("sources", "models")},
    )


def of_dataset(sources: dict[str, str], recipe: Recipe) -> Inputs:
    """Everything that decides the dataset.

    The sources, which may be out of reach, count by their sha256; all else is what is here now.
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
    """One value for the Python files that decide what is emitted."""
    package = Path(__file__).parent.parent
    names = sorted(path.relative_to(package).as_posix() for path in package.rglob("*.py"))
    return digest({name: sha256(package / name) for name in names if decides(name)})


def program() -> str:
    """What runs here, in words: of two machines that share the work, the same."""
    return (
        f"{immune_data.NAME} {immune_data.__version__} (code {code_sha256()[:12]}, "
        f"Python {platform.python_version()})"
    )


def decides(name: str) -> bool:
    """Whether a Python file of this package, named from its folder on, decides what is emitted."""
    return not any(name == f"{reader}.py" or name.startswith(f"{reader}/") for reader in _READERS)


def check(folder: Path, recipe: Recipe) -> Manifest:
    """The manifest of a dataset whose files are those it names, made as `recipe` makes it now.

    Recipe, prompts, SQL and code are those that made it of the sources that the manifest names.

    Raises:
        ImmuneError: there is no manifest, or another version of us wrote it.
        CheckFailed: a file is missing or is not the one the manifest names, or the inputs differ.
    """
    found = manifest.check(folder)
    now = of_dataset(found.inputs.sources, recipe)
    manifest.refuse_changes(folder, found.inputs, now, "emit again")
    return found
