"""`manifest.json`: what tables or a dataset were made from, and what they are.

That of synthetic source files says `"synthetic": true`, and what is made of the dataset repeats it.
A manifest is written last, so its presence means that what lies beside it is complete.
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

_NAMED = 5  # changes that a complaint names


class Output(msgspec.Struct, frozen=True):
    """A file beside the manifest."""

    bytes: int
    sha256: str


class TablesInputs(msgspec.Struct, frozen=True):
    """Everything that decides the tables: the sources by sha256, and how they are read."""

    schema_version: int
    version: str
    code_sha256: str
    vocabulary_sha256: str
    sources: dict[str, str]
    settings: dict[str, Any]  # the recipe as plain values, as far as it decides


class Inputs(TablesInputs, frozen=True):
    """Everything that decides a dataset: the tables' inputs, the whole recipe, SQL and prompts."""

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


class OfTask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The records of a task on one side."""

    split: str
    task: str
    records: int
    tokens: int


class OfModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The records with a model's answers on one side."""

    split: str
    model: str
    records: int
    tokens: int


class OfOrigin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The records of one origin on one side."""

    split: str
    origin: str
    records: int
    tokens: int


class Rejects(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was not taken from a source file for one reason."""

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
    """What a dataset is, in numbers."""

    funnel: list[Step]
    sides: list[Side]
    tasks: list[OfTask]
    models: list[OfModel]
    origins: list[OfOrigin]
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
    """What a file beside a manifest must be."""

    sha256: str


class Voucher(msgspec.Struct, frozen=True):
    """What training reads of a dataset's manifest, whichever version of us wrote it."""

    outputs: dict[str, Checksum] = {}
    recipe: str | None = None
    synthetic: bool = False


class MadeBy(msgspec.Struct, frozen=True):
    """Which version of us made a dataset."""

    version: str


class Asking(msgspec.Struct, frozen=True):
    """What a manifest says of how its dataset asks, whichever version of us wrote it."""

    recipe: str
    asking_sha256: str
    inputs: MadeBy


_Kind = TypeVar("_Kind", Manifest, Tables)


def write(folder: Path, content: Manifest | Tables) -> None:
    """Write the manifest of what lies in `folder`."""
    jsonfile.write(folder / NAME, msgspec.to_builtins(content))


def read(folder: Path, kind: type[_Kind]) -> _Kind | None:
    """The manifest in `folder`; None where there is none, or none of this kind as we write it."""
    try:
        found = msgspec.convert(jsonfile.read(folder / NAME), kind)
    except msgspec.ValidationError:
        return None
    if isinstance(found, Manifest) and found.schema_version != SCHEMA_VERSION:
        return None
    return found if found.outputs else None


def outputs(folder: Path, names: Iterable[str]) -> dict[str, Output]:
    """The named files of `folder`."""
    return msgspec.convert(digests.outputs(folder, names), dict[str, Output])


def intact(folder: Path, found: Manifest | Tables) -> bool:
    """Whether the files beside a manifest are those it names."""
    try:
        return outputs(folder, found.outputs) == found.outputs
    except OSError:
        return False


def check(folder: Path) -> Manifest:
    """The manifest of the dataset in `folder`, its files verified.

    Raises:
        ImmuneError: there is no manifest, or another version of us wrote it.
        CheckFailed: a file is missing or is not the one the manifest names.
    """
    if not jsonfile.read(folder / NAME):
        raise ImmuneError(f"{folder} holds no complete dataset (no {NAME}): emit it first")
    found = read(folder, Manifest)
    if found is None:
        raise ImmuneError(f"{folder} was emitted by another version of immune: emit it again")
    for name, expected in found.outputs.items():
        path = folder / name
        if not path.is_file():
            raise CheckFailed(f"{path} is missing although the manifest names it: emit again")
        if digests.sha256(path) != expected.sha256:
            raise CheckFailed(f"{path} is not the file that the manifest names: emit again")
    return found


def changes(found: Inputs, now: Inputs) -> list[str]:
    """What two descriptions of inputs do not have in common, by path: `settings.split.seed`."""

    def differing(found: Any, now: Any, path: str) -> Iterator[str]:
        if isinstance(found, dict) and isinstance(now, dict):
            for key in sorted(found.keys() | now.keys()):
                yield from differing(found.get(key), now.get(key), f"{path}.{key}" if path else key)
        elif found != now:
            yield path

    return list(differing(msgspec.to_builtins(found), msgspec.to_builtins(now), ""))


def refuse_changes(folder: Path, found: Inputs, now: Inputs, again: str) -> None:
    """Refuse a dataset that would not be made from these inputs as it was.

    Raises:
        CheckFailed: they differ; `again` says what to do.
    """
    differing = changes(found, now)
    if differing:
        more = f" and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
        named = ", ".join(differing[:_NAMED]) + more
        raise CheckFailed(f"{folder} was emitted with something else for {named}: {again}")
