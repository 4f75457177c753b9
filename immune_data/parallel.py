"""Work for several processes: items in, results out in the order of the items.

Tokenising holds Python's lock between short calls, so processes help where threads do not. The
number of processes never shows in a result.
"""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items that `in_order` has in flight, each of which is held in memory; more workers would idle.
AHEAD = 4

_OWN_CGROUPS = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


def processors() -> int:
    """How many processors this process may use: those it may run on, within its quota.

    A machine may have many more: batch systems and containers give a job some of them.
    """
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        allowed = os.cpu_count() or 1
    return max(1, math.ceil(min([allowed, *_quotas()])))


def _quotas() -> Iterator[float]:
    """The processors that each control group around this process may fill, where it says so."""
    with suppress(OSError, ValueError):
        for line in _OWN_CGROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":  # version 2
                roots, version = [_CGROUPS], 2
            elif "cpu" in controllers.split(","):
                roots, version = [_CGROUPS / controllers, _CGROUPS / "cpu"], 1
            else:
                continue
            # In a container the path may be the host's, of which only the root is there.
            inner = Path(path.lstrip("/"))
            for root in roots:
                for folder in (root / inner, *(root / outer for outer in inner.parents)):
                    with suppress(OSError, ValueError):
                        yield _quota(folder, version)


def _quota(folder: Path, version: int) -> float:
    if version == 2:
        quota, period = (folder / "cpu.max").read_text().split()
    else:
        quota, period = (
            (folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
        )
    # Without a limit the quota reads `max`, which is not a number, or -1.
    return int(quota) / int(period) if int(quota) > 0 else math.inf


def _start_worker() -> None:
    # Ctrl-C is the parent's to handle, and a worker must not outlive a parent that was killed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent:

        def follow() -> None:
            wait([parent.sentinel])
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()


def _read_vocabulary() -> None:
    from immune_data.tokens import encoding

    encoding()


@contextmanager
def workers(processes: int) -> Iterator[Executor | None]:
    """A pool of `processes` workers, or None for one: then `in_order` works in this process.

    There are never more of them than items in flight.
    """
    processes = min(processes, AHEAD)
    if processes < 2:
        yield None
        return
    pool = ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    for _ in range(processes):  # They start with the first call, and it takes them a while.
        pool.submit(_read_vocabulary)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def release() -> None:
    """Give memory that is free to us back to the system, as far as libraries let us."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # a C library of another kind
        ctypes.CDLL(None).malloc_trim(0)


def apart(function: Callable[..., Result], *arguments: object, **named: object) -> Result:
    """`function(…)` in a process of its own, whose memory is its alone, and that ends with ours."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_start_worker) as pool:
        return pool.submit(function, *arguments, **named).result()


def in_order(
    pool: Executor | None,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    ahead: int = AHEAD,
) -> Iterator[Result]:
    """`function(item)` of each item, in order, at most `ahead` items in flight."""
    if pool is None:
        yield from map(function, items)
        return
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


@contextmanager
def behind(calls: int = 2) -> Iterator[Callable[..., None]]:
    """`do(function, *arguments)` in a thread beside this one, in order, at most `calls` behind.

    For work that leaves Python's lock alone: compressing, writing. An error of a call comes up in
    a later one, or at the end, where all are done.
    """
    pending: deque[Future[None]] = deque()
    thread = ThreadPoolExecutor(1)

    def do(function: Callable[..., None], *arguments: object) -> None:
        pending.append(thread.submit(function, *arguments))
        if len(pending) > calls:
            pending.popleft().result()

    try:
        yield do
        while pending:
            pending.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)
