"""The records to train on: emitted JSONL files, or a published dataset, in; checked records out.

Whatever can be checked is checked: if there is a manifest next to the files, they must be the files
that it names.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from immune_data.common import hub
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.contract import incidents
from immune_data.contract.manifest import NAME as MANIFEST
from immune_data.contract.manifest import TrainingManifest
from immune_data.contract.record import Record

# File names of the two splits in an emitted folder, and in a published one.
_EMITTED = ("train.jsonl", "eval.jsonl")
_PUBLISHED = ("train.jsonl", "validation.jsonl")


@dataclass(frozen=True)
class Dataset:
    """The two splits, their manifest (None if there is none), and where they come from.

    `synthetic`: whether the manifest of either says that it was made up. The texts of the manifest
    and of the list of incidents that newer ones name are kept, so that a run can store a copy.
    """

    train: list[Record]
    eval: list[Record]
    manifest: TrainingManifest | None
    origin: str
    synthetic: bool = False
    manifest_json: str = "{}\n"
    incidents_json: str | None = None

    @property
    def incidents_sha256(self) -> str | None:
        """The digest of the list of incidents, if there is one."""
        if self.manifest is None or self.incidents_json is None:
            return None
        return self.manifest.outputs[incidents.NAME].sha256

    @property
    def leaked(self) -> list[Record]:
        """The train records of eval incidents."""
        held_out = {record.incident_id for record in self.eval}
        return [record for record in self.train if record.incident_id in held_out]


def from_folder(folder: Path) -> Dataset:
    """The dataset that `immune_data.emit` wrote to `folder`, or a published one's folder.

    Raises:
        ImmuneError: there is no dataset, or a line of it is not a record.
        CheckFailed: a file is not the one that the manifest names.
    """
    names = _PUBLISHED if (folder / _PUBLISHED[1]).is_file() else _EMITTED
    if not (folder / MANIFEST).is_file():
        raise ImmuneError(
            f"{folder} contains no complete dataset (no {MANIFEST}): emit it with "
            f"`python -m immune_data.emit --recipe {folder.name}`, or name one with --dataset"
        )
    return from_files(*(folder / name for name in names))


def from_files(train: Path, eval: Path) -> Dataset:
    """The dataset in two JSONL files; if there is a manifest next to a file, it must match it.

    Raises:
        ImmuneError: a file cannot be read, or a line of it is not a record.
        CheckFailed: a file is not the one that the manifest next to it names.
    """
    manifests = []
    splits = []
    for path, name in zip((train, eval), _EMITTED, strict=True):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ImmuneError(f"cannot read {path}: {error.strerror}") from None
        manifests.append(_verified_manifest(path, name, content))
        splits.append(_records(path, content))
    dataset = Dataset(
        train=splits[0],
        eval=splits[1],
        manifest=None,
        origin=f"{train} and {eval}",
        synthetic=any(manifest is not None and manifest[0].synthetic for manifest in manifests),
    )
    if manifests[0] is None or manifests[0] != manifests[1]:
        return dataset
    manifest, text = manifests[0]
    incidents_json = _incidents(train.with_name(incidents.NAME), manifest)
    return replace(dataset, manifest=manifest, manifest_json=text, incidents_json=incidents_json)


def from_hub(name: str, recipe: str, report: Callable[[str], None]) -> Dataset:
    """The config `recipe` of the dataset `hf://datasets/ORG/NAME[@REV]`.

    `name` may also be a local folder with an emitted or published dataset.

    Raises:
        ImmuneError: it cannot be found, reached or read.
        CheckFailed: a file is not the one that its manifest names.
    """
    from immune_data.common.hub.download import download

    if Path(name).is_dir():
        folder = Path(name) / recipe  # a published folder also has a manifest of all its files
        return from_folder(folder if (folder / MANIFEST).is_file() else Path(name))
    address = hub.address(name)
    report(f"downloading {address}")
    files = [f"{recipe}/{file}" for file in (*_PUBLISHED, incidents.NAME, MANIFEST)]
    folder = download(address, files, report) / recipe
    if not (folder / MANIFEST).is_file():
        raise ImmuneError(
            f"the dataset {address} has no config {recipe}: name one of its configs with --recipe"
        )
    return from_folder(folder)


def read_records(path: Path) -> list[Record]:
    """The records of a JSONL file.

    Raises:
        ImmuneError: it cannot be read, or a line of it is not a record.
    """
    try:
        return _records(path, path.read_bytes())
    except OSError as error:
        raise ImmuneError(f"cannot read {path}: {error.strerror}") from None


def _records(path: Path, content: bytes) -> list[Record]:
    decoder = msgspec.json.Decoder(Record)
    records = []
    content = content.removeprefix(codecs.BOM_UTF8)
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            record = decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ImmuneError(f"{path}, line {number} is not a record: {error}") from None
        if not record.messages or record.messages[-1].role != "assistant":
            raise ImmuneError(
                f"{path}, line {number} does not end with an assistant's message: emit it again"
            )
        records.append(record)
    if not records:
        raise ImmuneError(f"{path} contains no record: there is nothing to train on or to evaluate")
    return records


def _verified_manifest(
    path: Path, name: str, content: bytes
) -> tuple[TrainingManifest, str] | None:
    """The manifest next to `path`, and its text, after checking that it names this very file."""
    file = path.with_name(MANIFEST)
    if not file.is_file():
        return None
    try:
        text = file.read_text(encoding="utf-8")
        manifest = msgspec.json.decode(text, type=TrainingManifest)
        expected = manifest.outputs[name].sha256
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
        raise ImmuneError(
            f"{file} is not the manifest of {path.name}: emit the dataset again"
        ) from None
    if hashlib.sha256(content).hexdigest() != expected:
        raise CheckFailed(f"{path} is not the file that {file} names: emit or download it again")
    return manifest, text


def _incidents(path: Path, manifest: TrainingManifest) -> str | None:
    """The list of incidents that the manifest names, if any, after checking its digest."""
    if path.name not in manifest.outputs:
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImmuneError(f"cannot read {path}: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != manifest.outputs[path.name].sha256:
        raise CheckFailed(
            f"{path} is not the file that {MANIFEST} names: emit or download it again"
        )
    return content.decode()


def shortest(records: Iterable[Record], number: int | None) -> list[Record]:
    """The `number` shortest records, equally many of each task, in their order; None is all."""
    records = list(records)
    if number is None or number >= len(records):
        return records
    rank: dict[int, int] = {}
    counts: dict[str, int] = {}
    for i in sorted(range(len(records)), key=lambda i: records[i].tokens):
        rank[i] = counts[records[i].task] = counts.get(records[i].task, 0) + 1
    indices = sorted(rank, key=lambda i: (rank[i], records[i].tokens))[:number]
    return [records[i] for i in sorted(indices)]
