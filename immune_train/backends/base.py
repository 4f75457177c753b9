"""The base model that a run trains: a name in, a folder of weights or a commit of the Hub out.

The libraries also accept what is not a base: with an adapter's folder, they load the base under it
and drop the adapter's training. Here each such case is an error before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from immune_data.common.errors import ImmuneError
from immune_data.common.hub import revisions
from immune_train.artifacts import run
from immune_train.configs import Config

_ADAPTER = "adapter_config.json"


def resolve(config: Config, report: Callable[[str], None]) -> Config:
    """The config with its base fixed to one commit, if the base is on the Hub.

    Raises:
        ImmuneError: there is no such model, or it is something else.
    """
    name = config.model_name_or_path
    if Path(name).is_dir():
        _check_folder(Path(name))
        return config
    if Path(name).is_file():
        raise ImmuneError(f"the model {name} is a file: name a folder that transformers wrote")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ImmuneError(
            f"the model {name} cannot be loaded: there is no such folder; name one, or a model of "
            "the Hub, with --model (`python -m immune_train.random_model` writes one to try)"
        )
    try:
        commit = revisions.commit("model", name, config.model_revision, report)
    except ImmuneError as error:
        raise ImmuneError(f"there is no folder {name}, and {error}") from None
    if _has_adapter(name, commit):
        raise ImmuneError(_not_a_base(name))
    origin = f"{config.model_revision}, {config.origins['model_revision']}"
    return replace(
        config,
        values={**config.values, "model_revision": commit},
        origins=config.origins
        if commit == config.model_revision
        else {**config.origins, "model_revision": origin},
    )


def _check_folder(folder: Path) -> None:
    if (folder / _ADAPTER).is_file():
        raise ImmuneError(_not_a_base(str(folder)))
    if not (folder / "config.json").is_file() and (folder / run.MERGED).is_dir():
        raise ImmuneError(
            f"{folder} is a run and not a model: its merged model is {folder / run.MERGED}"
        )
    for weights in sorted(folder.glob("*.safetensors")):
        _check_weights(weights)


def _check_weights(path: Path) -> None:
    """Check by header and length that a file of weights is complete."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise ImmuneError(
            f"{path} is damaged or cut short ({error}): write or download the model again"
        ) from None


def check_shapes(folder: Path, model: Any) -> None:
    """Compare the weight files in a folder with its model, which may be without weights.

    Libraries initialise missing weights with random numbers. A folder without weight files is
    ignored: loading will report it.

    Raises:
        ImmuneError: a weight is missing or of another shape.
    """
    from safetensors import safe_open

    stored: dict[str, tuple[int, ...]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as weights:
            names = weights.keys()
            stored |= {name: tuple(weights.get_slice(name).get_shape()) for name in names}
    expected = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        expected.pop("lm_head.weight", None)
    for name, shape in expected.items() if stored else ():
        if stored.get(name) != shape:
            problem = f"has shape {stored[name]}" if name in stored else "is missing"
            raise ImmuneError(
                f"{folder} is damaged: {name} {problem}, and its config.json requires {shape}; "
                "write or download the model again"
            )


def _has_adapter(name: str, commit: str) -> bool:
    from transformers.utils import find_adapter_config_file

    return find_adapter_config_file(name, revision=commit) is not None


def _not_a_base(name: str) -> str:
    return (
        f"{name} contains an adapter, whose training would be dropped: name the model that it was "
        f"merged into, as `python -m immune_train.merge` writes it to {run.MERGED}, or its base"
    )
