"""Token counts under Qwen2.5's tokenizer, and cuts to a budget: text in, exact integers out.

Counting is exact, never estimated. It is fast because evidence repeats its lines: a text is
split into segments whose counts add up to the whole text's (see `_BOUNDARY`), and the counts of
recent segments are kept.

Text is NFC-normalised before it is counted, as Qwen's own tokenizer does; the text itself is
never changed. Control tokens written out in a text (`<|im_end|>`) count as the ordinary text
they are.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

# After a "\n", a new segment starts unless what follows is only white space up to the next line
# end. No pre-token of Qwen2's pattern crosses such a point: the only alternatives that can run
# past a "\n" are `[\r\n]*` and `\s*[\r\n]+`, and both need another "\r" or "\n" before the next
# visible character. NFC does not cross it either: "\n" neither composes nor is reordered.
_LINE_START = re.compile(r"[^\S\r\n]*\S")
_BOUNDARY = re.compile(rf"\n(?={_LINE_START.pattern})")

# What a head of a segment is cached by: a line of evidence is about 130 characters, and a
# generation of the cache some 30 MB. Longer ones hardly ever repeat, and leaving them out is what
# bounds it.
_GENERATION = 1 << 17
_CACHED_LENGTH = 512


@cache
def encoding():
    """The tiktoken encoding `qwen2.5`."""
    import tiktoken

    return tiktoken.get_encoding("qwen2.5")


def _encoded(text: str) -> int:
    return len(encoding().encode_ordinary(unicodedata.normalize("NFC", text)))


class _Heads:
    """Token counts of segments that end in "\n", by their text without it.

    Two generations bound the cache: when the younger is full it becomes the older, and what was
    the older is forgotten, unless it was asked for in between.
    """

    def __init__(self) -> None:
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def count(self, heads: list[str]) -> int:
        young = self._young
        total = 0
        for head in heads:
            known = young.get(head)
            total += self._miss(head) if known is None else known
        if len(young) > _GENERATION:
            self._young, self._old = {}, young
        return total

    def _miss(self, head: str) -> int:
        known = self._old.get(head)
        if known is None:
            known = _encoded(head + "\n")
        if len(head) <= _CACHED_LENGTH:
            self._young[head] = known
        return known


_heads = _Heads()


def count(text: str) -> int:
    """The number of tokens of `text`."""
    *heads, last = _BOUNDARY.split(text)
    return _heads.count(heads) + _encoded(last)


def count_joined(head: str, tail: str, tail_tokens: int) -> int:
    """The number of tokens of `head + tail`, where those of `tail` are known."""
    if head.endswith("\n") and _LINE_START.match(tail):
        return count(head) + tail_tokens
    return count(head + tail)


def count_words(text: str) -> int:
    """The number of words by Python's `str.split()`."""
    return len(text.split())


def cut(text: str, limit: int, marker: str, unit: str = "tokens") -> str:
    """Leading lines of `text` that, with `marker` as last line, fit `limit`; one more would not.

    A text within the limit comes back as it is. `limit` counts in `unit`: `tokens`, or `words`
    by Python's `str.split()`. When not even the first line fits, the marker stands alone.
    """
    size = {"tokens": count, "words": count_words}[unit]
    budget = limit - size(marker)
    *heads, last = _BOUNDARY.split(text)
    used = used_by_kept = kept_to = position = 0
    for head in [*heads, None]:
        if head is None:
            used += size(last)
        else:
            used += _heads.count([head]) if unit == "tokens" else count_words(head)
            position += len(head) + 1
        if used <= budget:
            kept_to, used_by_kept = position, used
        elif used > limit:
            break
    else:
        return text
    kept = text[:kept_to]
    # The segment that did not fit may hold several lines (white-space-only ones belong to the
    # line before them): keep those of its lines that do fit.
    rest = text[kept_to:]
    end = rest.find("\n") + 1
    while end and used_by_kept + size(rest[:end]) <= budget:
        kept = text[: kept_to + end]
        end = rest.find("\n", end) + 1
    return kept + marker
