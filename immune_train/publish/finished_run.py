"""The run that is published: a run's folder in, its records out, if it is fit to be published."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from immune_data.common import digests, textfile
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.contract.manifest import Voucher
from immune_train import merge
from immune_train.artifacts import run as runs
from immune_train.artifacts import summary
from immune_train.artifacts.summary import Summary
from immune_train.evaluate import outputs
from immune_train.export.build import RECORD, SCHEMA_VERSION

SCORES = "scores.json"


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, its records, and the GGUF files made of its model, if any."""

    folder: Path
    summary: Summary
    dataset: Voucher
    environment: dict[str, Any]
    scores: dict[str, Any]
    gguf: Path | None
    exported: dict[str, Any]
    evaluation: str = ""  # the card's section that `evaluate` wrote
    teachers: tuple[str, ...] = ()  # the models whose answers it may have learned from

    @property
    def synthetic(self) -> bool:
        """Whether it was trained on data that a program made up."""
        return self.summary.synthetic or self.dataset.synthetic


@dataclass(frozen=True)
class Terms:
    """Under which name and licence a model is published, and where its dataset is, if said."""

    repo_id: str
    license: str
    dataset: str | None


def read(folder: Path, gguf: Path | None) -> Run:
    """The run in `folder`, fit to be published.

    Raises:
        ImmuneError: it is not done, or lacks its adapter or merged model.
        CheckFailed: the GGUF files are not those of this model.
    """
    if not (folder / runs.SUMMARY).is_file():
        raise ImmuneError(runs.unfinished_message(folder))
    made = summary.read(folder / runs.SUMMARY)
    _whole(folder, made)
    exported: dict[str, Any] = {}
    if gguf is None and (folder / runs.GGUF / RECORD).is_file():
        gguf = folder / runs.GGUF
    if gguf is not None:
        exported = _exported(gguf, folder / runs.MERGED)
    return Run(
        folder,
        made,
        _dataset(folder / runs.DATASET),
        _if_there(folder / runs.ENVIRONMENT),
        _if_there(folder / SCORES),
        gguf,
        exported,
        _evaluation(folder),
        _teachers(_if_there(folder / runs.DATASET)),
    )


def _evaluation(folder: Path) -> str:
    """What the run's evaluation says on the card, if it has one.

    Raises:
        ImmuneError: it cannot be read.
        CheckFailed: it is of another run.
    """
    made = folder / outputs.FOLDER
    if not (made / outputs.NUMBERS).is_file():
        return ""
    evaluated = [one.get("sha256") for one in _object(made / outputs.NUMBERS).get("runs", [])]
    if digests.sha256(folder / runs.SUMMARY) not in evaluated:
        raise CheckFailed(
            f"{made} is an evaluation of another run than the one in {folder}: evaluate again, or "
            "remove it"
        )
    return textfile.read(made / outputs.CARD).strip()


def _whole(folder: Path, made: Summary) -> None:
    """See that a run came to its end, and holds an adapter and a model that was merged from it."""
    plan = made.preflight.get("plan") or {}
    steps, planned = made.steps, plan.get("steps")
    if steps and planned and steps < planned:
        raise CheckFailed(
            f"the run in {folder} was stopped after {steps:,} of {planned:,} steps: train it to "
            "its end"
        )
    again = f"`python -m immune_train.merge --run {folder}`"
    for part, patterns, cure in (
        (runs.ADAPTER, runs.ADAPTER_FILES, "train the run again, to another --output"),
        (runs.MERGED, ("config.json", "model*.safetensors"), f"make it with {again}"),
    ):
        if not all(any((folder / part).glob(pattern)) for pattern in patterns):
            raise ImmuneError(f"{folder / part} is missing or not whole: {cure}")
    if (folder / runs.MERGED / merge.RECORD).is_file() and not merge.recorded_difference(
        folder / runs.ADAPTER, folder / runs.MERGED
    ):
        raise CheckFailed(
            f"{folder / runs.MERGED} was merged from another adapter than {folder / runs.ADAPTER}: "
            f"make it again with {again}"
        )


def _dataset(path: Path) -> Voucher:
    """What the manifest of the run's dataset says."""
    if not path.is_file():
        return Voucher()
    try:
        return msgspec.convert(_object(path), Voucher)
    except msgspec.ValidationError:
        raise ImmuneError(f"{path} cannot be read: it is not as the run wrote it") from None


def _teachers(manifest: dict[str, Any]) -> tuple[str, ...]:
    """The models whose answers are in the dataset, as its manifest says."""
    try:
        return tuple(dict.fromkeys(row["model"] for row in manifest["counts"]["models"]))
    except (KeyError, TypeError):
        return ()


def _if_there(path: Path) -> dict[str, Any]:
    return _object(path) if path.is_file() else {}


def _object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        raise ImmuneError(f"{path} cannot be read: it is not as the run wrote it")
    return content


def _exported(gguf: Path, merged: Path) -> dict[str, Any]:
    """What `export` says of its files, which must be those that lie there and of this model."""
    again = f"export it again with `python -m immune_train.export --model {merged}`"
    if not (gguf / RECORD).is_file():
        raise ImmuneError(f"{gguf} holds no complete export (no {RECORD}): {again}")
    content = _object(gguf / RECORD)
    if content.get("schema_version") != SCHEMA_VERSION:
        raise ImmuneError(f"another version of immune exported the files in {gguf}: {again}")
    for file in content["files"]:
        path = gguf / file["file"]
        if not path.is_file() or digests.sha256(path) != file["sha256"]:
            raise CheckFailed(f"{path} is not the file that {RECORD} names: {again}")
    for name, sha256 in content["made_of"].items():
        path = merged / name
        if not path.is_file() or digests.sha256(path) != sha256:
            raise CheckFailed(
                f"the files in {gguf} were made of another {name} than the one in {merged}: {again}"
            )
    return content
