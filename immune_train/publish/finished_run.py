"""The run that is published: a run's folder in, its checked records out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from immune_data.common import digests, textfile
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.contract.manifest import TrainingManifest
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
    dataset: TrainingManifest
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
    """The name and licence under which a model is published, and its dataset, if it is named."""

    repo_id: str
    license: str
    dataset: str | None


def read(folder: Path, gguf: Path | None) -> Run:
    """The run in `folder`, after a check that it may be published.

    Raises:
        ImmuneError: it is not finished, or its adapter or merged model is missing.
        CheckFailed: the GGUF files are not those of this model.
    """
    if not (folder / runs.SUMMARY).is_file():
        raise ImmuneError(runs.unfinished_message(folder))
    record = summary.read(folder / runs.SUMMARY)
    _check_whole(folder, record)
    exported: dict[str, Any] = {}
    if gguf is None and (folder / runs.GGUF / RECORD).is_file():
        gguf = folder / runs.GGUF
    if gguf is not None:
        exported = _exported(gguf, folder / runs.MERGED)
    return Run(
        folder,
        record,
        _dataset(folder / runs.DATASET),
        _if_there(folder / runs.ENVIRONMENT),
        _if_there(folder / SCORES),
        gguf,
        exported,
        _evaluation(folder),
        _teachers(_if_there(folder / runs.DATASET)),
    )


def _evaluation(folder: Path) -> str:
    """The section of the card on the run's evaluation, if there is one.

    Raises:
        ImmuneError: it cannot be read.
        CheckFailed: it is of another run.
    """
    evaluation = folder / outputs.FOLDER
    if not (evaluation / outputs.NUMBERS).is_file():
        return ""
    runs_evaluated = _object(evaluation / outputs.NUMBERS).get("runs", [])
    evaluated = [evaluated_run.get("sha256") for evaluated_run in runs_evaluated]
    if digests.sha256(folder / runs.SUMMARY) not in evaluated:
        raise CheckFailed(
            f"{evaluation} is an evaluation of another run than the one in {folder}: evaluate "
            "again, or remove it"
        )
    return textfile.read(evaluation / outputs.CARD).strip()


def _check_whole(folder: Path, record: Summary) -> None:
    """Check that a run was trained to its end, and has an adapter and a model merged from it."""
    plan = record.preflight.get("plan") or {}
    steps, planned = record.steps, plan.get("steps")
    if steps and planned and steps < planned:
        raise CheckFailed(
            f"the run in {folder} was stopped after {steps:,} of {planned:,} steps: train it to "
            "its end"
        )
    again = f"`python -m immune_train.merge --run {folder}`"
    for part, patterns, remedy in (
        (runs.ADAPTER, runs.ADAPTER_FILES, "train the run again, to another --output"),
        (runs.MERGED, ("config.json", "model*.safetensors"), f"make it with {again}"),
    ):
        if not all(any((folder / part).glob(pattern)) for pattern in patterns):
            raise ImmuneError(f"{folder / part} is missing or not whole: {remedy}")
    if (folder / runs.MERGED / merge.RECORD).is_file() and not merge.recorded_difference(
        folder / runs.ADAPTER, folder / runs.MERGED
    ):
        raise CheckFailed(
            f"{folder / runs.MERGED} was merged from another adapter than {folder / runs.ADAPTER}: "
            f"make it again with {again}"
        )


def _dataset(path: Path) -> TrainingManifest:
    """The manifest of the run's dataset."""
    if not path.is_file():
        return TrainingManifest()
    try:
        return msgspec.convert(_object(path), TrainingManifest)
    except msgspec.ValidationError:
        raise ImmuneError(f"{path} cannot be read: it is not as the run wrote it") from None


def _teachers(manifest: dict[str, Any]) -> tuple[str, ...]:
    """The models whose answers are in the dataset, by its manifest."""
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
    """The record of `export`, after a check that its files are there and of this model."""
    again = f"export it again with `python -m immune_train.export --model {merged}`"
    if not (gguf / RECORD).is_file():
        raise ImmuneError(f"{gguf} has no complete export (no {RECORD}): {again}")
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
