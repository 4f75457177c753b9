"""Work for several processes: items in, results out in the order of the items.

Tokenising holds Python's lock between short calls, so processes help where threads do not. The
number of processes never changes a result. A `Pool` is anything that takes such work: processes of
this machine, started here, or a cluster's (`common/cluster.py`).
"""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from immune_data.common import signals, streams
from immune_data.common.errors import ImmuneError

Item = TypeVar("Item")
Result = TypeVar("Result")

Made = TypeVar("Made", covariant=True)

# Items that processes of this machine have in flight; more of them would idle.
AHEAD = 4

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as in glibc's malloc.h

_OWN_CGROUPS = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


class Pending(Protocol[Made]):
    """The result of a submitted call, which may not be ready yet."""

    def result(self) -> Made: ...


class Pool(Protocol):
    """Workers that take calls as they become free.

    A call travels with its arguments: a worker may lie on another machine.
    """

    @property
    def ahead(self) -> int:
        """How many items to have in flight; each of them is kept in memory."""

    def submit(self, function: Callable[[Item], Result], item: Item, /) -> Pending[Result]: ...


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
    """The processors that each control group of this process allows it, where there is a limit."""
    with suppress(OSError, ValueError):
        for line in _OWN_CGROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":  # version 2
                roots, version = [_CGROUPS], 2
            elif "cpu" in controllers.split(","):
                roots, version = [_CGROUPS / controllers, _CGROUPS / "cpu"], 1
            else:
                continue
            # In a container the path may be the host's; then only its root exists here.
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


class Killed(ImmuneError):
    """A process of ours was killed: the kernel kills the largest one when memory runs out."""


class _Worker:
    """A process that runs one call after the other, and ends with ours.

    We talk to it over a pipe. The queues of multiprocessing need semaphores in /dev/shm, which may
    be full or read-only.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        with theirs:
            self._process = context.Process(target=_serve, args=(theirs,))
            # Ctrl-C is ours to handle, also while the process starts: it inherits the mask. The
            # resource tracker is started before that, since starting it resets the mask. And we
            # handle it afterwards: a process that does not get all it needs to start complains.
            with signals.postponed():
                resource_tracker.ensure_running()
                before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
                try:
                    self._process.start()
                finally:
                    signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def call(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """`function(…)`, run there.

        Raises:
            Killed: the process has ended.
        """
        try:
            self._connection.send((function, arguments, keywords))
            done, result = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise Killed(
                f"a process that this run had started ended before its work (exit code "
                f"{self._process.exitcode}), as when the system kills one because memory runs "
                "out: close other programs and run again"
            ) from None
        if done:
            return result
        raise result

    def kill(self) -> None:
        self._process.terminate()

    def end(self) -> None:
        self._connection.close()
        self._process.join()


def _follow(parent: int) -> None:
    """End when the parent process ends."""
    wait([parent])
    os._exit(1)


def _serve(connection: Connection) -> None:
    """Run calls until there are no more, or the parent process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker is started by a process"
    threading.Thread(target=_follow, args=[parent.sentinel], daemon=True).start()
    with streams.patient():
        while True:
            try:
                function, arguments, keywords = connection.recv()
            except EOFError:
                return
            connection.send(outcome(function, *arguments, **keywords))


def outcome(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> tuple[bool, Any]:
    """Whether `function(…)` succeeded, and its result or its error."""
    try:
        return True, function(*arguments, **keywords)
    except Exception as error:
        error.add_note(traceback.format_exc())
        return False, error


class _Processes:
    """Processes of this machine as a `Pool`."""

    ahead = AHEAD

    def __init__(self, workers: Sequence[_Worker]) -> None:
        self._threads = ThreadPoolExecutor(len(workers))  # one waits for each
        self._free: SimpleQueue[_Worker] = SimpleQueue()
        for worker in workers:
            self._free.put(worker)

    def submit(
        self, function: Callable[..., Result], /, *arguments: Any, **keywords: Any
    ) -> Future[Result]:
        return self._threads.submit(self._call, function, *arguments, **keywords)

    def _call(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        worker = self._free.get()
        try:
            return worker.call(function, *arguments, **keywords)
        finally:
            self._free.put(worker)

    def end(self) -> None:
        self._threads.shutdown(cancel_futures=True)


@contextmanager
def workers(processes: int, begin: Callable[[], None] | None = None) -> Iterator[Pool | None]:
    """A pool of `processes` workers, or None for one: then `in_order` works in this process.

    There are never more of them than items in flight. Each calls `begin` before its first item.
    """
    processes = min(processes, AHEAD)
    if processes < 2:
        yield None
        return
    with _started(processes) as started:
        if not started:
            yield None
            return
        pool = _Processes(started)
        if begin is not None:  # it takes them a while to start
            for _ in started:
                pool.submit(begin)
        try:
            yield pool
        except BaseException:
            for worker in started:  # nobody needs what they are working on
                worker.kill()
            raise
        finally:
            pool.end()


@contextmanager
def _started(processes: int) -> Iterator[list[_Worker]]:
    """As many workers as the system lets us start, at most `processes`."""
    workers: list[_Worker] = []
    try:
        with suppress(OSError):
            for _ in range(processes):
                workers.append(_Worker())
        yield workers
    finally:
        for worker in workers:
            worker.end()


def give_back() -> None:
    """Have the C library give large pieces of memory back to the system once they are free.

    By itself it keeps pieces as large as the largest that was ever free, up to 32 MB. Of small
    pieces it may keep 16 MB: it would ask for the same pages again and again.
    """
    with suppress(OSError, AttributeError):  # a C library of another kind
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 1 << 22)
        mallopt(_TRIM_THRESHOLD, 1 << 24)


def release() -> None:
    """Give our free memory back to the system, as far as libraries let us."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # a C library of another kind
        ctypes.CDLL(None).malloc_trim(0)


def apart(function: Callable[..., Result], *arguments: object, **keywords: object) -> Result:
    """`function(…)` in a process of its own, with its own memory, which ends with ours."""
    worker = _Worker()
    try:
        return worker.call(function, *arguments, **keywords)
    except BaseException:
        worker.kill()
        raise
    finally:
        worker.end()


def in_order(
    pool: Pool | None, function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """`function(item)` of each item, in order, at most `pool.ahead` items in flight."""
    if pool is None:
        yield from map(function, items)
        return
    pending: deque[Pending[Result]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        while len(pending) >= pool.ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


@contextmanager
def behind(calls: int = 2) -> Iterator[Callable[..., None]]:
    """`do(function, *arguments)` in another thread, in order, at most `calls` behind this one.

    For work that releases Python's lock: compressing, writing. The error of a call is raised by a
    later one, or at the end, which waits for all of them.
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
