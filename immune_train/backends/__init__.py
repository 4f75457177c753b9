"""The libraries that can train the adapter: a config in, a model with its adapter out.

`unsloth` where CUDA and unsloth are there, otherwise `trl`: transformers, peft and trl as they
are, with bitsandbytes on CUDA. Both train the same rows, adapter and schedule.
"""

from __future__ import annotations

import importlib.util
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from immune_data.common.errors import ImmuneError
from immune_train.configs import processes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from immune_train.configs import Config

NAMES = ("unsloth", "trl")


def choose(wanted: str) -> str:
    """The back end to use for `auto`, `unsloth` or `trl`; unsloth is imported when it is chosen.

    Unsloth changes trl and transformers as it is imported, so this comes before anything imports
    those.

    Raises:
        ImmuneError: unsloth is wanted and cannot be used here.
    """
    # Conversations differ in length at every step; without this, freed memory would lie in pieces.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    several = processes.number() > 1
    if not several:
        # One process trains on one device; the libraries would want to share it out over all.
        first, _, _ = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = first
    import torch

    quiet()
    there = importlib.util.find_spec("unsloth") is not None
    if wanted == "unsloth" and not (there and torch.cuda.is_available()):
        lacks = "needs CUDA" if there else "is not installed"
        install = "" if there else "in a checkout of immune, pip install '.[unsloth]', or "
        raise ImmuneError(f"unsloth {lacks}: {install}take --backend trl")
    if wanted == "unsloth" and several:
        raise ImmuneError("several GPUs are trained on by the trl back end: take --backend trl")
    if wanted == "trl" or not there or several or not torch.cuda.is_available():
        return "trl"
    from immune_train.backends import unsloth

    unsloth.prepare()
    return "unsloth"


def load(backend: str, config: Config) -> Any:
    """The base model with a fresh adapter, ready to be trained.

    Raises:
        ImmuneError: the model cannot be found, or wants hardware or a library that is not there.
    """
    with readable(config.model_name_or_path):
        if backend == "unsloth":
            from immune_train.backends import unsloth

            return unsloth.load(config)
        from immune_train.backends import trl

        return trl.load(config)


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn what loading a model or tokenizer of this name raises into one sentence.

    Damaged files are told by errors of many kinds, down to a plain `Exception`.
    """
    import torch

    try:
        yield
    except (ImmuneError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ImmuneError(
            f"the model {name} cannot be loaded: {said}; name a folder or a model of the Hub with "
            "--model"
        ) from None


def tokenizer(config: Config) -> Any:
    """The model's own tokenizer.

    Raises:
        ImmuneError: it cannot be found.
    """
    from transformers import AutoTokenizer

    with readable(config.model_name_or_path):
        return AutoTokenizer.from_pretrained(
            config.model_name_or_path, revision=config.model_revision
        )


def release() -> None:
    """Give the device's memory that nothing in use holds back, for other processes to have."""
    import gc

    import torch

    gc.collect()  # a trainer and its callbacks hold each other
    torch.cuda.empty_cache()


def quiet() -> None:
    """Keep the libraries' notices to their developers, and bars where no terminal is, away.

    Nor do they tell anyone that they are used.
    """
    import sys
    import warnings

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    for library in ("transformers", "torch", "peft", "trl"):
        warnings.filterwarnings("ignore", category=FutureWarning, module=library)
    if not sys.stderr.isatty():
        for switch in ("HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"):
            os.environ.setdefault(switch, "1")
