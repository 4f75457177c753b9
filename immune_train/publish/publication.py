"""The folder that is published: a finished run in, everything a model repository holds out.

    README.md, manifest.json                the card, and the sha256 of every other file
    config.json, model.safetensors, …       the merged model, where `from_pretrained` looks for it
    adapter/                                the LoRA adapter; at the top, transformers would take
                                            the repository for an adapter and not for a model
    NAME-q4_k_m.gguf, …, Modelfile          at the top, where the Hub, llama.cpp's `-hf` and
    template, system, params                `ollama run hf.co/…` look for them, and beside them
                                            what Ollama is told when it downloads from the Hub
    training/                               the run's records: settings, losses, environment

Written whole or not at all; the same run gives the same bytes. Large files are linked, not copied,
where the file system can.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from immune_data.common import digests, files, publishing
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_train import merge
from immune_train.artifacts import run as runs
from immune_train.export.__main__ import MODELFILE, RECORD
from immune_train.export.modelfile import TEMPLATE

SCORES = "scores.json"
TRAINING = "training"

# Nothing that came with checkpoints or caches, only what loads the model.
_MODEL_FILES = (
    *(
        "config.json",
        "generation_config.json",
        "model*.safetensors",
        "model.safetensors.index.json",
    ),
    *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json"),
    *("vocab.json", "merges.txt", "added_tokens.json"),
)
_ADAPTER_FILES = ("adapter_config.json", "adapter_model*.safetensors", *_MODEL_FILES[4:])
_RECORDS = (
    *(runs.SUMMARY, runs.CONFIG, runs.DATASET, runs.ENVIRONMENT, runs.METRICS),
    *(f"{runs.CURVES}.svg", f"{runs.CURVES}.png", SCORES, "scores.svg"),
)
_TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{20,}")
_TEXTS = (".json", ".jsonl", ".yaml", ".md", ".svg", ".jinja", ".txt", "")


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, its records, and the GGUF files made of its model, if any."""

    folder: Path
    summary: dict[str, Any]
    dataset: dict[str, Any]
    environment: dict[str, Any]
    scores: dict[str, Any]
    gguf: Path | None
    exported: dict[str, Any]

    @property
    def synthetic(self) -> bool:
        """Whether it was trained on data that a program made up."""
        return any(said.get("synthetic") is True for said in (self.summary, self.dataset))


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
        raise ImmuneError(runs.unfinished(folder))
    summary = _object(folder / runs.SUMMARY)
    _whole(folder, summary)
    exported: dict[str, Any] = {}
    if gguf is None and (folder / runs.GGUF / RECORD).is_file():
        gguf = folder / runs.GGUF
    if gguf is not None:
        exported = _exported(gguf, folder / runs.MERGED)
    return Run(
        folder,
        summary,
        *(
            _object(folder / name) if (folder / name).is_file() else {}
            for name in (runs.DATASET, runs.ENVIRONMENT, SCORES)
        ),
        gguf,
        exported,
    )


def _whole(folder: Path, summary: dict[str, Any]) -> None:
    """See that a run came to its end, and holds an adapter and a model that was merged from it."""
    plan = (summary.get("preflight") or {}).get("plan") or {}
    steps, planned = summary.get("steps"), plan.get("steps")
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
    if (folder / runs.MERGED / merge.RECORD).is_file() and not merge.of(
        folder / runs.ADAPTER, folder / runs.MERGED
    ):
        raise CheckFailed(
            f"{folder / runs.MERGED} was merged from another adapter than {folder / runs.ADAPTER}: "
            f"make it again with {again}"
        )


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


def write(run: Run, terms: Terms, to: Path, report: Callable[[str], None]) -> None:
    """Write the folder to publish as `to`, in place of the publication that may be there.

    Raises:
        ImmuneError: `to` is something else than a publication, cannot be written, or a record
            holds what looks like a token.
    """
    with files.locked(to.parent):
        publishing.write(to, lambda folder: _fill(folder, run, terms, report))


def _fill(folder: Path, run: Run, terms: Terms, report: Callable[[str], None]) -> None:
    from immune_train.publish import model_card

    report("linking the files")
    _place(run.folder / runs.MERGED, _MODEL_FILES, folder)
    _place(run.folder / runs.ADAPTER, _ADAPTER_FILES, folder / runs.ADAPTER)
    _place(run.folder, _RECORDS, folder / TRAINING)
    if run.gguf is not None:
        names = tuple(file["file"] for file in run.exported["files"])
        _place(run.gguf, (*names, MODELFILE), folder)
        _place(run.gguf, (RECORD,), folder / TRAINING)
        _tell_ollama(folder, run.exported.get("ollama", {}))
    report("writing the card")
    (folder / publishing.CARD).write_text(model_card.render(folder, run, terms), encoding="utf-8")
    _refuse_tokens(folder)
    report("hashing")
    publishing.write_manifest(folder, terms.repo_id, terms.license, synthetic=run.synthetic)


def _place(source: Path, patterns: tuple[str, ...], folder: Path) -> None:
    """Put the files there, as the same files on the disk where that can be."""
    folder.mkdir(exist_ok=True)
    for pattern in patterns:
        for path in sorted(source.glob(pattern)):
            try:
                os.link(path.resolve(), folder / path.name)
            except OSError:
                shutil.copyfile(path, folder / path.name)


def _tell_ollama(folder: Path, settings: dict[str, Any]) -> None:
    """The Modelfile's content once more, as the Hub hands it to `ollama run hf.co/…`."""
    (folder / "template").write_text(TEMPLATE, encoding="utf-8")
    parameters = {key: value for key, value in settings.items() if key != "system"}
    (folder / "params").write_text(json.dumps(parameters, indent=2) + "\n", encoding="utf-8")
    if settings.get("system"):
        (folder / "system").write_text(settings["system"], encoding="utf-8")


def _refuse_tokens(folder: Path) -> None:
    from huggingface_hub import get_token

    token = (get_token() or "").encode()
    for name in sorted(files.names(folder)):
        path = folder / name
        if path.suffix not in _TEXTS or path.stat().st_size > 1 << 25:
            continue
        content = path.read_bytes()
        if _TOKEN.search(content) or (token and token in content):
            raise ImmuneError(
                f"{name} holds what looks like a Hugging Face token, which would be published: "
                "take it out of the run's settings, and revoke it"
            )
