"""What a GGUF file says before its weights: a path in, its texts and the sizes of its tensors out.

Without llama.cpp, which takes half a second to get a vocabulary ready.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from immune_data.common.errors import ImmuneError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT, _ALIGNED_TO = "general.alignment", 32
# The bytes of a value by the number of its type, as the format has them.
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UINT32, _STRING, _ARRAY = 4, 8, 9
_SIZE = struct.Struct("<Q")


class _Damaged(Exception):
    """It cannot be read as GGUF."""


@dataclass(frozen=True)
class Header:
    """The texts by key, and the bytes of each tensor."""

    texts: dict[str, str]
    tensors: dict[str, int]


def check(path: Path) -> None:
    """Look whether this is a GGUF file at all.

    Raises:
        ImmuneError: it is not, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise ImmuneError(f"cannot read the model {path}: {error.strerror}") from None
    if magic != _MAGIC:
        raise ImmuneError(f"{path} is not a GGUF file: make one with `immune_train.export`")


def read(path: Path) -> Header:
    """What the file says.

    Raises:
        ImmuneError: it is not a complete GGUF file.
    """
    check(path)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(data).header()
    except (_Damaged, struct.error, UnicodeDecodeError, KeyError, OverflowError):
        raise ImmuneError(
            f"cannot load {path}, which is damaged or cut short: make it again with "
            "`immune_train.export`"
        ) from None


class _Reader:
    """Goes through a file from its beginning."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at = data, len(_MAGIC)

    def header(self) -> Header:
        version, tensors, keys = self._numbers("IQQ")
        if version not in _VERSIONS:
            raise _Damaged
        alignment, texts = _ALIGNED_TO, {}
        for _ in range(keys):
            name, (kind,) = self._text(), self._numbers("I")
            if kind == _STRING:
                texts[name] = self._text()
            elif name == _ALIGNMENT and kind == _UINT32:
                (alignment,) = self._numbers("I")
            else:
                self._skip(kind)
        starts = {}
        for _ in range(tensors):
            name, (dimensions,) = self._text(), self._numbers("I")
            *_, starts[name] = self._numbers(f"{dimensions}QIQ")  # after its shape and its type
        data = -(-self._at // alignment) * alignment
        # They lie one after the other behind the header.
        names = sorted(starts, key=starts.__getitem__)
        places = [*(data + starts[name] for name in names), len(self._data)]
        if places[-1] < places[0]:
            raise _Damaged
        sizes = (end - start for start, end in pairwise(places))
        return Header(texts, dict(zip(names, sizes, strict=True)))

    def _numbers(self, form: str) -> tuple[int, ...]:
        found = struct.unpack_from(f"<{form}", self._data, self._at)
        self._at += struct.calcsize(f"<{form}")
        return found

    def _text(self) -> str:
        (size,) = self._numbers("Q")
        start, self._at = self._at, self._at + size
        if self._at > len(self._data):
            raise _Damaged
        return self._data[start : self._at].decode()

    def _skip(self, kind: int) -> None:
        if kind != _ARRAY:
            self._at += _SIZES[kind]
            return
        of, number = self._numbers("IQ")
        if of != _STRING:
            self._at += _SIZES[of] * number
            return
        at = self._at
        for _ in range(number):
            at += _SIZE.size + _SIZE.unpack_from(self._data, at)[0]
        self._at = at
