"""Slips' alert files: names of files and folders in, their lines out, within limits.

A file may come from anywhere, so nothing in it can make us load more than a line of bounded length,
unpack without end, or follow links in circles.
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
# Files of Slips unpack to some twenty times their size.
_UNPACKED = 1 << 26
_RATIO = 200


@dataclass(frozen=True)
class AlertFile:
    """A file of alerts, and its capture."""

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
    """The named files of alerts and those in the named folders, each once, sorted by name.

    Raises:
        ImmuneError: there are none, one cannot be read, or its path names no capture.
    """
    files_by_inode: dict[tuple[int, int], Path] = {}
    for path in paths:
        for file in _in_folder(path) if path.is_dir() else [path]:
            try:
                status = file.stat()
            except OSError as error:
                raise ImmuneError(f"cannot read {file}: {error.strerror}") from None
            if not stat.S_ISREG(status.st_mode):
                raise ImmuneError(f"{file} is not a file: name Slips' alerts.json or its folder")
            key = status.st_dev, status.st_ino
            files_by_inode[key] = min(file, files_by_inode.get(key, file), key=str)
    return [
        AlertFile(path, _capture(path, capture_from)) for path in sorted(files_by_inode.values())
    ]


def _in_folder(folder: Path) -> list[Path]:
    """The files of alerts in a folder and below it; links are followed, each folder once."""

    def refuse(error: OSError) -> None:
        raise ImmuneError(f"cannot read {error.filename}: {error.strerror}")

    files, seen = [], set()
    for path, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        status = os.stat(path)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        files += [Path(path, name) for name in sorted(names) if _NAME.fullmatch(name)]
    if not files:
        raise ImmuneError(
            f"{folder} contains no alerts.json: name a folder that Slips wrote, or the file"
        )
    return files


def _capture(path: Path, capture_from: re.Pattern[str] | None) -> str | None:
    if capture_from is None:
        return None
    match = capture_from.search(_name(path))
    if match is None or not match["capture"]:
        raise ImmuneError(
            f"{path}: --capture-from finds no capture in this path: change the expression"
        )
    return match["capture"]


def _name(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def lines(file: AlertFile) -> Iterator[Line]:
    """The lines of a file, plain or gzipped.

    Raises:
        ImmuneError: it cannot be read, is not a complete gzip file, or unpacks without end.
    """
    number, rest, is_long = 0, b"", False
    for chunk in _chunks(file.path):
        *complete, rest = (rest + chunk).split(b"\n")
        for content in complete:
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
            is_gzipped = raw.read(len(_GZIP)) == _GZIP
            raw.seek(0)
            limit = max(_UNPACKED, _RATIO * os.fstat(raw.fileno()).st_size) if is_gzipped else None
            stream = stack.enter_context(gzip.GzipFile(fileobj=raw)) if is_gzipped else raw
            size = 0
            while chunk := stream.read(_CHUNK):
                size += len(chunk)
                if limit is not None and size > limit:
                    raise ImmuneError(
                        f"{path} unpacks to more than {_RATIO} times its size, which no file of "
                        "alerts does: unpack it yourself if it is one"
                    )
                yield chunk
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ImmuneError(f"{path} is not a complete gzip file: {error}") from None
    except OSError as error:
        raise ImmuneError(f"cannot read {path}: {error.strerror}") from None
