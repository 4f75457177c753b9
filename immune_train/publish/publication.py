"""The folder that is published: a finished run in, all files of a model repository out.

    README.md, manifest.json                the card, and the sha256 of every other file
    config.json, model.safetensors, …       the merged model, where `from_pretrained` looks for it
    adapter/                                the LoRA adapter; at the top, transformers would take
                                            the repository for an adapter and not for a model
    NAME-q4_k_m.gguf, …, Modelfile          at the top, where the Hub, llama.cpp's `-hf` and
    template, system, params                `ollama run hf.co/…` look for them, and next to them
                                            what Ollama reads when it downloads from the Hub
    training/                               the run's records: settings, losses, environment

It is written whole or not at all, and the same run gives the same bytes. Large files are linked and
not copied where the file system allows it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from immune_data.common import files, publishing
from immune_data.common.errors import ImmuneError
from immune_train.artifacts import run as runs
from immune_train.evaluate import outputs
from immune_train.export.build import MODELFILE, RECORD
from immune_train.export.modelfile import TEMPLATE
from immune_train.publish import card
from immune_train.publish.finished_run import SCORES, Run, Terms

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


def write(run: Run, terms: Terms, to: Path, report: Callable[[str], None]) -> None:
    """Write the folder to publish as `to`, replacing an earlier publication.

    Raises:
        ImmuneError: `to` is something else than a publication, cannot be written, or a record
            contains what looks like a token.
    """
    with files.locked(to.parent):
        publishing.write(to, lambda folder: _fill(folder, run, terms, report))


def _fill(folder: Path, run: Run, terms: Terms, report: Callable[[str], None]) -> None:
    report("linking the files")
    _place(run.folder / runs.MERGED, _MODEL_FILES, folder)
    _place(run.folder / runs.ADAPTER, _ADAPTER_FILES, folder / runs.ADAPTER)
    _place(run.folder, _RECORDS, folder / TRAINING)
    if run.evaluation:
        _place(run.folder / outputs.FOLDER, (outputs.NUMBERS, outputs.PAGE), folder / TRAINING)
    if run.gguf is not None:
        names = tuple(file["file"] for file in run.exported["files"])
        _place(run.gguf, (*names, MODELFILE), folder)
        _place(run.gguf, (RECORD,), folder / TRAINING)
        _tell_ollama(folder, run.exported.get("ollama", {}))
    report("writing the card")
    (folder / publishing.CARD).write_text(card.render(folder, run, terms), encoding="utf-8")
    _refuse_tokens(folder)
    report("hashing")
    publishing.write_manifest(folder, terms.repo_id, terms.license, synthetic=run.synthetic)


def _place(source: Path, patterns: tuple[str, ...], folder: Path) -> None:
    """Link the files into a folder, or copy them where linking is not possible."""
    folder.mkdir(exist_ok=True)
    for pattern in patterns:
        for path in sorted(source.glob(pattern)):
            try:
                os.link(path.resolve(), folder / path.name)
            except OSError:
                shutil.copyfile(path, folder / path.name)


def _tell_ollama(folder: Path, settings: dict[str, Any]) -> None:
    """Write the Modelfile's content as the files that `ollama run hf.co/…` reads on the Hub."""
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
                f"{name} contains what looks like a Hugging Face token, which would be published: "
                "remove it from the run's settings, and revoke it"
            )
