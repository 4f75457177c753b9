"""The back end of unsloth: a config in, the same model with its adapter out, with faster kernels.

Unsloth rewrites trl and transformers as it is imported, so `prepare` comes before anything that
imports those. It may fetch another base than the one named, count its users, and tokenise, mask
and cut rows by itself; what is set here keeps it from all of that.
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
    """The base model, in 4 bits where the config says so, with a fresh LoRA adapter in float32.

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
            # Else a name of the Hub becomes unsloth's own 4-bit copy, other weights than NF4's.
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
    """Where the inputs of layers wait for the backward pass: with the host, as documented, or here.

    A pack's stay on the card. Each step that is the longest so far would have the host's buffers
    grow, which takes seconds, for 3 GiB of 10.
    """
    if not config.gradient_checkpointing:
        return False
    return True if config.packing else "unsloth"


def _translate(model: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """A batch in the words of unsloth: lengths for borders, and no cache, which unpacks packs."""
    borders = kwargs.get("cu_seq_lens_q")
    kwargs = {key: value for key, value in kwargs.items() if key not in _BORDERS}
    if borders is not None:
        kwargs["packed_seq_lengths"] = borders.diff()
    return args, {**kwargs, "use_cache": False}
