"""The back end with unmodified transformers, peft and trl: a config in, a model out."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Any

from immune_data.common.errors import ImmuneError

if TYPE_CHECKING:
    from immune_train.configs import Config


def load(config: Config) -> Any:
    """The base model, in 4 bits if the config says so, with a fresh LoRA adapter in float32.

    Raises:
        ImmuneError: 4 bits or an 8-bit optimiser are set without CUDA and bitsandbytes.
        OSError: the model cannot be found.
    """
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM, set_seed

    check(config)
    cuda = torch.cuda.is_available()
    set_seed(config.seed)
    base = AutoModelForCausalLM.from_pretrained(
        config.model_name_or_path,
        revision=config.model_revision,
        dtype=config.dtype,
        quantization_config=quantization(config),
        attn_implementation=_attention(config, cuda),
        device_map={"": int(os.environ.get("LOCAL_RANK", "0"))} if cuda else None,
    )
    base.config.use_cache = False
    set_seed(config.seed)
    return get_peft_model(base, adapter(config))


def check(config: Config) -> None:
    """Check that bitsandbytes is available if the settings need it.

    Raises:
        ImmuneError: 4 bits or an 8-bit optimiser are set without CUDA and bitsandbytes.
    """
    import torch

    needs_bitsandbytes = config.load_in_4bit or "8bit" in config.optim
    if needs_bitsandbytes and not (
        torch.cuda.is_available() and importlib.util.find_spec("bitsandbytes")
    ):
        raise ImmuneError(
            f"config {config.name} uses 4-bit weights or an 8-bit optimiser, which need CUDA and "
            "bitsandbytes: use --config tiny, or set load_in_4bit=false and optim=adamw_torch"
        )


def targets(config: Config) -> list[str] | str:
    """The layers that are adapted: names, or all linear ones of the blocks."""
    names = list(config.lora_target_modules)
    return names[0] if names == ["all-linear"] else names


def adapter(config: Config) -> Any:
    """The adapter's settings, as peft expects them."""
    from peft import LoraConfig

    return LoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=targets(config),
        use_rslora=config.use_rslora,
        use_dora=config.use_dora,
        task_type="CAUSAL_LM",
    )


def quantization(config: Config) -> Any:
    """How the base's weights are quantised, if they are."""
    if not config.load_in_4bit:
        return None
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=config.bnb_4bit_quant_type,
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_use_double_quant=config.use_bnb_nested_quant,
    )


def _attention(config: Config, cuda: bool) -> str:
    if config.attn_implementation is not None:
        return config.attn_implementation
    if config.packing and cuda:
        from immune_train.backends import attention

        return attention.register()
    return "sdpa"
