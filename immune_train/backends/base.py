"""The base model that a run trains: a name in, a folder of weights or a commit of the Hub out.

What loads a base takes other things for one as well: an adapter's folder loads the base under it
and drops the adapter's training. Here each of those is a sentence, before anything is loaded.
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


def see(config: Config, report: Callable[[str], None]) -> Config:
    """The config with its base at a commit, if it is on the Hub; that is where it is read from now.

    Raises:
        ImmuneError: there is no such model, or it is something else.
    """
    name = config.model_name_or_path
    if Path(name).is_dir():
        _see_folder(Path(name))
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
    if _holds_adapter(name, commit):
        raise ImmuneError(_not_a_base(name))
    origin = f"{config.model_revision}, {config.origins['model_revision']}"
    return replace(
        config,
        values={**config.values, "model_revision": commit},
        origins=config.origins
        if commit == config.model_revision
        else {**config.origins, "model_revision": origin},
    )


def _see_folder(folder: Path) -> None:
    if (folder / _ADAPTER).is_file():
        raise ImmuneError(_not_a_base(str(folder)))
    if not (folder / "config.json").is_file() and (folder / run.MERGED).is_dir():
        raise ImmuneError(
            f"{folder} is a run and not a model: its merged model is {folder / run.MERGED}"
        )
    for weights in sorted(folder.glob("*.safetensors")):
        _see_weights(weights)


def _see_weights(path: Path) -> None:
    """See that a file of weights is whole, by its header and its length."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise ImmuneError(
            f"{path} is damaged or cut short ({error}): write or download the model again"
        ) from None


def see_shapes(folder: Path, model: Any) -> None:
    """Compare the weight files in a folder with its model, which may be without weights.

    Libraries give a weight that is in no file random numbers. A folder without files is passed
    over: loading says so.

    Raises:
        ImmuneError: a weight is missing or of another shape.
    """
    from safetensors import safe_open

    found: dict[str, tuple[int, ...]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as weights:
            names = weights.keys()
            found |= {name: tuple(weights.get_slice(name).get_shape()) for name in names}
    wanted = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        wanted.pop("lm_head.weight", None)
    for name, shape in wanted.items() if found else ():
        if found.get(name) != shape:
            has = f"of {found[name]}" if name in found else "not at all"
            raise ImmuneError(
                f"{folder} must hold {name} of {shape}, by its config.json, and holds it {has}: "
                "write or download the model again"
            )


def _holds_adapter(name: str, commit: str) -> bool:
    from transformers.utils import find_adapter_config_file

    return find_adapter_config_file(name, revision=commit) is not None


def _not_a_base(name: str) -> str:
    return (
        f"{name} holds an adapter, whose training would be dropped: name the model that it was "
        f"merged into, as `python -m immune_train.merge` writes it to {run.MERGED}, or its base"
    )
