"""`manifest.json`: what tables or a dataset were made from, and what they contain.

Made from synthetic source files, it says `"synthetic": true`, and so does everything made from the
dataset. A manifest is written last, so its presence means that the files next to it are complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from immune_data.common import digests, jsonfile
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.contract import recipe_identity

SCHEMA_VERSION = 3
NAME = "manifest.json"

_NAMED = 5  # changes that an error names


class Output(msgspec.Struct, frozen=True):
    """A file next to the manifest."""

    bytes: int
    sha256: str


class TablesInputs(msgspec.Struct, frozen=True):
    """Everything that determines the tables: the sources by sha256, and how they are read."""

    schema_version: int
    version: str
    code_sha256: str
    vocabulary_sha256: str
    sources: dict[str, str]
    settings: dict[str, Any]  # the values of the recipe that affect the tables


class Inputs(TablesInputs, frozen=True):
    """Everything that determines a dataset: the tables' inputs, the recipe, SQL and prompts."""

    sql: dict[str, str]
    prompts: dict[str, str]

    @property
    def sha256(self) -> str:
        return digests.digest(msgspec.to_builtins(self))

    @property
    def recipe_sha256(self) -> str:
        return recipe_identity.sha256_of(self.prompts, self.settings)


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the relation `funnel`."""

    step: str
    incidents: int | None
    records: int | None
    lost: int | None
    why: str | None


class Side(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the relation `sides`."""

    split: str
    incidents: int
    records: int
    share: float | None
    share_asked: float
    uneven: bool
    reason: str | None


class TaskCount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The records of a task on one side."""

    split: str
    task: str
    records: int
    tokens: int


class ModelCount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The records with a model's answers on one side."""

    split: str
    model: str
    records: int
    tokens: int


class OriginCount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The records of one origin on one side."""

    split: str
    origin: str
    records: int
    tokens: int


class Rejects(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of a source file was rejected for one reason."""

    file: str
    reason: str
    scope: str
    rejects: int


class Warnings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The records of one side that share a fault."""

    warning: str
    split: str
    records: int
    incidents: int


class Counts(msgspec.Struct, frozen=True):
    """A dataset in numbers."""

    funnel: list[Step]
    sides: list[Side]
    tasks: list[TaskCount]
    models: list[ModelCount]
    origins: list[OriginCount]
    rejects: list[Rejects]
    warnings: list[Warnings]


class Tables(msgspec.Struct, frozen=True):
    """The manifest of the tables."""

    inputs: TablesInputs
    outputs: dict[str, Output]


class Manifest(msgspec.Struct, frozen=True):
    """The manifest of a dataset."""

    schema_version: int
    recipe: str
    synthetic: bool
    asking_sha256: str
    inputs: Inputs
    counts: Counts
    outputs: dict[str, Output]


class Checksum(msgspec.Struct, frozen=True):
    """The digest of a file next to a manifest."""

    sha256: str


class TrainingManifest(msgspec.Struct, frozen=True):
    """The part of a dataset's manifest that training reads, whichever version wrote it."""

    outputs: dict[str, Checksum] = {}
    recipe: str | None = None
    synthetic: bool = False


class Producer(msgspec.Struct, frozen=True):
    """The version of immune that made a dataset."""

    version: str


class Asking(msgspec.Struct, frozen=True):
    """The part of a manifest about how its dataset asks, whichever version wrote it."""

    recipe: str
    asking_sha256: str
    inputs: Producer


_Kind = TypeVar("_Kind", Manifest, Tables)


def write(folder: Path, content: Manifest | Tables) -> None:
    """Write the manifest of the files in `folder`."""
    jsonfile.write(folder / NAME, msgspec.to_builtins(content))


def read(folder: Path, kind: type[_Kind]) -> _Kind | None:
    """The manifest in `folder`; None if it is missing, of another kind or of another version."""
    try:
        manifest = msgspec.convert(jsonfile.read(folder / NAME), kind)
    except msgspec.ValidationError:
        return None
    if isinstance(manifest, Manifest) and manifest.schema_version != SCHEMA_VERSION:
        return None
    return manifest if manifest.outputs else None


def outputs(folder: Path, names: Iterable[str]) -> dict[str, Output]:
    """The named files of `folder`."""
    return msgspec.convert(digests.outputs(folder, names), dict[str, Output])


def intact(folder: Path, manifest: Manifest | Tables) -> bool:
    """Whether the files next to a manifest are those that it names."""
    try:
        return outputs(folder, manifest.outputs) == manifest.outputs
    except OSError:
        return False


def check(folder: Path) -> Manifest:
    """The manifest of the dataset in `folder`, its files verified.

    Raises:
        ImmuneError: there is no manifest, or another version of immune wrote it.
        CheckFailed: a file is missing or is not the one the manifest names.
    """
    if not jsonfile.read(folder / NAME):
        raise ImmuneError(f"{folder} is not a complete dataset (no {NAME}): emit it first")
    manifest = read(folder, Manifest)
    if manifest is None:
        raise ImmuneError(f"{folder} was emitted by another version of immune: emit it again")
    for name, expected in manifest.outputs.items():
        path = folder / name
        if not path.is_file():
            raise CheckFailed(f"{path} is missing although the manifest names it: emit again")
        if digests.sha256(path) != expected.sha256:
            raise CheckFailed(f"{path} is not the file that the manifest names: emit again")
    return manifest


def changes(old: Inputs, new: Inputs) -> list[str]:
    """The paths at which two descriptions of inputs differ, such as `settings.split.seed`."""

    def differing(old: Any, new: Any, path: str) -> Iterator[str]:
        if isinstance(old, dict) and isinstance(new, dict):
            for key in sorted(old.keys() | new.keys()):
                yield from differing(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        elif old != new:
            yield path

    return list(differing(msgspec.to_builtins(old), msgspec.to_builtins(new), ""))


def refuse_changes(folder: Path, old: Inputs, new: Inputs, advice: str) -> None:
    """Refuse a dataset that was made from other inputs.

    Raises:
        CheckFailed: they differ; `advice` says what to do.
    """
    paths = changes(old, new)
    if paths:
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        listed = ", ".join(paths[:_NAMED]) + more
        raise CheckFailed(f"{folder} was emitted with something else for {listed}: {advice}")
