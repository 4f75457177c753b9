"""Runs of `immune_train.sft` in processes of their own, without the seconds of starting one.

Each is a fork of a process that has imported everything and computed nothing. It is as real as one
that is started anew: it can be signalled and killed, and what it says goes to a file.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import pytest


@functools.cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["imports_of_training"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        patch.setenv("OMP_NUM_THREADS", "1")
        forkserver.ensure_running()
    return context


def start(folder: Path, function: Callable[..., object], *arguments: object) -> ForkServerProcess:
    """A process that ends with the exit code `function(*arguments)`.

    What it prints is in `folder`, in `stdout` and `stderr`.
    """
    process = _context().Process(target=_run, args=(folder, function, *arguments))
    process.start()
    return process


def _run(folder: Path, function: Callable[..., int | None], *arguments: object) -> None:
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        with (folder / name).open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    sys.exit(function(*arguments))


def train(arguments: Sequence[str]) -> int:
    """As `python -m immune_train.sft ARGUMENTS…`."""
    import torch

    from immune_train.sft import __main__ as sft

    # In one thread: in several at once torch may trip over the threads that a fork does not have.
    torch.set_num_threads(1)
    return sft.main(arguments)


def train_in_two(arguments: Sequence[str]) -> None:
    """As `torchrun --nproc-per-node 2 -m immune_train.sft ARGUMENTS…`, whose agent it is."""
    from torch.distributed.launcher import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        run_id="test",
        max_restarts=0,
        start_method="fork",
    )
    elastic_launch(config, _exit)(arguments)


def _exit(arguments: Sequence[str]) -> None:
    if code := train(arguments):
        sys.exit(code)
