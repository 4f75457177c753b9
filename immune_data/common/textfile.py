"""Text that people write and save: a path, or bytes and their origin, in; the text out.

An editor may put a byte-order mark in front of a text, end its lines as Windows does, or save
accented letters in their decomposed form. The mark is removed, a line ends with `\\n`, and bytes
that are not UTF-8 are refused.

Decomposed letters: a text stays as it was written, and Qwen2.5's tokenizer composes it (NFC) before
it counts or encodes it, so that both forms are the same tokens. Texts that no tokenizer reads are
composed here instead: prompts, names that are compared with names, and text that is sent to a
program that does not compose.
"""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path
from typing import BinaryIO

from immune_data.common.errors import ImmuneError

_MOST = 1 << 28  # bytes of a pipe or a device, which may never end


def read(path: Path) -> str:
    """The text of a file.

    Raises:
        ImmuneError: the file cannot be read, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read() if path.is_file() else _to_its_end(file, str(path))
    except IsADirectoryError:
        raise ImmuneError(f"{path} is a folder: name a file") from None
    except OSError as error:
        raise ImmuneError(f"cannot read {path}: {error.strerror}") from None
    return decoded(data, str(path))


def standard_input() -> str:
    """The text of standard input.

    Raises:
        ImmuneError: it is not UTF-8, or does not end.
    """
    where = "standard input"
    return decoded(_to_its_end(sys.stdin.buffer, where), where)


def _to_its_end(stream: BinaryIO, where: str) -> bytes:
    data = stream.read(_MOST + 1)
    if len(data) > _MOST:
        raise ImmuneError(f"{where} does not end: give a file")
    return data


def decoded(data: bytes, where: str) -> str:
    """The text of a file's bytes; `where` names their origin in an error.

    Raises:
        ImmuneError: they are not UTF-8.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImmuneError(f"{where} is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def composed(text: str) -> str:
    """The text with its accented letters composed (NFC)."""
    return unicodedata.normalize("NFC", text)
