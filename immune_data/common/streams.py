"""The standard streams as commands need them: any text in, something printed out, come what may.

What a terminal's encoding lacks is written as an escape, and so is what would move its cursor,
colour it or show another text than is there, since what a command prints may come from data. What
we mean to style is printed to `styled`. A stream that is closed, or whose reader goes away, neither
stops the work nor changes its exit code; only a command whose product is what it prints ends with
its reader.
"""

from __future__ import annotations

import codecs
import errno
import io
import json
import os
import re
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from immune_data.common.text import UNSEEN

_ESCAPE = "immune-escape"
# A stream in one of these ways has nobody who waits for what is printed.
_NOBODY = {errno.EPIPE, errno.EBADF, errno.EIO}


class ReaderGone(BaseException):
    """Nobody reads what is printed any more, and nothing else is wanted of this command."""


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Characters that an encoding lacks as JSON writes them, so that JSON stays JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(_ESCAPE, _escaped)


class _Descriptor(io.RawIOBase):
    """An open file to print to; what can no longer be written to it is dropped."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.error: OSError | None = None
        self.for_reader = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: Any) -> int:
        while self.error is None:
            try:
                return os.write(self._number, data)
            except BlockingIOError:  # whoever shares it made it so
                select.select([], [self._number], [])
            except OSError as error:
                self.error = error
        if self.for_reader:
            raise ReaderGone
        return len(data)


class _Text(io.TextIOWrapper):
    """Text to print, what cannot be seen in it escaped as in JSON, so that JSON stays JSON."""

    harmless = ""  # characters that pass all the same

    def write(self, text: str) -> int:
        super().write(UNSEEN.sub(self._escaped, text))
        return len(text)

    def _escaped(self, found: re.Match[str]) -> str:
        return found[0] if found[0] in self.harmless else json.dumps(found[0])[1:-1]


class _Styled:
    """A stream to print escapes of our own to, of which no text of others is a part."""

    def __init__(self, stream: _Text) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return io.TextIOWrapper.write(self._stream, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def styled(stream: TextIO) -> TextIO:
    """A standard stream for what is styled: the text in it has been made visible before."""
    return cast("TextIO", _Styled(stream)) if isinstance(stream, _Text) else stream


class Printed:
    """What became of the text that was printed."""

    def __init__(self, descriptor: _Descriptor | None) -> None:
        self._descriptor = descriptor

    @property
    def lost_to(self) -> str | None:
        """Why text that somebody waits for was lost: a full disk, say."""
        error = self._descriptor.error if self._descriptor else None
        return None if error is None or error.errno in _NOBODY else error.strerror


@contextmanager
def patient() -> Iterator[Printed]:
    """Standard streams that take any text and outlive their readers.

    Streams that somebody has put in the place of Python's own are left as they are.
    """
    before = sys.stdin, sys.stdout, sys.stderr
    _fill_gaps()
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123
    out = None
    if sys.stdout is sys.__stdout__ or sys.stdout is None:
        sys.stdout, out = _printing(sys.stdout, 1)
    if sys.stderr is sys.__stderr__ or sys.stderr is None:
        sys.stderr, _ = _printing(sys.stderr, 2)
        sys.stderr.harmless = "\r"  # the progress bars of libraries begin a line anew
    try:
        yield Printed(out)
    finally:
        try:
            for stream, other in ((sys.stdout, before[1]), (sys.stderr, before[2])):
                if stream is not other:
                    stream.flush()
        finally:
            sys.stdin, sys.stdout, sys.stderr = before


def _fill_gaps() -> None:
    """Open what is closed of the three, or the next file opened, a database say, is printed to."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # what is opened gets the lowest number that is free
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _printing(stream: Any, number: int) -> tuple[_Text, _Descriptor]:
    if stream is not None:
        stream.flush()
        number = stream.fileno()
    descriptor = _Descriptor(number)
    made = _Text(
        io.BufferedWriter(descriptor),
        encoding=stream.encoding if stream is not None else "utf-8",
        errors=_ESCAPE,
        line_buffering=number == 2 or descriptor.isatty(),
    )
    return made, descriptor


@contextmanager
def for_reader() -> Iterator[None]:
    """In here, what is printed is all that is wanted: without a reader the command ends.

    Raises:
        ReaderGone: the reader went away.
    """
    descriptor = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(descriptor, _Descriptor):
        yield
        return
    descriptor.for_reader = True
    try:
        yield
        sys.stdout.flush()
    finally:
        descriptor.for_reader = False


def for_programs() -> None:
    """Print UTF-8 from here on, whatever a terminal shows: what programs read is defined so."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors=_ESCAPE)
