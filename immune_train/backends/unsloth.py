"""The back end of unsloth: a config in, the same model with its adapter out, with faster kernels.

Unsloth rewrites trl and transformers when it is imported, so `prepare` must run before anything
imports those. By default it may fetch another base than the one named, collect statistics, and
tokenise, mask and cut rows by itself; the settings here prevent all of that.
"""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from immune_train.configs import Config

_BORDERS = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")


def prepare() -> None:
    """Import unsloth. The source that it writes goes to the user's cache, not to this folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(cache / "immune" / "unsloth"))
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
    with redirect_stdout(sys.stderr):
        import unsloth  # noqa: F401


def load(config: Config) -> Any:
    """The base model, in 4 bits if the config says so, with a fresh LoRA adapter in float32.

    Raises:
        OSError: the model cannot be found.
    """
    import torch

    prepare()
    from unsloth import FastLanguageModel
    from unsloth.utils import attention_dispatch

    from immune_train.backends import attention, trl

    if attention_dispatch._TORCH_VARLEN_ATTN is None:
        # Before torch 2.12 it would call a kernel for each conversation of a pack.
        attention_dispatch._TORCH_VARLEN_ATTN = attention.varlen
    checkpointing = _checkpointing(config)
    with redirect_stdout(sys.stderr):
        base, _ = FastLanguageModel.from_pretrained(
            config.model_name_or_path,
            revision=None if Path(config.model_name_or_path).is_dir() else config.model_revision,
            max_seq_length=config.max_length,
            dtype=getattr(torch, config.dtype),
            load_in_4bit=config.load_in_4bit,
            quantization_config=trl.quantization(config),
            # Otherwise unsloth loads its own 4-bit copy, whose weights differ from NF4's.
            use_exact_model_name=True,
            fix_tokenizer=False,
            use_gradient_checkpointing=checkpointing,
            random_state=config.seed,
        )
        model = FastLanguageModel.get_peft_model(
            base,
            r=config.lora_r,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=trl.targets(config),
            use_rslora=config.use_rslora,
            use_dora=config.use_dora,
            use_gradient_checkpointing=checkpointing,
            random_state=config.seed,
        )
    model.register_forward_pre_hook(_translate, with_kwargs=True)
    return model


def _checkpointing(config: Config) -> bool | str:
    """Where the inputs of layers wait for the backward pass: on the host, as documented, or here.

    With packing they stay on the GPU. On the host, every step that is the longest so far would
    enlarge the buffers, which takes seconds and saves only 3 GiB of 10.
    """
    if not config.gradient_checkpointing:
        return False
    return True if config.packing else "unsloth"


def _translate(model: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """A batch in unsloth's terms: lengths for borders, and no cache, which would unpack it."""
    borders = kwargs.get("cu_seq_lens_q")
    kwargs = {key: value for key, value in kwargs.items() if key not in _BORDERS}
    if borders is not None:
        kwargs["packed_seq_lengths"] = borders.diff()
    return args, {**kwargs, "use_cache": False}
