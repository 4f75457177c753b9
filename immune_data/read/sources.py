"""Read source files strictly: a JSON file in, its records one by one out, in bounded memory.

A source file is a JSON array of objects, or one object that holds that array under `incidents`
and may say `"synthetic": true` beside it, plain or gzipped, in UTF-8 with or without a byte-order
mark. Keys are composed (NFC), since they are compared with names of the recipe; values stay as
they are. A file that is anything else ends the run with a sentence that names the file and the row
or byte; nothing is guessed or skipped.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from immune_data.common import textfile
from immune_data.common.errors import ImmuneError
from immune_data.recipes import JudgeRun, Recipe

_CHUNK = 1 << 20
_WHITE_SPACE = " \t\n\r"
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_KINDS = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}


@dataclass(frozen=True)
class Record:
    """One element of a source file's array.

    `row` counts from 1. `repeated_key` names a key that one of its objects holds twice, which
    JSON allows and no reader can resolve; `text` is the element as it stands in the file.
    """

    row: int
    value: dict[str, Any]
    text: str
    repeated_key: str | None


@dataclass(frozen=True)
class InputFile:
    """A source file that is there: its declared name, role, path, and judge run if it is one."""

    name: str
    role: str
    path: Path
    run: JudgeRun | None = None


def input_files(folder: Path, recipe: Recipe) -> list[InputFile]:
    """The source files of `recipe` found in `folder`, datasets first, in order of precedence.

    Raises:
        ImmuneError: a file is missing, there in both forms, or beside one it stands instead of.
    """
    declared = recipe.sources
    files = [
        InputFile(name, role, find(folder, name))
        for name, role in (
            (declared.summaries, "summaries"),
            (declared.cause_risk, "cause_risk"),
        )
    ]
    found = {
        run.file: path
        for run in declared.judge_runs
        if (path := find(folder, run.file, optional=True))
    }
    replaced = {}
    for run in declared.judge_runs:
        if run.file not in found:
            continue
        for other in run.instead_of:
            if other in found:
                raise ImmuneError(
                    f"{found[run.file]} stands instead of {found[other]}: remove one of them"
                )
            replaced[other] = run.file
    for run in declared.judge_runs:
        if run.file in found:
            files.append(InputFile(run.file, f"{run.judges} judge", found[run.file], run))
        elif not run.optional and run.file not in replaced:
            find(folder, run.file)
    for kind in ("summary", "cause_risk"):
        if not any(file.run and file.run.judges == kind for file in files):
            raise ImmuneError(f"{folder} holds no file of a {kind} judge")
    return files


def find(folder: Path, name: str, *, optional: bool = False) -> Path | None:
    """The path of source file `name` in `folder`, plain or as `name.gz`; None if optional.

    Raises:
        ImmuneError: the folder or the file is missing, or both forms of the file are there.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise ImmuneError(
            f"source folder {folder} {what}: name yours with --source, "
            "or write a sample corpus with `python -m immune_data.sample`"
        )
    forms = (name, f"{name}.gz")
    if name.isascii():
        found = [folder / form for form in forms if (folder / form).is_file()]
    else:  # the file system may hold the name decomposed
        found = sorted(path for path in _listed(folder) if textfile.composed(path.name) in forms)
    if len(found) == 2:
        raise ImmuneError(f"both {found[0]} and {found[1]} exist: remove one of them")
    if not found and not optional:
        raise ImmuneError(f"source file {name} (or {name}.gz) is missing from {folder}")
    return found[0] if found else None


def _listed(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        raise ImmuneError(f"cannot read {folder}: {error.strerror}") from None


class Source:
    """A source file being read: iterate over its records, then ask for its facts.

    `rows`, `bytes` (of the file as it lies on disk), `sha256` (of the very bytes that were
    parsed) and `synthetic` (whether the file says that it was made up) are complete when the
    iteration is.
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
        """Raw bytes of the file, hashed on their way (the file protocol that gzip asks for)."""
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
                    f"{self.path} changed while it was read: run again once it is at rest"
                )

    def _text(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        stream = gzip.GzipFile(fileobj=self) if self.path.suffix == ".gz" else self
        decoded = 0
        while True:
            try:
                data = stream.read(_CHUNK)
            except EOFError:
                raise ImmuneError(
                    f"{self.path} is cut short (its gzip stream does not end): copy it again"
                ) from None
            except (gzip.BadGzipFile, zlib.error) as error:
                raise ImmuneError(f"{self.path} is not a sound gzip file ({error})") from None
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
        cursor = _Cursor(self.path, chunks)
        cursor.skip_byte_order_mark()
        match cursor.peek():
            case "":
                raise ImmuneError(f"{self.path} is empty: it should hold an array of incidents")
            case "[":
                yield from self._array(cursor)
                if cursor.peek():
                    raise cursor.error("goes on after the end of its array")
            case "{":
                yield from self._object(cursor)
                if cursor.peek():
                    raise cursor.error(
                        "goes on after the end of its first object (JSON Lines is not read): "
                        "put the objects into one array"
                    )
            case _:
                raise cursor.error("is neither a JSON array nor an object with `incidents`")

    def _array(self, cursor: _Cursor) -> Iterator[Record]:
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

    def _object(self, cursor: _Cursor) -> Iterator[Record]:
        cursor.take("{")
        found: set[str] = set()
        while cursor.peek() != "}":
            key, _, _ = cursor.value() if cursor.peek() == '"' else (None, None, None)
            if not isinstance(key, str):
                raise cursor.error("holds something other than a key here")
            cursor.take(":")
            if key in ("incidents", "synthetic") and key in found:
                raise cursor.error(f"holds `{key}` twice")
            found.add(key)
            if key == "incidents":
                if cursor.peek() != "[":
                    raise cursor.error("holds something other than an array under `incidents`")
                yield from self._array(cursor)
            else:
                value, _, _ = cursor.value()
                if key == "synthetic":
                    if not isinstance(value, bool):
                        raise cursor.error(
                            "holds something other than true or false under `synthetic`"
                        )
                    self.synthetic = value
            if cursor.peek() != "}":
                cursor.take(",")
                if cursor.peek() == "}":
                    raise cursor.error("has a comma before its last `}`")
        cursor.take("}")
        if "incidents" not in found:
            hint = " (JSON Lines is not read: put the objects into one array)"
            raise ImmuneError(
                f"{self.path} is an object without an `incidents` array"
                + (hint if cursor.peek() == "{" else "")
            )


class _Cursor:
    """A place in a stream of text from which JSON values are taken one at a time.

    Python's own scanner parses a value from a position and says where it ended; all that is
    added is to fetch more text when a value is not complete in what was read so far.
    """

    def __init__(self, path: Path, chunks: Iterator[str]) -> None:
        self._path = path
        self._chunks = chunks
        self._buffer = ""
        self._position = 0
        self._consumed = 0
        self._ended = False
        self._repeated_key: str | None = None
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_constant=self._constant
        )
        self.where = ""

    def skip_byte_order_mark(self) -> None:
        if self._fetch() and self._buffer.startswith("\ufeff"):
            self._position = 1

    def peek(self) -> str:
        """The next character that is not white space, unconsumed; empty at the end."""
        while True:
            while self._position < len(self._buffer):
                character = self._buffer[self._position]
                if character not in _WHITE_SPACE:
                    return character
                self._position += 1
            if not self._fetch():
                return ""

    def take(self, character: str) -> None:
        found = self.peek()
        if not found:
            raise self.error("is cut short")
        if found != character:
            raise self.error(f"is not JSON: expected `{character}`, found {found!r}")
        self._position += 1

    def value(self) -> tuple[Any, str, str | None]:
        """The next value, its text, and a key that one of its objects holds twice if any."""
        if not self.peek():
            raise self.error("is cut short")
        while True:
            self._repeated_key = None
            start = self._position
            try:
                value, end = self._decoder.raw_decode(self._buffer, start)
            except json.JSONDecodeError as error:
                # A value that stops at the end of what was read may only be incomplete; one
                # that stops before it is wrong however much follows.
                incomplete = error.msg.startswith("Unterminated string") or error.pos >= len(
                    self._buffer
                ) - len("-Infinity")
                if incomplete and self._fetch():
                    continue
                unterminated = error.msg.startswith("Unterminated string")
                self._position = error.pos
                if unterminated or not self.peek():
                    raise self.error("is cut short") from None
                raise self.error(f"is not JSON: {error.msg.removesuffix(' at')}") from None
            except RecursionError:
                raise self.error("is nested too deeply") from None
            except _NotANumber as error:
                raise self.error(f"holds {error}, which is not JSON") from None
            except ValueError:
                raise self.error("holds a number of too many digits") from None
            if len(self._buffer) - end <= len("e+") and self._fetch():
                continue  # a number may go on in the next chunk, and so may its fraction
            text = self._buffer[start:end]
            if _SURROGATE.search(text):
                self._refuse_lone_surrogates(value)
            self._position = end
            return value, text, self._repeated_key

    def error(self, what: str) -> ImmuneError:
        rest = len(self._buffer[self._position :].encode())
        return ImmuneError(f"{self._path} {what} ({self.where}byte {self._consumed - rest})")

    def _fetch(self) -> bool:
        # Twice as much each time, so that a value longer than a chunk is not parsed from its
        # start over and over.
        wanted = max(1, len(self._buffer) - self._position)
        parts = [self._buffer[self._position :]]
        fetched = 0
        while not self._ended and fetched < wanted:
            part = next(self._chunks, None)
            if part is None:
                self._ended = True
            else:
                parts.append(part)
                fetched += len(part)
                self._consumed += len(part.encode())
        if not fetched:
            return False
        self._buffer = "".join(parts)
        self._position = 0
        return True

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if not all(key.isascii() for key, _ in pairs):
            pairs = [(textfile.composed(key), value) for key, value in pairs]
        value = dict(pairs)
        if len(value) < len(pairs):
            self._refuse_lone_surrogates(pairs)  # one may be in the value that is lost
            keys = [key for key, _ in pairs]
            self._repeated_key = next(key for key in keys if keys.count(key) > 1)
        return value

    def _constant(self, name: str) -> None:
        raise _NotANumber(name)

    def _refuse_lone_surrogates(self, value: Any) -> None:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise self.error("holds half a surrogate pair, which is no character") from None


class _NotANumber(Exception):
    """NaN or an infinity, which Python's parser would take."""
