"""The standard streams as commands need them: any text in, harmless output out, whatever happens.

Characters missing from a terminal's encoding are written as escapes, and so are those that would
move its cursor, colour it or make a text look like another one, since what a command prints may
come from data. Text with styles of our own is printed to `styled`. A stream that is closed, or
whose reader goes away, neither stops the work nor changes its exit code; only a command whose
product is its output ends with its reader.
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
# After one of these errors, nobody waits for what is printed.
_NOBODY = {errno.EPIPE, errno.EBADF, errno.EIO}


class ReaderGone(BaseException):
    """Nobody reads the output any more, which is all that this command is for."""


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Characters missing from an encoding as JSON escapes, so that JSON stays JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(_ESCAPE, _escaped)


class _Descriptor(io.RawIOBase):
    """An open file to print to; text that can no longer be written is dropped."""

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
            except BlockingIOError:  # another process that shares it made it non-blocking
                select.select([], [self._number], [])
            except OSError as error:
                self.error = error
        if self.for_reader:
            raise ReaderGone
        return len(data)


class _Text(io.TextIOWrapper):
    """Text to print, its invisible characters escaped as in JSON, so that JSON stays JSON."""

    allowed = ""  # invisible characters that are printed as they are

    def write(self, text: str) -> int:
        super().write(UNSEEN.sub(self._escaped, text))
        return len(text)

    def _escaped(self, match: re.Match[str]) -> str:
        return match[0] if match[0] in self.allowed else json.dumps(match[0])[1:-1]


class _Styled:
    """A stream for text with escapes of our own, into which no text from data goes unescaped."""

    def __init__(self, stream: _Text) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return io.TextIOWrapper.write(self._stream, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def styled(stream: TextIO) -> TextIO:
    """A standard stream for styled text, whose invisible characters were escaped before."""
    return cast("TextIO", _Styled(stream)) if isinstance(stream, _Text) else stream


class Output:
    """The standard output of a command, and whether it was written."""

    def __init__(self, descriptor: _Descriptor | None) -> None:
        self._descriptor = descriptor

    @property
    def failure(self) -> str | None:
        """Why output that somebody waits for was lost: a full disk, for example."""
        error = self._descriptor.error if self._descriptor else None
        return None if error is None or error.errno in _NOBODY else error.strerror


@contextmanager
def patient() -> Iterator[Output]:
    """Standard streams that take any text and outlive their readers.

    Streams that have replaced Python's own are left as they are.
    """
    originals = sys.stdin, sys.stdout, sys.stderr
    _fill_gaps()
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123
    out = None
    if sys.stdout is sys.__stdout__ or sys.stdout is None:
        sys.stdout, out = _printing(sys.stdout, 1)
    if sys.stderr is sys.__stderr__ or sys.stderr is None:
        sys.stderr, _ = _printing(sys.stderr, 2)
        sys.stderr.allowed = "\r"  # the progress bars of libraries rewrite their line
    try:
        yield Output(out)
    finally:
        try:
            for stream, original in ((sys.stdout, originals[1]), (sys.stderr, originals[2])):
                if stream is not original:
                    stream.flush()
        finally:
            sys.stdin, sys.stdout, sys.stderr = originals


def _fill_gaps() -> None:
    """Open those of the three that are closed, lest we print into the next file that is opened."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # a file that is opened gets the lowest free number
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _printing(stream: Any, number: int) -> tuple[_Text, _Descriptor]:
    if stream is not None:
        stream.flush()
        number = stream.fileno()
    descriptor = _Descriptor(number)
    text = _Text(
        io.BufferedWriter(descriptor),
        encoding=stream.encoding if stream is not None else "utf-8",
        errors=_ESCAPE,
        line_buffering=number == 2 or descriptor.isatty(),
    )
    return text, descriptor


@contextmanager
def for_reader() -> Iterator[None]:
    """In its context the output is the command's whole product: without a reader it ends.

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


def use_utf8() -> None:
    """Print UTF-8 from here on, whatever the terminal's encoding: programs expect it."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors=_ESCAPE)
