"""A run's folder: what was trained, on what, how it went, and what came out.

config.yaml        every setting and where it came from; can be used as a config again
dataset.json       the manifest of the dataset
incidents.json     the incidents it was trained and evaluated on, as the dataset names them
environment.json   the libraries and the hardware
metrics.jsonl      losses by step, one JSON object per line
curves.svg, .png   the same as a figure
checkpoints/       to resume from, until the run is trained
adapter/           the best adapter and the tokenizer, as peft loads them
trained.json       the result of training; what follows can be made from it
merged_16bit/      base and adapter as one model, as transformers loads it
gguf/              the same for llama.cpp, if the config asks for it
run.json           what the model card says; written last, so its presence means complete
"""

from __future__ import annotations

import json
import math
import platform
import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from immune_data.common.digests import sha256
from immune_data.common.errors import ImmuneError
from immune_data.common.text import counted
from immune_data.contract import incidents
from immune_train.artifacts.summary import Summary, Trained
from immune_train.configs import Config, load

CONFIG, DATASET, ENVIRONMENT = "config.yaml", "dataset.json", "environment.json"
METRICS, CURVES, SUMMARY = "metrics.jsonl", "curves", "run.json"
TRAINED = "trained.json"
CHECKPOINTS, ADAPTER, MERGED, GGUF = "checkpoints", "adapter", "merged_16bit", "gguf"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")

_LIBRARIES = (
    *("torch", "transformers", "peft", "trl", "accelerate", "datasets", "tokenizers"),
    *("bitsandbytes", "unsloth", "unsloth_zoo", "liger_kernel", "triton", "huggingface_hub"),
)


# Settings that may change when a run is resumed: those of the steps after training, and the place
# of the dataset, which its manifest identifies.
_MAY_DIFFER = ("merge", "gguf", "data", "dataset")


def check_folder(folder: Path, config: Config, *, resume: bool) -> None:
    """Check that a run can begin in the folder, or that its run can be resumed with this config.

    A run that failed before it saved a step does not count: another one may begin in its folder.

    Raises:
        ImmuneError: the folder already contains a run; or there is no run to resume, or it is
            finished or has other settings.
    """
    if resume:
        if not (folder / CONFIG).is_file():
            raise ImmuneError(f"{folder} contains no run to resume: leave out --resume")
        if (folder / SUMMARY).exists():
            raise ImmuneError(
                f"the run in {folder} is finished: name another --output to train again"
            )
        original = settings(folder)
        differences = [
            key
            for key in sorted(original.values.keys() | config.values.keys())
            if key not in _MAY_DIFFER and original.values.get(key) != config.values.get(key)
        ]
        if differences:
            raise ImmuneError(
                f"the run in {folder} was started with another {differences[0]}: resume it with "
                "its own settings, or name another --output"
            )
        return
    if (folder / SUMMARY).exists():
        raise ImmuneError(f"{folder} contains a finished run: name another --output")
    if last_checkpoint(folder) or (folder / TRAINED).exists():
        raise ImmuneError(
            f"{folder} contains a run: resume it with --resume, or name another --output"
        )
    for name in (ADAPTER, MERGED, GGUF):
        if not (folder / CONFIG).exists() and (folder / name).exists():
            raise ImmuneError(f"{folder} contains {name}, but no run: name another --output")


def settings(folder: Path) -> Config:
    """The settings of the run in a folder.

    Raises:
        ImmuneError: they are not valid for this version, or for the installed TRL.
    """
    try:
        return load(str(folder / CONFIG))
    except ImmuneError as error:
        raise ImmuneError(
            f"the run in {folder} was made by another version of immune or TRL ({error}): use that "
            "version, or train again with another --output"
        ) from None


def begin(
    folder: Path, config: Config, backend: str, manifest_json: str, incidents_json: str | None
) -> None:
    """Record a new run: its settings, its dataset's manifest and list of incidents, if any."""
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)  # an incomplete one
    write(folder, DATASET, manifest_json)
    if incidents_json is not None:
        write(folder, incidents.NAME, incidents_json)
    write(folder, ENVIRONMENT, _json(environment(backend)))
    write(folder, CONFIG, config.text())


def resume(folder: Path, config: Config, manifest_json: str | None = None) -> None:
    """Resume a run, with the dataset that it was started with if it still needs one.

    Raises:
        ImmuneError: it was started with another dataset.
    """
    original = (folder / DATASET).read_text(encoding="utf-8")
    if manifest_json is not None and original != manifest_json:
        raise ImmuneError(
            f"the run in {folder} was started with another dataset: resume it with that one, or "
            "name another --output"
        )
    if settings(folder).values != config.values:
        write(folder, CONFIG, config.text())


def unfinished_message(folder: Path) -> str:
    """The message about a folder that contains no finished run."""
    if (folder / CONFIG).is_file():
        return (
            f"the run in {folder} is not finished (no {SUMMARY}): resume it with "
            f"`python -m immune_train.sft --output {folder} --resume` and its settings"
        )
    return f"{folder} contains no run (no {SUMMARY}): train one with `python -m immune_train.sft`"


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of the run."""
    checkpoints = [
        path
        for path in (folder / CHECKPOINTS).glob("checkpoint-*")
        if path.name.split("-")[1].isdigit() and state(path)
    ]
    return max(checkpoints, key=lambda path: int(path.name.split("-")[1]), default=None)


def last_step(folder: Path) -> Path | None:
    """The checkpoint of the run's last step; None if it has not been reached."""
    checkpoint = last_checkpoint(folder)
    progress = state(checkpoint) if checkpoint else {}
    return checkpoint if progress and progress["global_step"] >= progress["max_steps"] else None


def state(checkpoint: Path) -> dict[str, Any]:
    """The file that the trainer writes last into a checkpoint; empty if it is incomplete."""
    try:
        content = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def trained(folder: Path) -> Trained | None:
    """The result of training, if it is complete and the adapter is unchanged."""
    try:
        result = msgspec.json.decode((folder / TRAINED).read_bytes(), type=Trained)
        same = result.adapter == files(folder / ADAPTER)
    except (OSError, msgspec.MsgspecError):
        return None
    return result if same else None


def files(adapter: Path) -> dict[str, str]:
    """The sha256 of each file of an adapter."""
    return {name: sha256(adapter / name) for name in ADAPTER_FILES}


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
    return f"{platform.machine()} CPU, {counted(torch.get_num_threads(), 'thread')}"


def write(folder: Path, name: str, text: str) -> Path:
    """Write a file of the run atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{name}"
    temporary.write_text(text, encoding="utf-8")
    return temporary.replace(folder / name)


def write_json(folder: Path, name: str, content: dict[str, Any] | Summary | Trained) -> Path:
    """Write a JSON file of the run atomically."""
    if isinstance(content, dict):
        return write(folder, name, _json(content))
    return write(folder, name, _json(msgspec.to_builtins(content, enc_hook=float)))  # NumPy's


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The run's losses by step, as far as they were written."""
    path = folder / METRICS
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def finite(value: Any) -> Any:
    """A value in which numbers that are not finite are None, because JSON has only finite ones."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json(content: dict[str, Any]) -> str:
    return json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
