"""Parse JSON values one at a time: chunks of text in, values out, strictly and in bounded memory.

Keys are composed (NFC), since they are compared with names in the recipe; values stay as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from immune_data.common import textfile
from immune_data.common.errors import ImmuneError

_WHITE_SPACE = " \t\n\r"
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class Cursor:
    """A position in a stream of text from which JSON values are taken one at a time.

    Python's own scanner parses a value from a position and returns where it ends; this class only
    adds that more text is fetched when a value is not complete in the text read so far.
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
        following = self.peek()
        if not following:
            raise self.error("is cut short")
        if following != character:
            raise self.error(f"is not JSON: expected `{character}`, found {following!r}")
        self._position += 1

    def value(self) -> tuple[Any, str, str | None]:
        """The next value, its text, and a key that one of its objects has twice, if any."""
        if not self.peek():
            raise self.error("is cut short")
        while True:
            self._repeated_key = None
            start = self._position
            try:
                value, end = self._decoder.raw_decode(self._buffer, start)
            except json.JSONDecodeError as error:
                # A value that stops at the end of the text read so far may only be incomplete; one
                # that stops before it is wrong whatever follows.
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
                raise self.error(f"contains {error}, which is not JSON") from None
            except ValueError:
                raise self.error("contains a number with too many digits") from None
            if len(self._buffer) - end <= len("e+") and self._fetch():
                continue  # a number, or its fraction, may continue in the next chunk
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
        minimum = max(1, len(self._buffer) - self._position)
        parts = [self._buffer[self._position :]]
        size = 0
        while not self._ended and size < minimum:
            part = next(self._chunks, None)
            if part is None:
                self._ended = True
            else:
                parts.append(part)
                size += len(part)
                self._consumed += len(part.encode())
        if not size:
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
            raise self.error("contains half a surrogate pair, which is not a character") from None


class _NotANumber(Exception):
    """NaN or an infinity, which Python's parser would accept."""
