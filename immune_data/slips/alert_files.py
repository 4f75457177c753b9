"""Slips' alert files: names of files and folders in, their lines out, within limits.

A file may come from anywhere, so nothing in it can make us hold more than a line of bounded length,
unpack without end, or walk in circles.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from immune_data.common.errors import ImmuneError

_NAME = re.compile(r"(?:.*\.)?alerts\.json(?:\.gz)?")
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20
LONGEST = 1 << 24  # bytes of a line
# What Slips writes unpacks to some twenty times its size.
_UNPACKED = 1 << 26
_RATIO = 200


@dataclass(frozen=True)
class AlertFile:
    """A file of alerts, and the capture that it is of."""

    path: Path
    capture: str | None

    @property
    def name(self) -> str:
        return _name(self.path)


@dataclass(frozen=True)
class Line:
    """A line without its end; None if it is longer than `LONGEST`."""

    number: int
    content: bytes | None
    is_cut: bool  # at the file's end


def find(paths: Iterable[Path], capture_from: re.Pattern[str] | None) -> list[AlertFile]:
    """The files of alerts named, and those in the folders named, each once, by name.

    Raises:
        ImmuneError: there is none, or one cannot be read, or its path names no capture.
    """
    found: dict[tuple[int, int], Path] = {}
    for path in paths:
        for file in _in_folder(path) if path.is_dir() else [path]:
            try:
                status = file.stat()
            except OSError as error:
                raise ImmuneError(f"cannot read {file}: {error.strerror}") from None
            if not stat.S_ISREG(status.st_mode):
                raise ImmuneError(f"{file} is not a file: name Slips' alerts.json or its folder")
            key = status.st_dev, status.st_ino
            found[key] = min(file, found.get(key, file), key=str)
    return [AlertFile(path, _capture(path, capture_from)) for path in sorted(found.values())]


def _in_folder(folder: Path) -> list[Path]:
    """The files of alerts in a folder and below it; links are followed, each folder once."""

    def refuse(error: OSError) -> None:
        raise ImmuneError(f"cannot read {error.filename}: {error.strerror}")

    found, seen = [], set()
    for at, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        status = os.stat(at)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        found += [Path(at, name) for name in sorted(names) if _NAME.fullmatch(name)]
    if not found:
        raise ImmuneError(
            f"{folder} holds no alerts.json: name a folder that Slips wrote, or the file"
        )
    return found


def _capture(path: Path, capture_from: re.Pattern[str] | None) -> str | None:
    if capture_from is None:
        return None
    found = capture_from.search(_name(path))
    if found is None or not found["capture"]:
        raise ImmuneError(
            f"{path}: --capture-from finds no capture in this path: change the expression"
        )
    return found["capture"]


def _name(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def lines(file: AlertFile) -> Iterator[Line]:
    """The lines of a file, plain or gzipped.

    Raises:
        ImmuneError: it cannot be read, is not a whole gzip file, or unpacks without end.
    """
    number, rest, is_long = 0, b"", False
    for chunk in _chunks(file.path):
        *ended, rest = (rest + chunk).split(b"\n")
        for content in ended:
            number += 1
            yield Line(number, None if is_long or len(content) > LONGEST else content, False)
            is_long = False
        if len(rest) > LONGEST:
            rest, is_long = b"", True
    if rest or is_long:
        yield Line(number + 1, None if is_long else rest, True)


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(path.open("rb"))
            is_packed = raw.read(len(_GZIP)) == _GZIP
            raw.seek(0)
            most = max(_UNPACKED, _RATIO * os.fstat(raw.fileno()).st_size) if is_packed else None
            opened = stack.enter_context(gzip.GzipFile(fileobj=raw)) if is_packed else raw
            read = 0
            while chunk := opened.read(_CHUNK):
                read += len(chunk)
                if most is not None and read > most:
                    raise ImmuneError(
                        f"{path} unpacks to more than {_RATIO} times its size, which no file of "
                        "alerts does: unpack it yourself if it is one"
                    )
                yield chunk
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ImmuneError(f"{path} is not a whole gzip file: {error}") from None
    except OSError as error:
        raise ImmuneError(f"cannot read {path}: {error.strerror}") from None
