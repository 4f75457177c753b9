"""What a decoding step has to read: a GGUF file in, the bytes of the weights that each token takes
out.

All tensors but the table of embeddings, of which a token takes one row; where the file has no
output of its own, that table is the output too and is read whole.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from immune_data.common.errors import ImmuneError

_MAGIC = b"GGUF"
_EMBEDDINGS, _OUTPUT = "token_embd.weight", "output.weight"
_ALIGNMENT, _ALIGNED_TO = "general.alignment", 32
# The bytes of a value by the number of its type, as the format has them.
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UINT32, _STRING, _ARRAY = 4, 8, 9
_LONGEST, _DIMENSIONS = 1 << 24, 4  # a text of more bytes is none, and no tensor has more


class _Damaged(Exception):
    """It cannot be read as GGUF."""


def read_per_token(path: Path) -> int:
    """The bytes of weights that evaluating one token reads.

    Raises:
        ImmuneError: it is no whole GGUF file.
    """
    try:
        with path.open("rb") as file:
            sizes = _tensors(file, path.stat().st_size)
    except OSError as error:
        raise ImmuneError(f"cannot read the model {path}: {error.strerror}") from None
    except (_Damaged, struct.error, UnicodeDecodeError, KeyError):
        raise ImmuneError(
            f"{path} is not a GGUF file: make one with `immune_train.export`"
        ) from None
    tied = _OUTPUT not in sizes
    return sum(size for name, size in sizes.items() if tied or name != _EMBEDDINGS)


def _tensors(file: BinaryIO, length: int) -> dict[str, int]:
    """The bytes of each tensor: they lie one after the other behind the header."""
    magic, _, tensors, keys = _unpacked(file, "4sIQQ")
    if magic != _MAGIC:
        raise _Damaged
    alignment = _ALIGNED_TO
    for _ in range(keys):
        name, (kind,) = _string(file), _unpacked(file, "I")
        if name == _ALIGNMENT and kind == _UINT32:
            (alignment,) = _unpacked(file, "I")
        else:
            _skip(file, kind)
    starts = {}
    for _ in range(tensors):
        name, (dimensions,) = _string(file), _unpacked(file, "I")
        if dimensions > _DIMENSIONS:
            raise _Damaged
        _unpacked(file, f"{dimensions}QI")  # the dimensions, and the type
        (starts[name],) = _unpacked(file, "Q")
    data = -(-file.tell() // alignment) * alignment
    in_order = sorted(starts, key=starts.__getitem__)
    ends = [*(starts[name] for name in in_order[1:]), length - data]
    return {name: end - starts[name] for name, end in zip(in_order, ends, strict=True)}


def _unpacked(file: BinaryIO, form: str) -> tuple:
    form = f"<{form}"
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _string(file: BinaryIO) -> str:
    (size,) = _unpacked(file, "Q")
    if size > _LONGEST:
        raise _Damaged
    return file.read(size).decode()


def _skip(file: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        _string(file)
    elif kind == _ARRAY:
        of, number = _unpacked(file, "IQ")
        if of in _SIZES:
            file.seek(_SIZES[of] * number, 1)
        else:
            for _ in range(number):
                _skip(file, of)
    else:
        file.seek(_SIZES[kind], 1)
