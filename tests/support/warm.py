"""Commands in processes of their own, without the seconds of starting one.

Each is a fork of a process that has imported everything and computed nothing. It is as real as one
that is started anew: it can be signalled and killed, and what it says goes to a file, or, of those
that a shell starts, to its streams.
"""

from __future__ import annotations

import atexit
import functools
import marshal
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any, TextIO

import pytest
import warm_command

from immune_data.common import cli, processes


@functools.cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["warm_imports"])
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


def apart(function: Callable[..., Any], *arguments: object, **keywords: object) -> Any:
    """As `processes.apart`."""
    ours, theirs = _context().Pipe()
    with ours:
        process = _context().Process(target=_tell, args=(theirs, function, arguments, keywords))
        process.start()
        theirs.close()
        succeeded, result = ours.recv()
        process.join()
    if not succeeded:
        raise result
    return result


def _tell(
    connection: Connection, function: Callable[..., Any], arguments: Any, keywords: Any
) -> None:
    import torch

    torch.set_num_threads(1)
    connection.send(processes.outcome(function, *arguments, **keywords))


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


def emit_with_workers(arguments: Sequence[str]) -> int:
    """As `python -m immune_data.emit ARGUMENTS…`, with workers where they would not be worth it."""
    from immune_data.emit import __main__ as emit
    from immune_data.emit import build

    build._WORTH_WORKERS = 0
    return emit.main(arguments)


# Commands that a shell starts


@functools.cache
def commands() -> list[str]:
    """What stands for `python -m` before a command's module and arguments.

    What the interpreter makes of its environment when it starts is as it is here, but for
    PYTHONIOENCODING.
    """
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    path = folder / "socket"
    server = start(folder, _serve, str(path))
    atexit.register(server.kill)
    while not path.exists() and server.is_alive():
        time.sleep(0.01)
    assert path.exists(), (folder / "stderr").read_text()
    return [sys.executable, "-SE", warm_command.__file__, str(path)]


def _serve(path: str) -> None:
    """Fork a process for each caller."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{path}.unfinished")
        server.listen()
        Path(f"{path}.unfinished").rename(path)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
        server.settimeout(1)
        parent = os.getppid()
        while os.getppid() == parent:  # until the tests are over, however they end
            try:
                caller, _ = server.accept()
            except TimeoutError:
                continue
            if not os.fork():
                server.close()
                _answer(caller)
            caller.close()


def _answer(caller: socket.socket) -> None:
    """Run a caller's command, tell it the exit code, and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = None
    try:
        size, opened, *_ = socket.recv_fds(caller, 4, 3)
        message = caller.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)
        child = os.fork()
        if child == 0:
            _become(opened, *marshal.loads(message))
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            caller.sendall(bytes([os.WEXITSTATUS(status)]))
    finally:
        if child != 0:
            os._exit(0)


def _become(
    opened: list[int],
    words: tuple[str, ...],
    folder: str,
    environment: dict[str, str],
    of: list[int],
) -> None:
    """Run a command with these open files as the streams of these numbers."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number in range(3):
        os.close(number)
    for number, descriptor in zip(of, opened, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = sys.__stdin__ = _stream(0, "r")
    sys.stdout = sys.__stdout__ = _stream(1, "w")
    sys.stderr = sys.__stderr__ = _stream(2, "w")
    module, *arguments = words
    sys.argv = [module, *arguments]
    sys.exit(cli.module(module).main(arguments))


def _stream(number: int, mode: str) -> TextIO | None:
    """A standard stream as the interpreter makes it."""
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
    with suppress(OSError):
        os.fstat(number)
        return open(
            number, mode, encoding=encoding or "utf-8", errors=errors or None, closefd=False
        )
    return None
