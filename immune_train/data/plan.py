"""What a run will take, before any weight is loaded: settings and a number of rows in, a plan."""

from __future__ import annotations

import difflib
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from immune_data.common.errors import ImmuneError
from immune_train.backends import trl
from immune_train.backends.base import see_shapes
from immune_train.configs import Config, processes
from immune_train.data.order import blanks

# Bytes of an optimiser's memory for each weight; of others than these nothing is said.
_STATES = {"adamw_8bit": 2, "adamw_bnb_8bit": 2, "paged_adamw_8bit": 2, "sgd": 0, "adamw": 8}


@dataclass(frozen=True)
class Plan:
    """The steps of a run, what is trained by them, and on what."""

    steps: int
    steps_an_epoch: int
    warmup: int
    conversations_a_step: int
    base_parameters: int
    trained_parameters: int
    base_bytes: int
    adapter_bytes: int | None
    architecture: str
    vocabulary: int
    backend: str
    hardware: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def warnings(self) -> list[str]:
        found = []
        if self.warmup >= self.steps:
            found.append(
                f"the learning rate is still rising when the run ends: {self.warmup:,} steps of "
                f"warm-up, {self.steps:,} in all; lower warmup_steps"
            )
        if self.architecture != "qwen2":
            found.append(
                f"the base is a {self.architecture} model: export, generate and the memory "
                "figures are for Qwen2 models"
            )
        return found


def make(config: Config, rows: int, backend: str) -> Plan:
    """The plan of a run on so many rows.

    Raises:
        ImmuneError: the base cannot be read, or no batch would be full.
    """
    from immune_train.artifacts import run

    an_epoch = steps_an_epoch(config, rows, processes.number())
    steps = (
        config.max_steps if config.max_steps > 0 else math.ceil(config.num_train_epochs * an_epoch)
    )
    base, trained, rounded, found = _outline(config)
    state = next((size for name, size in _STATES.items() if config.optim.startswith(name)), None)
    return Plan(
        steps=steps,
        steps_an_epoch=an_epoch,
        warmup=_warmup(config, steps),
        conversations_a_step=config.step * processes.number(),
        base_parameters=base,
        trained_parameters=trained,
        base_bytes=rounded,
        adapter_bytes=None if state is None else trained * (4 + 4 + state),  # float32, gradients
        architecture=found.model_type,
        vocabulary=found.vocab_size,
        backend=backend,
        hardware=run.hardware(),
    )


def steps_an_epoch(config: Config, rows: int, number: int) -> int:
    """Optimiser steps in which so many processes read so many rows once.

    Raises:
        ImmuneError: there are fewer rows than a full batch of each process, and only such count.
    """
    batch = config.step if config.packing else config.per_device_train_batch_size
    turns = 1 if config.packing else config.gradient_accumulation_steps
    if config.dataloader_drop_last:
        batches = rows // batch // number
    else:
        batches = (rows + blanks(rows, batch, number)) / batch / number
    if not batches:
        raise ImmuneError(
            f"dataloader_drop_last=true leaves nothing of {rows:,} train records: no batch of "
            f"{batch * number} is full; leave it out"
        )
    return math.ceil(math.ceil(batches) / turns)


def _warmup(config: Config, steps: int) -> int:
    given = config.warmup_steps
    return math.ceil(given * steps) if given < 1 else int(given)


def _outline(config: Config) -> tuple[int, int, int, Any]:
    """Of the base: its parameters, those of an adapter on it, its bytes, its own config."""
    import torch
    from peft import get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    from immune_train.backends import readable

    with readable(config.model_name_or_path):
        found = AutoConfig.from_pretrained(
            config.model_name_or_path, revision=config.model_revision
        )
    attention = {"attn_implementation": config.attn_implementation}
    with torch.device("meta"):  # without weights
        try:
            base = AutoModelForCausalLM.from_config(
                found, **(attention if config.attn_implementation else {})
            )
        except (ImportError, ValueError) as error:
            raise ImmuneError(
                f"{config.model_name_or_path} with attn_implementation="
                f"{config.attn_implementation} cannot be used here: {str(error).splitlines()[0]}"
            ) from None
    number = base.num_parameters()
    folder = Path(config.model_name_or_path)
    if folder.is_dir() and found.model_type == "qwen2":
        see_shapes(folder, base)
    head = base.get_output_embeddings()
    layers = {
        name: module.weight.numel()
        for name, module in base.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    _see_targets(config, {name.rpartition(".")[2] for name in layers})
    linear = sum(layers.values())
    size = 4 if config.dtype == "float32" else 2
    size_of_linear = 0.5 + 1 / 64 if config.load_in_4bit else size
    with torch.device("meta"):
        model = get_peft_model(base, trl.adapter(config))
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    return (
        number,
        trained,
        round(linear * size_of_linear + (number - linear) * size),
        found,
    )


def _see_targets(config: Config, known: set[str]) -> None:
    """See that each layer to adapt is a linear one of the base."""
    names = trl.targets(config)
    for name in [] if isinstance(names, str) else names:
        if not any(name == one or name.endswith(f".{one}") for one in known):
            close = difflib.get_close_matches(name, known, n=1)
            raise ImmuneError(
                f"lora_target_modules names {name}, which is not a linear layer of the blocks of "
                f"{config.model_name_or_path}: "
                + (f"did you mean {close[0]}?" if close else f"it has {', '.join(sorted(known))}")
            )


def show(plan: Plan, config: Config) -> None:
    """Print the plan."""
    epochs = plan.steps / plan.steps_an_epoch
    warmup = f", the first {plan.warmup:,} to warm up" if plan.warmup else ""
    print(
        f"{plan.steps:,} steps of {plan.conversations_a_step} conversations: {epochs:.3g} epochs "
        f"of {plan.steps_an_epoch:,} steps{warmup}"
    )
    share = plan.trained_parameters / plan.base_parameters
    print(
        f"{plan.trained_parameters:,} parameters are trained, beside {plan.base_parameters:,} of "
        f"the base ({share:.1%}), by {plan.backend} on {plan.hardware}"
    )
    adapter = (
        ""
        if plan.adapter_bytes is None
        else (f" and {_size(plan.adapter_bytes)} for the adapter, its gradients and optimiser")
    )
    print(
        f"memory: {_size(plan.base_bytes)} for the base's weights{adapter}; what a step "
        "computes comes on top"
    )


def _size(number: int) -> str:
    mib = number / (1 << 20)
    return f"{mib:.0f} MiB" if mib < 1000 else f"{mib / 1024:.1f} GiB"
