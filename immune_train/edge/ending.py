"""The end of an answer under a grammar: what is written so far in, whether it can go on out.

An answer has so many tokens of room and no more, and under a grammar it must be whole at the end
of them. What it still needs at the least, its headings and levels, is always left for it: a model
whose answer fits is never interfered with. One whose answer does not is taken back to the last end
of a sentence at which there is room for a sentence in each text to come, and goes on from the next
heading; from then on each text is held to what leaves the others their sentence.
"""

from __future__ import annotations

import codecs
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np

from immune_data.common.errors import ImmuneError
from immune_data.contract.tokens import text_ids, token_bytes
from immune_data.contract.vocabulary import END
from immune_train.edge import grammar

# Tokens for each text that is yet to be begun when an answer is brought to its end, and the least
# that will do.
_SENTENCE, _LEAST = 24, 12
_CUT = "…"  # ends a text that has no sentence's end to go back to
_OVERLAP = 8  # characters: an end of a sentence is seen by what follows it


class Text:
    """The text of tokens, and how far it reached after each of them."""

    def __init__(self) -> None:
        self._data = b""
        self._ends: list[int] = []
        self.whole = ""  # without the bytes of a character that is not whole yet

    @property
    def final(self) -> str:
        return self._data.decode(errors="replace")

    def add(self, token: int) -> None:
        self._data += token_bytes(token)
        self._ends.append(len(self._data))
        self.whole = _decoded(self._data)

    def after(self, token: int) -> str:
        """The text as it would be with one more token."""
        return _decoded(self._data + token_bytes(token))

    def final_after(self, token: int) -> str:
        """The same, were it the end: of a character that is not whole yet a mark stands there."""
        return (self._data + token_bytes(token)).decode(errors="replace")

    def split(self, length: int) -> tuple[int, str]:
        """How many tokens lie within the first `length` characters, and what of these is left."""
        size = len(self.whole[:length].encode())
        kept = bisect_right(self._ends, size)
        return kept, self._data[self._ends[kept - 1] if kept else 0 : size].decode()

    def tokens_within(self, length: int) -> int:
        """How many tokens lie within the first `length` characters, whatever bytes these are of."""
        kept = len(self._ends)
        while kept and len(_decoded(self._data[: self._ends[kept - 1]])) > length:
            kept -= 1
        return kept

    def cut(self, kept: int) -> None:
        """Keep only the first tokens."""
        del self._ends[kept:]
        self._data = self._data[: self._ends[-1] if kept else 0]
        self.whole = _decoded(self._data)


class Ending:
    """Sees to it that an answer of a form is whole within `limit` tokens, `<|im_end|>` included.

    Args:
        may_stand: whether an answer may begin so where it is cut; by default it may anywhere.

    Raises:
        ImmuneError: there is not room enough for a short answer.
    """

    def __init__(
        self, form: grammar.Form, limit: int, may_stand: Callable[[str], bool] | None = None
    ) -> None:
        self._form, self._limit = form, limit
        self._may_stand = may_stand
        whole = self._rest("")
        needed = _tokens(whole.text) + 1
        self._sentence = min(_SENTENCE, (limit - needed) // whole.texts)
        # The first bullet of a summary has room enough however long it is: there is no other end.
        least = _LEAST if isinstance(form, str) else grammar.BULLET_LONGEST
        if limit - needed < least * whole.texts:
            task = form if isinstance(form, str) else "summary"
            raise ImmuneError(
                f"{limit} tokens are too few for an answer to task {task} under its grammar, which "
                f"needs {needed + least * whole.texts}: raise --max-tokens or --context, or give "
                "--no-grammar"
            )
        self._tag_at = -1  # the length of the text after which a severity is to be chosen
        self.wound_up = False
        self._from = 0  # what lies before this place in the text is settled
        self._looked = self._good = (
            0  # how far ends of sentences were looked for; the last good one
        )

    def fits(self, text: str, tokens: int) -> bool:
        """Whether an answer that begins with `text`, in so many tokens, can still be ended."""
        rest = grammar.rest(self._form, text)
        if rest is None:
            return True
        spare = self._limit - tokens - _tokens(rest.text) - 1
        return spare >= (self._sentence * rest.texts if self.wound_up and rest.in_text else 0)

    def fixed(self, text: str) -> list[int]:
        """The tokens that must follow `text`, which ends within a heading; none elsewhere."""
        rest = self._rest(text)
        return [] if rest.in_text else text_ids(rest.fixed.rstrip(" "))

    def sure(self, text: str) -> list[int]:
        """The tokens with which every answer that begins so goes on."""
        rest = grammar.rest(self._form, text)
        return text_ids(rest.sure.rstrip(" ")) if rest else []

    def repeated(self, text: Text, token: int) -> tuple[int, list[int]] | None:
        """Where `token` ends a bullet that is there already: what to keep, and what to write then.

        A list that repeats itself has come to its end.
        """
        until = grammar.repeated(self._form, text.after(token))
        if until is None:
            return None
        kept, left = text.split(until)
        return kept, text_ids(left + self._rest(text.whole[:until]).fixed)

    def too_long(self, text: Text, token: int) -> tuple[int, list[int]] | None:
        """Where `token` makes a bullet too long: what to keep, and what to write then.

        It ends with its last sentence, or else between words, and with the severity that it names;
        where it names none, that is chosen next.
        """
        start = grammar.too_long(self._form, text.after(token))
        if start is None:
            return None
        whole = text.whole[: start + grammar.TOO_LONG]
        places = [(end, "") for end in reversed(grammar.sentence_ends(whole, start))]
        places += [(at, _CUT) for at in range(len(whole) - 1, start, -1) if whole[at] == " "]
        for until, mark in places:
            tag = grammar.tag_in(self._form, whole[start:until])
            end = f"{mark} {tag}\n" if tag else f"{mark} ["
            if self._may_stand is None or self._may_stand(whole[:until] + end):
                kept, left = text.split(until)
                self._tag_at = -1 if tag else until + len(end)
                return kept, text_ids(left + end)
        return None

    def tag(self, text: Text, logits: np.ndarray) -> list[int]:
        """The severity that ends a bullet that was too long, where it is to be chosen."""
        if len(text.whole) != self._tag_at or isinstance(self._form, str):
            return []
        return text_ids(
            max(self._form.severities, key=lambda one: logits[text_ids(one)[0]]) + "]\n"
        )

    def settled(self, text: Text) -> int:
        """The length of the text that stays, however the answer goes on."""
        self._look(text)
        return max(self._good, self._from)

    def close(self, text: Text) -> tuple[int, list[int]] | None:
        """Go back: how many tokens of the answer to keep, and which to write after them."""
        self._look(text)
        until, mark = self._good, ""
        if until <= self._from:
            until, mark = next(self._cuts(text), 0), _CUT
        if until <= self._from:
            return None
        kept, left = text.split(until)
        rest = self._rest(text.whole[:until])
        forced = text_ids(left + mark + rest.fixed.rstrip(" "))
        self.wound_up = True
        self._from = self._looked = self._good = until + len(mark)
        return kept, forced if rest.text else [*forced, END]

    def went_back(self, length: int) -> None:
        """The text was cut to its first `length` characters."""
        self._looked = min(self._looked, length)
        if self._good > length:
            self._good = self._looked = min(self._from, length)

    def _look(self, text: Text) -> None:
        start = max(self._looked - _OVERLAP, self._from)
        for end in grammar.sentence_ends(text.whole, start):
            if end > self._good and self._may_end(text, end):
                self._good = end
        self._looked = len(text.whole)

    def _cuts(self, text: Text) -> Iterator[int]:
        """Where the text may be cut within a sentence, the last first: at best between words."""
        places = range(len(text.whole) - 1, self._from, -1)
        yield from (at for at in places if text.whole[at] == " " and self._may_end(text, at, _CUT))
        yield from (at for at in places if self._may_end(text, at, _CUT))

    def _may_end(self, text: Text, length: int, mark: str = "") -> bool:
        """Whether the text that is being written may end there, and the others have their room."""
        rest = grammar.rest(self._form, text.whole[:length])
        if rest is None or not rest.in_text:
            return False
        kept, left = text.split(length)
        needed = kept + _tokens(left + mark + rest.text) + 1
        if needed + self._sentence * rest.texts > self._limit:
            return False
        return self._may_stand is None or self._may_stand(text.whole[:length] + mark + rest.fixed)

    def _rest(self, text: str) -> grammar.Rest:
        rest = grammar.rest(self._form, text)
        if rest is None:
            raise AssertionError(f"the grammar of {self._form} let this through: {text!r}")
        return rest


def _decoded(data: bytes) -> str:
    return codecs.getincrementaldecoder("utf-8")("replace").decode(data)


@cache
def _tokens(text: str) -> int:
    return len(text_ids(text))
