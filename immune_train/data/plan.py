"""What a run will take, before any weight is loaded: settings, rows and a base in, a plan out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from immune_data.common.errors import ImmuneError
from immune_data.common.text import are, counted
from immune_train.artifacts import run
from immune_train.configs import Config, processes
from immune_train.data.order import blanks

# Bytes of an optimiser's memory for each weight; of others than these nothing is said.
_STATES = {"adamw_8bit": 2, "adamw_bnb_8bit": 2, "paged_adamw_8bit": 2, "sgd": 0, "adamw": 8}


@dataclass(frozen=True)
class Outline:
    """What a base model and a fresh adapter on it hold; `base_bytes` as the settings load it."""

    base_parameters: int
    trained_parameters: int
    base_bytes: int
    architecture: str
    vocabulary: int


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
    processes: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def warnings(self) -> list[str]:
        found = []
        if self.warmup >= self.steps:
            found.append(
                f"the learning rate is still rising when the run ends: "
                f"{counted(self.warmup, 'step')} of warm-up, {self.steps:,} in all; lower "
                "warmup_steps"
            )
        if self.architecture != "qwen2":
            found.append(
                f"the base is a {self.architecture} model: export, generate and the memory "
                "figures are for Qwen2 models"
            )
        return found


def make(config: Config, rows: int, backend: str, outline: Outline) -> Plan:
    """The plan of a run on so many rows.

    Raises:
        ImmuneError: no batch would be full.
    """
    number = processes.number()
    an_epoch = steps_an_epoch(config, rows, number)
    steps = (
        config.max_steps if config.max_steps > 0 else math.ceil(config.num_train_epochs * an_epoch)
    )
    trained = outline.trained_parameters
    state = next((size for name, size in _STATES.items() if config.optim.startswith(name)), None)
    return Plan(
        steps=steps,
        steps_an_epoch=an_epoch,
        warmup=_warmup(config, steps),
        conversations_a_step=config.step * number,
        base_parameters=outline.base_parameters,
        trained_parameters=trained,
        base_bytes=outline.base_bytes,
        adapter_bytes=None if state is None else trained * (4 + 4 + state),  # float32, gradients
        architecture=outline.architecture,
        vocabulary=outline.vocabulary,
        backend=backend,
        hardware=run.hardware(),
        processes=number,
    )


def steps_an_epoch(config: Config, rows: int, number: int) -> int:
    """Optimiser steps in which so many processes read so many rows once.

    Raises:
        ImmuneError: there are fewer rows than a full batch of each process, and only such count.
    """
    batch = config.step if config.packing else config.per_device_train_batch_size
    turns = 1 if config.packing else config.gradient_accumulation_steps
    if config.dataloader_drop_last:
        batches: float = rows // batch // number
    else:
        batches = (rows + blanks(rows, batch, number)) / batch / number
    if not batches:
        raise ImmuneError(
            f"dataloader_drop_last=true leaves nothing of {counted(rows, 'train record')}: no "
            f"batch of {batch * number} is full; leave it out"
        )
    return math.ceil(math.ceil(batches) / turns)


def _warmup(config: Config, steps: int) -> int:
    given = config.warmup_steps
    return math.ceil(given * steps) if given < 1 else int(given)


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
        each = plan.conversations_a_step // plan.processes
        print(
            f"{plan.processes} processes share the work: each takes {each} of the "
            f"{plan.conversations_a_step} conversations of a step"
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
