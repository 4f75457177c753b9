"""Runs that are killed while they make what follows training: before a file is given its name."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import warm

from immune_data.common import processes

# What follows training, in order.
PRODUCTS = ("adapter", "trained.json", "curves.svg", "merged_16bit", "gguf/export.json")


@contextmanager
def before_naming(output: Path, act: Callable[[int, int], None]) -> Iterator[None]:
    """Call `act` each time before a file is given its name.

    It is told how many files have theirs by then, and how many of the run's PRODUCTS are there.
    """
    files = 0

    def then(rename: Callable[..., None]) -> Callable[..., None]:
        def renamed(*names: Any, **named: Any) -> None:
            nonlocal files
            act(files, sum((output / name).exists() for name in PRODUCTS))
            files += 1
            rename(*names, **named)

        return renamed

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "rename"):
            patch.setattr(os, name, then(getattr(os, name)))
        yield


def kill(output: Path, products: int, arguments: Sequence[str]) -> int:
    """Go on with a run until so many products are there, and be killed before the next file."""

    def act(_: int, there: int) -> None:
        if there == products:
            os.kill(os.getpid(), signal.SIGKILL)

    processes.apart = lambda function, *rest, **named: function(*rest, **named)
    with before_naming(output, act):
        return warm.train(arguments)
