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
from collections.abc import Iterator
from functools import cache, lru_cache

# After a "\n", a new segment starts unless what follows is only white space up to the next line
# end. No pre-token of Qwen2's pattern crosses such a point: the only alternatives that can run
# past a "\n" are `[\r\n]*` and `\s*[\r\n]+`, and both need another "\r" or "\n" before the next
# visible character. NFC does not cross it either: "\n" neither composes nor is reordered.
_BOUNDARY = re.compile(r"\n(?=[^\S\r\n]*\S)")

# A line of evidence is about 130 characters: the cache stays near 40 MB a process. Longer
# segments hardly ever repeat, and leaving them out is what bounds it.
_CACHED_SEGMENTS = 1 << 17
_CACHED_LENGTH = 512


@cache
def encoding():
    """The tiktoken encoding `qwen2.5`."""
    import tiktoken

    return tiktoken.get_encoding("qwen2.5")


def _encoded_tokens(segment: str) -> int:
    return len(encoding().encode_ordinary(unicodedata.normalize("NFC", segment)))


_cached_tokens = lru_cache(maxsize=_CACHED_SEGMENTS)(_encoded_tokens)


def _segment_tokens(segment: str) -> int:
    return (_cached_tokens if len(segment) <= _CACHED_LENGTH else _encoded_tokens)(segment)


def _segments(text: str) -> Iterator[str]:
    *heads, last = _BOUNDARY.split(text)
    for head in heads:
        yield head + "\n"
    yield last


def count(text: str) -> int:
    """The number of tokens of `text`."""
    return sum(map(_segment_tokens, _segments(text)))


def count_words(text: str) -> int:
    """The number of words by Python's `str.split()`."""
    return len(text.split())


def cut(text: str, limit: int, marker: str, unit: str = "tokens") -> str:
    """The longest run of leading lines of `text` that, with `marker` as last line, fits `limit`.

    A text within the limit comes back as it is. `limit` counts in `unit`: `tokens`, or `words`
    by Python's `str.split()`. When not even the first line fits, the marker stands alone.
    """
    size = {"tokens": count, "words": count_words}[unit]
    budget = limit - size(marker)
    segment_size = {"tokens": _segment_tokens, "words": count_words}[unit]
    used = used_by_kept = kept_to = position = 0
    for segment in _segments(text):
        used += segment_size(segment)
        position += len(segment)
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
