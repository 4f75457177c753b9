"""Requests to end the process: Ctrl-C, SIGTERM or a closed terminal in, `EndRequested` out.

With that, a command cleans up however it ends. Python handles a signal only between two steps of
its own; a library that is busy for longer is interrupted where possible, and otherwise the process
ends without waiting for it.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import FrameType
from typing import Any

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Seconds: a second signal within this time is the first one again, sent to the process and to its
# group; and the time that the main thread may take to handle one.
_AGAIN = 1.0
_PATIENCE = 5.0

_interruptible: list[Callable[[], Any]] = []
_unfinished: list[Path] = []
_postponing: list[None] = []  # an item for each context of `postponed` that a thread is in
_postponed: list[int] = []


class EndRequested(KeyboardInterrupt):
    """The process was asked to end.

    Python may end itself by SIGINT when a KeyboardInterrupt, and no subclass, was raised in `exec`.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def interruptible(interrupt: Callable[[], Any]) -> Iterator[None]:
    """In here, `interrupt` is called, from another thread, when the process is asked to end."""
    _interruptible.append(interrupt)
    try:
        yield
    finally:
        _interruptible.remove(interrupt)


@contextmanager
def unfinished(folder: Path) -> Iterator[None]:
    """In here, `folder` is removed if the process must end before the context does."""
    _unfinished.append(folder)
    try:
        yield
    finally:
        _unfinished.remove(folder)


@contextmanager
def postponed() -> Iterator[None]:
    """In here, nothing is raised when the process is asked to end; it is raised afterwards.

    For steps that take milliseconds and that must not end half-way. A mask of signals does not do
    that: another thread receives the signal, and Python still handles it in the main thread.
    """
    _postponing.append(None)
    try:
        yield
    finally:
        _postponing.pop()
        if _postponed and not _postponing:
            first = _postponed[0]
            _postponed.clear()  # what came after it would count as a second request later
            signal.raise_signal(first)


def sentence(number: int) -> str:
    """The message after a signal has ended a command."""
    how = "interrupted" if number == signal.SIGINT else "terminated"
    return f"{how}: no file is half-written; run again"


class Ending:
    """In its context the signals raise `EndRequested`; `received` is the first one.

    A signal that is ignored, as under nohup, or that has another handler, is left alone; also one
    that gets another handler meanwhile, such as that of a training loop which ends its step first.
    A second signal ends the process at once.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._received_at = 0.0
        self._handlers: dict[int, Any] = {}
        self._write_end: int | None = None
        self._deferred = False

    def __enter__(self) -> Ending:
        if threading.current_thread() is not threading.main_thread():
            return self
        read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        self._wakeup = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(read_end,), daemon=True).start()
        for number in _ENDING:
            handler = signal.getsignal(number)
            if handler in (signal.SIG_DFL, signal.default_int_handler):
                self._handlers[number] = handler
                signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        if self._write_end is None:
            return
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._write_end)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None and _postponing:
            _postponed.append(number)
        elif self.received is None and _loads_a_library(frame):
            self._deferred = True  # sent again by `_watch`
        elif self.received is None:
            self.received, self._received_at = number, now
            raise EndRequested(number)
        elif now - self._received_at > _AGAIN:
            os._exit(128 + self.received)

    def _watch(self, read_end: int) -> None:
        """Act on signals while the main thread is busy in a library."""
        with os.fdopen(read_end, "rb", buffering=0) as signals:
            while data := signals.read(1):
                number = data[0]
                if number not in self._handlers or signal.getsignal(number) != self._receive:
                    continue
                for interrupt in tuple(_interruptible):
                    with suppress(Exception):
                        interrupt()
                until = time.monotonic() + _PATIENCE
                while self.received is None and time.monotonic() < until:
                    time.sleep(0.05)
                    if self._deferred:
                        self._deferred = False
                        os.kill(os.getpid(), number)
                if self.received is None:
                    for folder in tuple(_unfinished):
                        shutil.rmtree(folder, ignore_errors=True)
                    with suppress(OSError):
                        os.write(2, f"{sentence(number)}\n".encode())
                    os._exit(128 + number)


def _loads_a_library(frame: FrameType | None) -> bool:
    """Whether compiled code is being loaded in this frame or a caller of it.

    An error that is raised there may abort the process.
    """
    while frame is not None:
        if isinstance(frame.f_locals.get("self"), ExtensionFileLoader):
            return True
        frame = frame.f_back
    return False
