"""A run's folder: what was trained, on what, how it went, and what came out.

config.yaml        every setting and where it came from; can be trained from again
dataset.json       the manifest of the dataset
environment.json   the libraries and the hardware
metrics.jsonl      losses by step, one JSON object a line
curves.svg, .png   the same as a picture
checkpoints/       to go on from, until the run is done
adapter/           the best adapter and the tokenizer, as peft loads them
merged_16bit/      base and adapter as one model, as transformers loads it
gguf/              the same for llama.cpp, if the config asks for it
run.json           what the model card says; written last, so its presence means done
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from immune_data.errors import ImmuneError
from immune_train.config import Config
from immune_train.dataset import Dataset

CONFIG, DATASET, ENVIRONMENT = "config.yaml", "dataset.json", "environment.json"
METRICS, CURVES, SUMMARY = "metrics.jsonl", "curves", "run.json"
CHECKPOINTS, ADAPTER, MERGED, GGUF = "checkpoints", "adapter", "merged_16bit", "gguf"

_LIBRARIES = (
    *("torch", "transformers", "peft", "trl", "accelerate", "datasets", "tokenizers"),
    *("bitsandbytes", "unsloth", "unsloth_zoo", "liger_kernel", "triton", "huggingface_hub"),
)


def begin(folder: Path, config: Config, dataset: Dataset, backend: str, *, resume: bool) -> None:
    """Make the folder of a new run, or see that an old one is the same run and not done.

    Raises:
        ImmuneError: a new run's folder holds one already, or the run to go on with is another.
    """
    content = {CONFIG: config.text(), DATASET: _json(dataset.manifest or {})}
    if resume:
        if not (folder / CONFIG).is_file():
            raise ImmuneError(f"{folder} holds no run to go on with: leave --resume out")
        if (folder / SUMMARY).exists():
            raise ImmuneError(f"the run in {folder} is done: name another --output to train again")
        for name, text in content.items():
            if (folder / name).read_text(encoding="utf-8") != text:
                raise ImmuneError(
                    f"{folder / name} is of another run: go on with the settings and the dataset "
                    "that it was begun with, or name another --output"
                )
        return
    if (folder / CONFIG).exists():
        raise ImmuneError(
            f"{folder} holds a run: go on with it by --resume, or name another --output"
        )
    write(folder, DATASET, content[DATASET])
    write(folder, ENVIRONMENT, _json(environment(backend)))
    write(folder, CONFIG, content[CONFIG])


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of the run."""
    found = [
        path
        for path in (folder / CHECKPOINTS).glob("checkpoint-*")
        if path.name.split("-")[1].isdigit() and (path / "trainer_state.json").is_file()
    ]
    return max(found, key=lambda path: int(path.name.split("-")[1]), default=None)


def environment(backend: str) -> dict[str, Any]:
    """The libraries and the hardware of this machine."""
    import torch

    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "backend": backend,
        "hardware": hardware(),
        "cuda": torch.version.cuda,
        "libraries": versions,
    }


def hardware() -> str:
    """The device that trains, in words."""
    import torch

    if torch.cuda.is_available():
        number = torch.cuda.device_count()
        name = torch.cuda.get_device_name()
        return name if number == 1 else f"{number} x {name}"
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def write(folder: Path, name: str, text: str) -> Path:
    """Write a file of the run whole."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{name}"
    beside.write_text(text, encoding="utf-8")
    return beside.replace(folder / name)


def write_json(folder: Path, name: str, content: dict[str, Any]) -> Path:
    """Write a JSON file of the run whole."""
    return write(folder, name, _json(content))


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The run's losses by step, as far as they were written."""
    path = folder / METRICS
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def finite(value: Any) -> Any:
    """A value in which numbers that are not finite are None: JSON knows no others."""
    if isinstance(value, Mapping):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json(content: dict[str, Any]) -> str:
    return json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
