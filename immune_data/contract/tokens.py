"""Token counts under Qwen2.5's tokenizer, and cuts to a budget: text in, exact integers out.

Counting is exact, never estimated. It is fast because evidence repeats its lines, and new lines
repeat words: a text is split into segments and words whose counts add up to the whole text's (see
`_BOUNDARY` and `_WORD_END`), and the counts of recent ones are cached.

Text is NFC-normalised before it is counted, as Qwen's own tokenizer does; the text itself is
never changed. Control tokens written out in a text (`<|im_end|>`) count as the ordinary text
they are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from immune_data.contract.vocabulary import FIRST_ADDED

if TYPE_CHECKING:
    import tiktoken

# After a "\n", a new segment starts unless what follows is only white space up to the next line
# end. No pre-token of Qwen2's pattern crosses such a point: the only alternatives that can run
# past a "\n" are `[\r\n]*` and `\s*[\r\n]+`, and both need another "\r" or "\n" before the next
# visible character. NFC does not cross it either: "\n" neither composes nor is reordered.
_LINE_START = re.compile(r"[^\S\r\n]*\S")
_BOUNDARY = re.compile(rf"\n(?={_LINE_START.pattern})")

# Within a segment, a space after a visible character starts a new word. A pre-token contains a
# space only as its first character or among nothing but white space, and NFC does not change it.
_WORD_END = re.compile(r" (?<=\S )")

# The caches are bounded: that of lines by their characters, each of them some three bytes of
# memory, and that of words by their number and length.
_GENERATION = 1 << 22
_WORDS = 1 << 17
_WORD_LENGTH = 64
_BATCH = 64

# The fewest tokens to which a line is shortened, and how many characters are read for each.
_SHORTENED = 32
_CHARACTERS = 16


@cache
def encoding() -> tiktoken.Encoding:
    """The tiktoken encoding `qwen2.5`."""
    import tiktoken

    return tiktoken.get_encoding("qwen2.5")


def read_vocabulary() -> None:
    """Read the vocabulary, which takes a while, before the first text."""
    encoding()


def text_ids(text: str) -> list[int]:
    """The tokens of a text, in which control tokens are ordinary text."""
    return encoding().encode_ordinary(unicodedata.normalize("NFC", text))


@cache
def token_bytes(token: int) -> bytes:
    """The bytes of a token; empty for control tokens and for ids that are not tokens."""
    return encoding().decode_single_token_bytes(token) if token < FIRST_ADDED else b""


class _Words(dict[str, int]):
    """Token counts by word; each is counted with `before` in front of it."""

    def __init__(self, before: str) -> None:
        self._before = before

    def __missing__(self, word: str) -> int:
        tokens = len(text_ids(self._before + word))
        if len(word) <= _WORD_LENGTH:
            if len(self) >= _WORDS:
                self.clear()
            self[word] = tokens
        return tokens


_first_words = _Words("")
_other_words = _Words(" ")


def _segment_tokens(segment: str) -> int:
    first, *others = _WORD_END.split(segment)
    return _first_words[first] + sum(map(_other_words.__getitem__, others))


class _Lines:
    """Token counts of lines, counted with the line feed at their end.

    Two generations bound the cache: when the younger one is full, it becomes the older one, and the
    older one is dropped, except for the lines that were used since.
    """

    def __init__(self) -> None:
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}
        self._characters = 0

    def tokens(self, lines: list[str]) -> list[int]:
        if self._characters > _GENERATION:
            self._young, self._old, self._characters = {}, self._young, 0
        young = self._young
        for line in set(lines).difference(young):
            known = self._old.get(line)
            young[line] = _segment_tokens(line + "\n") if known is None else known
            self._characters += len(line)
        return [young[line] for line in lines]


_lines = _Lines()


def count(text: str) -> int:
    """The number of tokens of `text`."""
    *lines, last = _BOUNDARY.split(text)
    return sum(_lines.tokens(lines)) + _segment_tokens(last)


def count_joined(head: str, tail: str, tail_tokens: int) -> int:
    """The number of tokens of `head + tail`, where those of `tail` are known."""
    if head.endswith("\n") and _LINE_START.match(tail):
        return count(head) + tail_tokens
    return count(head + tail)


def count_words(text: str) -> int:
    """The number of words by Python's `str.split()`."""
    return len(text.split())


def cut(text: str, limit: int, marker: str, unit: str = "tokens") -> str:
    """As many leading lines of `text` as fit within `limit` with `marker` as the last line.

    A text within the limit is returned as it is. `limit` counts in `unit`: `tokens`, or `words`
    by Python's `str.split()`. If not even the first line fits, only the marker is returned.
    """
    size = {"tokens": count, "words": count_words}[unit]
    budget = limit - size(marker)
    used = size_of_kept = end_of_kept = position = 0
    for segment, segment_size in _segments(text, unit):
        used += segment_size
        position += len(segment)
        if used <= budget:
            end_of_kept, size_of_kept = position, used
        elif used > limit:
            break
    else:
        return text
    kept = text[:end_of_kept]
    # The segment that did not fit may have several lines (a line of only white space belongs to the
    # one before it): keep those of its lines that fit.
    rest = text[end_of_kept:]
    end = rest.find("\n") + 1
    while end and size_of_kept + size(rest[:end]) <= budget:
        kept = text[: end_of_kept + end]
        end = rest.find("\n", end) + 1
    return kept + marker


def excerpt(text: str, limit: int, marker: str) -> str:
    """What to show of a text in `limit` tokens: its first lines, and a last one with their number.

    That line is `marker`, with the number of tokens shown, its own included, for `{limit}`. Of a
    line that takes more than an eighth of the limit only the beginning is shown, so that it does
    not hide those after it. A text within the limit is returned as it is. If not even the first
    line fits, only the marker is returned.
    """
    if _fits(text, limit):
        return text
    budget = limit - count(marker.replace("{limit}", str(limit)))
    longest = max(_SHORTENED, limit // 8)
    shown, used = [], 0
    for segment, size in _segments(text, "tokens"):
        if size > longest or not segment.endswith("\n"):
            lines = segment.removesuffix("\n").split("\n")
            segment = "".join(_beginning(line, longest) for line in lines)
            size = count(segment)
        if used + size > budget:
            break
        shown.append(segment)
        used += size
    number, before = used, -1
    while number != before:  # the number itself takes tokens, more if it has more digits
        number, before = used + count(marker.replace("{limit}", str(number))), number
    return "".join(shown) + marker.replace("{limit}", str(number))


def _fits(text: str, limit: int) -> bool:
    used = 0
    for _, size in _segments(text, "tokens"):
        used += size
        if used > limit:
            return False
    return True


def _beginning(line: str, tokens: int) -> str:
    """A line, or as much of it as `tokens` tokens are enough for."""
    start = unicodedata.normalize("NFC", line[: tokens * _CHARACTERS])
    ids = encoding().encode_ordinary(start)
    if len(ids) <= tokens and len(start) == len(line):
        return line + "\n"
    kept = encoding().decode_bytes(ids[: tokens - 2]).decode(errors="ignore")
    return f"{kept.rstrip()} …\n"


def _segments(text: str, unit: str) -> Iterator[tuple[str, int]]:
    """The segments of `text` with their sizes, which are counted as they are iterated over."""
    *lines, last = _BOUNDARY.split(text)
    for start in range(0, len(lines), _BATCH):
        batch = lines[start : start + _BATCH]
        sizes = _lines.tokens(batch) if unit == "tokens" else map(count_words, batch)
        for line, size in zip(batch, sizes, strict=True):
            yield line + "\n", size
    yield last, _segment_tokens(last) if unit == "tokens" else count_words(last)
