"""Text that people write and save: a path, or bytes and where they are from, in; the text out.

An editor may put a byte-order mark in front of a text, end its lines as Windows does, or save
letters with marks in their decomposed form. The mark goes, a line ends with `\\n`, and what is not
UTF-8 is refused.

Decomposed letters: a text stays as it is written, and Qwen2.5's tokenizer composes it (NFC) before
it counts or encodes it, so that both forms are the same tokens. What has no tokenizer in between is
composed here instead: prompts, names that are compared with names, and whatever is sent to a
program that does not compose.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

from immune_data.errors import ImmuneError


def read(path: Path) -> str:
    """The text of a file.

    Raises:
        ImmuneError: the file cannot be read, or is not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImmuneError(f"cannot read {path}: {error.strerror}") from None
    return decoded(data, str(path))


def decoded(data: bytes, where: str) -> str:
    """The text of a file's bytes; `where` says in an error where they are from.

    Raises:
        ImmuneError: they are not UTF-8.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImmuneError(f"{where} is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def composed(text: str) -> str:
    """The text with its letters and their marks composed (NFC)."""
    return unicodedata.normalize("NFC", text)
