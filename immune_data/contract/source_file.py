"""Read source files strictly: a JSON file in, its records one by one out, in bounded memory.

A source file is a JSON array of objects, or one object that contains that array under `incidents`
and may have `"synthetic": true` next to it, plain or gzipped, in UTF-8 with or without a byte-order
mark. Keys are composed (NFC), since they are compared with names in the recipe; values stay as
they are. Any other file ends the run with a sentence that names the file and the row or byte;
nothing is guessed or skipped.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from immune_data.common.errors import ImmuneError
from immune_data.contract.json_values import Cursor

_CHUNK = 1 << 20
_KINDS = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}


@dataclass(frozen=True)
class Record:
    """One element of a source file's array.

    `row` counts from 1. `repeated_key` names a key that one of its objects has twice, which JSON
    allows and no reader can resolve; `text` is the element as it is in the file.
    """

    row: int
    value: dict[str, Any]
    text: str
    repeated_key: str | None


class Source:
    """A source file being read: iterate over its records, then read its facts.

    `rows`, `bytes` (of the file on disk), `sha256` (of exactly the bytes that were parsed) and
    `synthetic` (whether the file says that it was made up) are complete when the iteration is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self.bytes = 0
        self.synthetic = False
        self._size = 0
        self._sha256 = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def share(self) -> float:
        """How much of the file was read so far, from 0 to 1."""
        return self.bytes / max(1, self._size)

    def read(self, size: int = -1) -> bytes:
        """Raw bytes of the file, hashed as they are read (gzip calls this method)."""
        data = self._file.read(size)
        self._sha256.update(data)
        self.bytes += len(data)
        return data

    def __iter__(self) -> Iterator[Record]:
        try:
            self._file: BinaryIO = self.path.open("rb")
        except OSError as error:
            raise ImmuneError(f"cannot read {self.path}: {error.strerror}") from None
        with self._file:
            before = os.fstat(self._file.fileno())
            self._size = before.st_size
            yield from self._records(self._text())
            try:
                after = self.path.stat()
            except OSError:
                after = None
            if after is None or (before.st_ino, before.st_size, before.st_mtime_ns) != (
                after.st_ino,
                after.st_size,
                after.st_mtime_ns,
            ):
                raise ImmuneError(
                    f"{self.path} changed while it was read: run again once it is complete"
                )

    def _text(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        stream: Source | gzip.GzipFile = self
        if self.path.suffix == ".gz":  # calls `read` and nothing else
            stream = gzip.GzipFile(fileobj=cast(BinaryIO, self))
        decoded = 0
        while True:
            try:
                data = stream.read(_CHUNK)
            except EOFError:
                raise ImmuneError(
                    f"{self.path} is cut short (its gzip stream does not end): copy it again"
                ) from None
            except (gzip.BadGzipFile, zlib.error) as error:
                raise ImmuneError(f"{self.path} is not a valid gzip file ({error})") from None
            except OSError as error:
                raise ImmuneError(f"cannot read {self.path}: {error.strerror}") from None
            pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                raise ImmuneError(
                    f"{self.path} is not UTF-8 (byte {decoded - pending + error.start}): "
                    "convert it to UTF-8"
                ) from None
            decoded += len(data)
            if not data:
                return
            yield text

    def _records(self, chunks: Iterator[str]) -> Iterator[Record]:
        cursor = Cursor(self.path, chunks)
        cursor.skip_byte_order_mark()
        match cursor.peek():
            case "":
                raise ImmuneError(f"{self.path} is empty: it should be an array of incidents")
            case "[":
                yield from self._array(cursor)
                if cursor.peek():
                    raise cursor.error("continues after the end of its array")
            case "{":
                yield from self._object(cursor)
                if cursor.peek():
                    raise cursor.error(
                        "continues after the end of its first object (JSON Lines is not read): "
                        "put the objects into one array"
                    )
            case _:
                raise cursor.error("is neither a JSON array nor an object with `incidents`")

    def _array(self, cursor: Cursor) -> Iterator[Record]:
        cursor.take("[")
        if cursor.peek() == "]":
            cursor.take("]")
            return
        while True:
            self.rows += 1
            cursor.where = f"row {self.rows}, "
            value, text, repeated_key = cursor.value()
            if not isinstance(value, dict):
                kind = "null" if value is None else _KINDS.get(type(value), "a number")
                raise ImmuneError(f"{self.path}: row {self.rows} is {kind}, not an object")
            yield Record(self.rows, value, text, repeated_key)
            if cursor.peek() == "]":
                cursor.where = ""
                cursor.take("]")
                return
            cursor.take(",")

    def _object(self, cursor: Cursor) -> Iterator[Record]:
        cursor.take("{")
        keys: set[str] = set()
        while cursor.peek() != "}":
            key, _, _ = cursor.value() if cursor.peek() == '"' else (None, None, None)
            if not isinstance(key, str):
                raise cursor.error("has something other than a key here")
            cursor.take(":")
            if key in ("incidents", "synthetic") and key in keys:
                raise cursor.error(f"has `{key}` twice")
            keys.add(key)
            if key == "incidents":
                if cursor.peek() != "[":
                    raise cursor.error("has something other than an array under `incidents`")
                yield from self._array(cursor)
            else:
                value, _, _ = cursor.value()
                if key == "synthetic":
                    if not isinstance(value, bool):
                        raise cursor.error(
                            "has something other than true or false under `synthetic`"
                        )
                    self.synthetic = value
            if cursor.peek() != "}":
                cursor.take(",")
                if cursor.peek() == "}":
                    raise cursor.error("has a comma before its last `}`")
        cursor.take("}")
        if "incidents" not in keys:
            hint = " (JSON Lines is not read: put the objects into one array)"
            raise ImmuneError(
                f"{self.path} is an object without an `incidents` array"
                + (hint if cursor.peek() == "{" else "")
            )
