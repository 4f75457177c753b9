"""The libraries that can train the adapter: a config in, a model with its adapter out.

`unsloth` if CUDA and unsloth are available, otherwise `trl`: unmodified transformers, peft and trl,
with bitsandbytes on CUDA. Both train the same rows, adapter and schedule.
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


def choose(name: str) -> str:
    """The back end to use for `auto`, `unsloth` or `trl`; unsloth is imported if it is chosen.

    Unsloth changes trl and transformers when it is imported, so call this before importing those.

    Raises:
        ImmuneError: `unsloth` cannot be used here.
    """
    # Conversations differ in length at every step, which would fragment the freed memory.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    several = processes.number() > 1
    if not several:
        # One process trains on one device; the libraries would spread the model over all of them.
        device, _, _ = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    import torch

    quiet()
    installed = importlib.util.find_spec("unsloth") is not None
    if name == "unsloth" and not (installed and torch.cuda.is_available()):
        problem = "needs CUDA" if installed else "is not installed"
        install = "" if installed else "in a checkout of immune, pip install '.[unsloth]', or "
        raise ImmuneError(f"unsloth {problem}: {install}use --backend trl")
    if name == "unsloth" and several:
        raise ImmuneError("only the trl back end trains on several GPUs: use --backend trl")
    if name == "trl" or not installed or several or not torch.cuda.is_available():
        return "trl"
    from immune_train.backends import unsloth

    unsloth.prepare()
    return "unsloth"


def load(backend: str, config: Config) -> Any:
    """The base model with a fresh adapter, ready to be trained.

    Raises:
        ImmuneError: the model cannot be found, or needs hardware or a library that is missing.
    """
    with readable(config.model_name_or_path):
        if backend == "unsloth":
            from immune_train.backends import unsloth

            return unsloth.load(config)
        from immune_train.backends import trl

        return trl.load(config)


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn an exception from loading a model or tokenizer of this name into one sentence.

    Damaged files raise errors of many kinds, down to a plain `Exception`.
    """
    import torch

    try:
        yield
    except (ImmuneError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ImmuneError(
            f"the model {name} cannot be loaded: {reason}; name a folder or a model of the Hub "
            "with --model"
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
    """Return the device's unused memory, so that other processes can have it."""
    import gc

    import torch

    gc.collect()  # a trainer and its callbacks refer to each other
    torch.cuda.empty_cache()


def quiet() -> None:
    """Silence the libraries' developer warnings, telemetry, and bars without a terminal."""
    import sys
    import warnings

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    for library in ("transformers", "torch", "peft", "trl"):
        warnings.filterwarnings("ignore", category=FutureWarning, module=library)
    if not sys.stderr.isatty():
        for switch in ("HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"):
            os.environ.setdefault(switch, "1")
