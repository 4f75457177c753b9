"""Which process of a run this one is: torchrun's environment variables in, numbers out."""

from __future__ import annotations

import os

from immune_data.common.errors import ImmuneError

_OF_MANY = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_NUMBERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE")


def check() -> None:
    """Check that torchrun's environment variables are complete, or that this is the only process.

    The libraries read these variables too, each in its own way, so they are removed if this is the
    only process.

    Raises:
        ImmuneError: the variables are incomplete or contradict each other.
    """
    environment = {name: os.environ.get(name, "").strip() for name in _OF_MANY}
    values = {name: value for name, value in environment.items() if value}
    for name in _NUMBERS:
        # torch.distributed and accelerate write -1 if there is only one process.
        if name in values and not values[name].removeprefix("-").isdecimal():
            raise ImmuneError(f"{name}={values[name]} in the environment is not a number: unset it")
    rank, local, number = (
        int(values.get(name, default)) for name, default in zip(_NUMBERS, "001", strict=True)
    )
    if number <= 1:
        if rank > 0 or local > 0:
            name = "RANK" if rank > 0 else "LOCAL_RANK"
            raise ImmuneError(
                f"{name}={values[name]} in the environment says that this is one of several "
                "processes, but WORLD_SIZE does not say how many: start them with torchrun, or "
                f"unset {name}"
            )
        for name in _OF_MANY:
            os.environ.pop(name, None)
        return
    missing = [name for name in _OF_MANY if name not in values]
    if missing:
        raise ImmuneError(
            f"WORLD_SIZE={number} in the environment says that this is one of {number} processes, "
            f"but {' and '.join(missing)} is not set: start them with torchrun, or unset WORLD_SIZE"
        )
    if not 0 <= rank < number or not 0 <= local < number:
        raise ImmuneError(
            f"RANK={rank}, LOCAL_RANK={local} and WORLD_SIZE={number} in the environment "
            "contradict each other: start the processes with torchrun, or unset all three"
        )


def number() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE") or "1")


def is_first() -> bool:
    """Whether this is the process that prints and writes files."""
    return int(os.environ.get("RANK") or "0") == 0
