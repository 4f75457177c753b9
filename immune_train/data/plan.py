"""The cost of a run before any weights are loaded: settings, rows and a base in, a plan out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from immune_data.common.errors import ImmuneError
from immune_data.common.text import are, counted
from immune_train.artifacts import run
from immune_train.configs import Config, processes
from immune_train.data.order import blanks

# Bytes that an optimiser needs per weight; for other optimisers no figure is shown.
_STATES = {"adamw_8bit": 2, "adamw_bnb_8bit": 2, "paged_adamw_8bit": 2, "sgd": 0, "adamw": 8}


@dataclass(frozen=True)
class Outline:
    """Sizes of a base model and a fresh adapter; `base_bytes` as the settings load it."""

    base_parameters: int
    trained_parameters: int
    base_bytes: int
    architecture: str
    vocabulary: int


@dataclass(frozen=True)
class Plan:
    """The steps of a run, what they train, and on what hardware."""

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
    processes: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def warnings(self) -> list[str]:
        messages = []
        if self.warmup >= self.steps:
            messages.append(
                f"the learning rate is still rising when the run ends: "
                f"{counted(self.warmup, 'step')} of warm-up, {self.steps:,} in all; lower "
                "warmup_steps"
            )
        if self.architecture != "qwen2":
            messages.append(
                f"the base is a {self.architecture} model: export, generate and the memory "
                "figures are for Qwen2 models"
            )
        return messages


def make(config: Config, rows: int, backend: str, outline: Outline) -> Plan:
    """The plan of a run on `rows` rows.

    Raises:
        ImmuneError: no batch would be full.
    """
    number = processes.number()
    an_epoch = steps_an_epoch(config, rows, number)
    steps = (
        config.max_steps if config.max_steps > 0 else math.ceil(config.num_train_epochs * an_epoch)
    )
    trained_parameters = outline.trained_parameters
    state = next((size for name, size in _STATES.items() if config.optim.startswith(name)), None)
    return Plan(
        steps=steps,
        steps_an_epoch=an_epoch,
        warmup=_warmup(config, steps),
        conversations_a_step=config.step * number,
        base_parameters=outline.base_parameters,
        trained_parameters=trained_parameters,
        base_bytes=outline.base_bytes,
        adapter_bytes=None
        if state is None
        else trained_parameters * (4 + 4 + state),  # float32, gradients
        architecture=outline.architecture,
        vocabulary=outline.vocabulary,
        backend=backend,
        hardware=run.hardware(),
        processes=number,
    )


def steps_an_epoch(config: Config, rows: int, number: int) -> int:
    """Optimiser steps in which `number` processes read all rows once.

    Raises:
        ImmuneError: only full batches count, and there are too few rows for one per process.
    """
    batch = config.step if config.packing else config.per_device_train_batch_size
    turns = 1 if config.packing else config.gradient_accumulation_steps
    if config.dataloader_drop_last:
        batches: float = rows // batch // number
    else:
        batches = (rows + blanks(rows, batch, number)) / batch / number
    if not batches:
        raise ImmuneError(
            f"dataloader_drop_last=true drops all of {counted(rows, 'train record')}, because no "
            f"batch of {batch * number} is full: leave it out"
        )
    return math.ceil(math.ceil(batches) / turns)


def _warmup(config: Config, steps: int) -> int:
    warmup = config.warmup_steps
    return math.ceil(warmup * steps) if warmup < 1 else int(warmup)


def show(plan: Plan, config: Config) -> None:
    """Print the plan."""
    epochs = plan.steps / plan.steps_an_epoch
    warmup = f", the first {plan.warmup:,} to warm up" if plan.warmup else ""
    print(
        f"{counted(plan.steps, 'step')} of {counted(plan.conversations_a_step, 'conversation')}: "
        f"{epochs:.3g} {are(epochs, 'epoch', 'epochs')} of "
        f"{counted(plan.steps_an_epoch, 'step')}{warmup}"
    )
    if plan.processes > 1:
        per_process = plan.conversations_a_step // plan.processes
        print(
            f"{plan.processes} processes share the work: each takes {per_process} of the "
            f"{plan.conversations_a_step} conversations of a step"
        )
    share = plan.trained_parameters / plan.base_parameters
    print(
        f"{plan.trained_parameters:,} parameters are trained, {share:.1%} of the base's "
        f"{plan.base_parameters:,}, by {plan.backend} on {plan.hardware}"
    )
    adapter = (
        ""
        if plan.adapter_bytes is None
        else (f" and {_size(plan.adapter_bytes)} for the adapter, its gradients and optimiser")
    )
    print(
        f"memory: {_size(plan.base_bytes)} for the base's weights{adapter}; the activations of a "
        "step come on top"
    )


def _size(number: int) -> str:
    mib = number / (1 << 20)
    return f"{mib:.0f} MiB" if mib < 1000 else f"{mib / 1024:.1f} GiB"
