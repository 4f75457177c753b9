"""Which process of a run this one is, as torchrun says in the environment."""

from __future__ import annotations

import os

from immune_data.common.errors import ImmuneError

_OF_MANY = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_NUMBERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE")


def check() -> None:
    """See that the environment is that of a process alone, or all that torchrun gives to each.

    The libraries read these variables too, each in its own way; where this process is alone they
    are taken out.

    Raises:
        ImmuneError: they say half of it, or what cannot be.
    """
    found = {name: os.environ.get(name, "").strip() for name in _OF_MANY}
    given = {name: value for name, value in found.items() if value}
    for name in _NUMBERS:
        # torch.distributed and accelerate write -1 for a process that is alone.
        if name in given and not given[name].removeprefix("-").isdecimal():
            raise ImmuneError(f"{name}={given[name]} in the environment is not a number: unset it")
    rank, local, number = (
        int(given.get(name, default)) for name, default in zip(_NUMBERS, "001", strict=True)
    )
    if number <= 1:
        if rank > 0 or local > 0:
            name = "RANK" if rank > 0 else "LOCAL_RANK"
            raise ImmuneError(
                f"{name}={given[name]} in the environment says that this is one of several "
                "processes, and WORLD_SIZE does not say of how many: start them with torchrun, or "
                f"unset {name}"
            )
        for name in _OF_MANY:
            os.environ.pop(name, None)
        return
    missing = [name for name in _OF_MANY if name not in given]
    if missing:
        raise ImmuneError(
            f"WORLD_SIZE={number} in the environment says that this is one of {number} processes, "
            f"but {' and '.join(missing)} is not set: start them with torchrun, or unset WORLD_SIZE"
        )
    if not 0 <= rank < number or not 0 <= local < number:
        raise ImmuneError(
            f"RANK={rank} and LOCAL_RANK={local} in the environment cannot be of WORLD_SIZE="
            f"{number} processes: start them with torchrun, or unset all three"
        )


def number() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE") or "1")


def is_first() -> bool:
    """Whether this process is the one that speaks and writes."""
    return int(os.environ.get("RANK") or "0") == 0
