"""The sizes of a base and its adapter, without their weights: a config in, an outline out."""

from __future__ import annotations

from pathlib import Path

from immune_data.common.errors import ImmuneError
from immune_data.common.text import suggestion
from immune_train.backends import readable, trl
from immune_train.backends.base import check_shapes
from immune_train.configs import Config
from immune_train.data.plan import Outline


def outline(config: Config) -> Outline:
    """The outline of a config's base and adapter.

    Raises:
        ImmuneError: the base cannot be read, or has no layer that the adapter names.
    """
    import torch
    from peft import get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    with readable(config.model_name_or_path):
        base_config = AutoConfig.from_pretrained(
            config.model_name_or_path, revision=config.model_revision
        )
    attention = {"attn_implementation": config.attn_implementation}
    with torch.device("meta"):  # without weights
        try:
            base = AutoModelForCausalLM.from_config(
                base_config, **(attention if config.attn_implementation else {})
            )
        except (ImportError, ValueError) as error:
            raise ImmuneError(
                f"{config.model_name_or_path} with attn_implementation="
                f"{config.attn_implementation} cannot be used here: {str(error).splitlines()[0]}"
            ) from None
    number = base.num_parameters()
    folder = Path(config.model_name_or_path)
    if folder.is_dir() and base_config.model_type == "qwen2":
        check_shapes(folder, base)
    head = base.get_output_embeddings()
    layers = {
        name: module.weight.numel()
        for name, module in base.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    _check_targets(config, {name.rpartition(".")[2] for name in layers})
    linear = sum(layers.values())
    size = 4 if config.dtype == "float32" else 2
    size_of_linear = 0.5 + 1 / 64 if config.load_in_4bit else size
    with torch.device("meta"):
        model = get_peft_model(base, trl.adapter(config))
    trained_parameters = sum(
        weight.numel() for weight in model.parameters() if weight.requires_grad
    )
    return Outline(
        base_parameters=number,
        trained_parameters=trained_parameters,
        base_bytes=round(linear * size_of_linear + (number - linear) * size),
        architecture=base_config.model_type,
        vocabulary=base_config.vocab_size,
    )


def _check_targets(config: Config, layers: set[str]) -> None:
    """Check that every layer to adapt is a linear layer of the base."""
    names = trl.targets(config)
    for name in [] if isinstance(names, str) else names:
        if not any(name == layer or name.endswith(f".{layer}") for layer in layers):
            hint = suggestion(name, layers, f"it has {', '.join(sorted(layers))}")
            raise ImmuneError(
                f"lora_target_modules names {name}, which is not a linear layer of the blocks of "
                f"{config.model_name_or_path}: {hint}"
            )
