"""Events on disk instead of in memory: an event in, its place in a file out, and back.

The database contains only the fields by which events are linked and ordered; the rest is read once,
when the event is written.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from immune_data.contract.alerts import Event

_BUFFER = 1 << 20


class Spool(AbstractContextManager):
    """A file of events."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=_BUFFER)
        self._end = 0
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Event).decode

    def add(self, event: Event) -> tuple[int, int]:
        """Append an event and return its start and its length."""
        data = self._encode(event)
        begin, self._end = self._end, self._end + self._file.write(data)
        return begin, len(data)

    def flush(self) -> None:
        """Make all events that were added available to `get`."""
        self._file.flush()

    def get(self, begin: int, length: int) -> Event:
        return self._decode(os.pread(self._file.fileno(), length, begin))

    def __exit__(self, *_: object) -> None:
        self._file.close()
