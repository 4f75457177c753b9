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
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from functools import cache
from itertools import chain
from typing import Any, TypeVar

Item = TypeVar("Item")

# After a "\n", a new segment starts unless what follows is only white space up to the next line
# end. No pre-token of Qwen2's pattern crosses such a point: the only alternatives that can run
# past a "\n" are `[\r\n]*` and `\s*[\r\n]+`, and both need another "\r" or "\n" before the next
# visible character. NFC does not cross it either: "\n" neither composes nor is reordered.
_LINE_START = re.compile(r"[^\S\r\n]*\S")
_BOUNDARY = re.compile(rf"\n(?={_LINE_START.pattern})")

# A cache of segments starts a new generation past this many characters, each of them some three
# bytes of memory: the one small cache of a process, and the large one that sees all texts.
_GENERATION = 1 << 23
_LARGE_GENERATION = 1 << 25
_AT_ONCE = 64


@cache
def encoding():
    """The tiktoken encoding `qwen2.5`."""
    import tiktoken

    return tiktoken.get_encoding("qwen2.5")


def _encoded(text: str) -> int:
    return len(encoding().encode_ordinary(unicodedata.normalize("NFC", text)))


class _Segments:
    """Token counts by segment, a segment being given without the `end` it is counted with.

    Two generations bound the cache: a full one becomes the older, and what was the older is
    forgotten, but for what was asked for in between.
    """

    def __init__(self, end: str, generation: int) -> None:
        self._end = end
        self._generation = generation
        self._young: dict[str, int | None] = {}
        self._old: dict[str, int | None] = {}
        self._characters = 0

    def reserve(self, segments: list[str]) -> tuple[dict[str, int | None], list[str]]:
        """A generation that has a place for each segment, and those whose count it lacks.

        It is the caller's to fill their places in, with `fill`; until then they hold None.
        """
        if self._characters > self._generation:
            self._young, self._old, self._characters = {}, self._young, 0
        young = self._young
        unknown = []
        for segment in set(segments).difference(young):
            young[segment] = known = self._old.get(segment)
            self._characters += len(segment)
            if known is None:
                unknown.append(segment)
        return young, unknown

    def whole(self, segments: list[str]) -> list[str]:
        return [segment + self._end for segment in segments]


_heads = _Segments("\n", _GENERATION)


def _heads_tokens(heads: list[str]) -> list[int]:
    generation, unknown = _heads.reserve(heads)
    generation.update(zip(unknown, encode_all(_heads.whole(unknown)), strict=True))
    return [generation[head] for head in heads]


def count(text: str) -> int:
    """The number of tokens of `text`."""
    *heads, last = _BOUNDARY.split(text)
    return sum(_heads_tokens(heads)) + _encoded(last)


def encode_all(segments: list[str]) -> list[int]:
    """The number of tokens of each segment."""
    return [_encoded(segment) for segment in segments]


def counted(
    pool: Executor | None,
    items: Iterable[Item],
    texts: Callable[[Item], list[str]],
    ahead: int = 4,
) -> Iterator[tuple[Item, list[int]]]:
    """Each item with the token counts of `texts(item)`, in order.

    The texts are split here, where all segments are known, and the workers of `pool` encode only
    those that are new: handing them whole texts would have each worker encode every line.
    """
    if pool is None:
        for item in items:
            yield item, [count(text) for text in texts(item)]
        return
    caches = _Segments("\n", _LARGE_GENERATION), _Segments("", _GENERATION)
    pending: deque[_Batch] = deque()
    for item in items:
        pending.append(_Batch(pool, caches, item, texts(item)))
        if len(pending) >= ahead:
            batch = pending.popleft()
            yield batch.item, batch.counts()
    for batch in pending:
        yield batch.item, batch.counts()


class _Batch:
    """The segments of an item's texts, on their way through a worker."""

    def __init__(
        self, pool: Executor, caches: tuple[_Segments, _Segments], item: Any, texts: list[str]
    ) -> None:
        self.item = item
        self._heads = [_BOUNDARY.split(text) for text in texts]
        self._lasts = [heads.pop() for heads in self._heads]
        segments = (list(chain.from_iterable(self._heads)), self._lasts)
        self._reserved = [cache.reserve(of) for cache, of in zip(caches, segments, strict=True)]
        new = zip(caches, self._reserved, strict=True)
        whole = [segment for cache, (_, unknown) in new for segment in cache.whole(unknown)]
        self._encoded = pool.submit(encode_all, whole)

    def counts(self) -> list[int]:
        encoded = iter(self._encoded.result())
        for generation, unknown in self._reserved:
            generation.update(zip(unknown, encoded))  # noqa: B905 (each takes its own share)
        (of_head, _), (of_last, _) = self._reserved
        return [
            sum(map(of_head.__getitem__, heads)) + of_last[last]
            for heads, last in zip(self._heads, self._lasts, strict=True)
        ]


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
    used = used_by_kept = kept_to = position = 0
    for segment, segment_size in _sized(text, unit):
        used += segment_size
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


def _sized(text: str, unit: str) -> Iterator[tuple[str, int]]:
    """The segments of `text` with their sizes, counted as far as they are asked for."""
    *heads, last = _BOUNDARY.split(text)
    for start in range(0, len(heads), _AT_ONCE):
        some = heads[start : start + _AT_ONCE]
        sizes = _heads_tokens(some) if unit == "tokens" else map(count_words, some)
        for head, size in zip(some, sizes, strict=True):
            yield head + "\n", size
    yield last, _encoded(last) if unit == "tokens" else count_words(last)
