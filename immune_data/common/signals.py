"""What asks a process to end: Ctrl-C, SIGTERM or a closed terminal in, `Asked` out.

So everything that was begun is tidied up, by whatever way a command ends. Python hears of a signal
only between two steps of its own; a library that is busy for longer is interrupted where it can be,
and else the process ends without it.
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

# Seconds: within these, a second signal is the first one once more, sent to the process and to its
# group; and so long the main thread may take to hear of one.
_AGAIN = 1.0
_PATIENCE = 5.0

_interruptible: list[Callable[[], Any]] = []
_unfinished: list[Path] = []


class Asked(KeyboardInterrupt):
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


def sentence(number: int) -> str:
    """What to say when a signal has ended a command."""
    how = "interrupted" if number == signal.SIGINT else "terminated"
    return f"{how}: no file is half-written; run again"


class Ending:
    """In its context the signals raise `Asked`; `received` is the first one that came.

    One that is ignored, as by nohup, or that something else handles, is left as it is; also one
    that something else comes to handle meanwhile, such as a training loop that ends its step first.
    A second signal ends the process at once.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._at = 0.0
        self._before: dict[int, Any] = {}
        self._written: int | None = None
        self._late = False

    def __enter__(self) -> Ending:
        if threading.current_thread() is not threading.main_thread():
            return self
        read, self._written = os.pipe()
        os.set_blocking(self._written, False)
        self._wakeup = signal.set_wakeup_fd(self._written, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(read,), daemon=True).start()
        for number in _ENDING:
            before = signal.getsignal(number)
            if before in (signal.SIG_DFL, signal.default_int_handler):
                self._before[number] = before
                signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        if self._written is None:
            return
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._written)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None and _loads_a_library(frame):
            self._late = True  # it would abort the process
        elif self.received is None:
            self.received, self._at = number, now
            raise Asked(number)
        elif now - self._at > _AGAIN:
            os._exit(128 + self.received)

    def _watch(self, read: int) -> None:
        """Hear of signals although the main thread is busy in a library."""
        with os.fdopen(read, "rb", buffering=0) as signals:
            while data := signals.read(1):
                number = data[0]
                if number not in self._before or signal.getsignal(number) != self._receive:
                    continue
                for interrupt in tuple(_interruptible):
                    with suppress(Exception):
                        interrupt()
                until = time.monotonic() + _PATIENCE
                while self.received is None and time.monotonic() < until:
                    time.sleep(0.05)
                    if self._late:
                        self._late = False
                        os.kill(os.getpid(), number)
                if self.received is None:
                    for folder in tuple(_unfinished):
                        shutil.rmtree(folder, ignore_errors=True)
                    with suppress(OSError):
                        os.write(2, f"{sentence(number)}\n".encode())
                    os._exit(128 + number)


def _loads_a_library(frame: FrameType | None) -> bool:
    """Whether compiled code is being loaded there."""
    while frame is not None:
        if isinstance(frame.f_locals.get("self"), ExtensionFileLoader):
            return True
        frame = frame.f_back
    return False
