"""The summary of a run: `run.json`, and `trained.json` while products of the run are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from immune_data.common import jsonfile
from immune_data.common.errors import ImmuneError

VERSION = 1  # of the format of `run.json`


class Merged(msgspec.Struct, frozen=True):
    """How far the merged model is from the adapter on its base."""

    largest_difference: float | None
    same_greedy: float | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """`run.json`; the fields are in the order of its keys.

    A run writes all of them, except the last three if they do not apply. In a run of another
    version, any may be missing.
    """

    schema_version: int | None = None
    name: str | None = None
    recipe: str | None = None
    incidents_sha256: str | None = None  # of `incidents.json`, if the dataset has one
    synthetic: bool = False
    base_model: str | None = None
    backend: str | None = None
    hardware: str | None = None
    config: dict[str, Any] = {}  # the settings that were used
    records: dict[str, int] = {}  # by task
    preflight: dict[str, Any] = {}  # `Preflight.as_json`
    steps: int | None = None
    best_step: int | None = None
    train_loss: float | None = None
    baseline: dict[str, float | None] = {}  # losses before the first step: all, and by task
    eval: dict[str, float | None] = {}  # at the step that was kept
    warnings: list[str] = []
    dataset: str | UnsetType = UNSET  # its address on the Hub
    merged: Merged | UnsetType = UNSET
    gguf: list[str] | UnsetType = UNSET


class Trained(msgspec.Struct, frozen=True):
    """`trained.json`: the result of training, and what the rest of the run is made from."""

    adapter: dict[str, str]  # the sha256 of its files
    summary: Summary
    compared: list[dict[str, Any]]  # rows on which the merged model is compared with the adapter


def read(path: Path) -> Summary:
    """The summary in a run's `run.json`.

    Raises:
        ImmuneError: it cannot be read, or another version of immune wrote it in another format.
    """
    try:
        summary = msgspec.json.decode(path.read_bytes(), type=Summary)
    except (OSError, msgspec.DecodeError) as error:
        is_json = isinstance(error, msgspec.ValidationError) and jsonfile.read(path) is not None
        if is_json:
            raise ImmuneError(_other_version(path)) from None
        raise ImmuneError(f"{path} cannot be read: it is not as the run wrote it") from None
    if summary.schema_version not in (None, VERSION):
        raise ImmuneError(_other_version(path))
    return summary


def _other_version(path: Path) -> str:
    return (
        f"{path} was written by another version of immune: use that version, or train again with "
        "another --output"
    )
