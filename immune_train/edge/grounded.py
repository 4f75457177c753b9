"""What an answer may name (rule 14), while it is written: its beginning in, whether it can go on.

An answer may name what its prompt shows and nothing else, by the patterns of `contract/names.py`,
as the gate, the audit and the scores read them. A name comes a token at a time: an address of
which half is written is not one yet, or another one. So the beginning of an answer *fits* if it
names nothing that is not shown, or if it would once the name at its end is written to the end of
one that is. It is *whole* if it could end there. After what is whole a space can always follow,
and after what fits the rest of the name, so that an answer never comes to a dead end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from immune_data.contract import names

# Names are made of these characters, after whatever they must stand behind. What lies before
# another one is settled: no name reaches over it. (K and İ become ASCII in lower case.)
ALPHABET = r"[A-Za-z0-9_.:/,\-\[\]{}()'\x22*| \t\n\f\r\u0130\u212a]"
_TAIL = re.compile(rf"{ALPHABET}*")

# A port that begins like the one that was meant is another port; and what of a host's name is
# written before its last part is a word of its own.
_NOT_ALIKE = ("port", "domain")
# Of these the evidence has few, and one of them was meant.
_FEW = ("severity_tag", "list_id", "event_total")


@dataclass(frozen=True)
class Lacking:
    """A name that is not shown: its kind, the name, and where in the text it begins."""

    kind: str
    name: str
    start: int


class Shown:
    """What a prompt shows, as names by kind."""

    def __init__(self, prompt: str) -> None:
        prompt = prompt.lower()
        self.names = {kind: names.find(kind, prompt) for kind in names.KINDS}

    @cached_property
    def _rests(self) -> dict[str, set[str]]:
        """What is missing of the names that begin so, by beginning."""
        rests: dict[str, set[str]] = {}
        for kind in self.names:
            for name in self._spelt(kind):
                for length in range(1, len(name)):
                    rests.setdefault(name[:length], set()).add(name[length:])
        return rests

    def _spelt(self, kind: str) -> list[str]:
        """The names of a kind as they may be written."""
        found = sorted(self.names[kind])
        if kind == "event_total":
            found += [f"{int(total):,}" for total in found if len(total) > 3 and total[0] != "0"]
        return found

    def lacking(self, text: str, known: int = 0) -> Lacking | None:
        """The last name in the text that is not shown, if its first `known` characters fit."""
        start, tail = _tail(text, known)
        found: Lacking | None = None
        for kind, shown in self.names.items():
            for at, name in names.places(kind, tail):
                if name not in shown and (found is None or start + at > found.start):
                    found = Lacking(kind, name, start + at)
        return found

    def is_whole(self, text: str, known: int = 0) -> bool:
        """Whether an answer may end so, if its first `known` characters fit."""
        return self._is_whole(_tail(text, known)[1])

    def _is_whole(self, tail: str) -> bool:
        return all(names.find(kind, tail) <= shown for kind, shown in self.names.items())

    def fits(self, text: str, known: int = 0) -> bool:
        """Whether an answer can begin so, if its first `known` characters fit."""
        _, tail = _tail(text, known)
        return self._is_whole(tail) or any(self._completing(tail))

    def next_characters(self, text: str) -> set[str] | None:
        """What must come next after what fits, in lower case; None if a space can."""
        _, tail = _tail(text, len(text))
        return None if self._is_whole(tail) else {rest[0] for rest in self._completing(tail)}

    def _completing(self, tail: str) -> Iterator[str]:
        """What makes a text whole by ending the name at its end."""
        for start in range(len(tail)):
            for rest in sorted(self._rests.get(tail[start:], ())):
                if self._is_whole(tail + rest):
                    yield rest

    def near(self, kind: str, written: str) -> int:
        """How much of the beginning of a name is that of one that is shown and was meant.

        It was where that is more than half of it; none of it elsewhere.
        """
        written = written.lower()
        if kind in _NOT_ALIKE:
            return 0
        alike = max((shared_length(written, name) for name in self._spelt(kind)), default=0)
        return alike if kind in _FEW or 2 * alike > len(written) else 0

    def is_toward(self, kind: str, text: str) -> bool:
        """Whether a text goes on to a name that is shown, or on from one."""
        text = text.lower()
        return any(name.startswith(text) or text.startswith(name) for name in self._spelt(kind))

    def next_in(self, kind: str, written: str) -> set[str] | None:
        """What must come next in a name, in lower case; None if it may end there."""
        written = written.lower()
        names = self._spelt(kind)
        if any(written.startswith(name) for name in names):
            return None
        return {name[len(written)] for name in names if name.startswith(written)}


def shared_length(one: Sequence[object], other: Sequence[object]) -> int:
    """How many characters or tokens two answers share before they differ."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _tail(text: str, known: int) -> tuple[int, str]:
    """Where what is not settled of a text begins, of which so much fits, and it, in lower case."""
    found = _TAIL.match(text[:known][::-1])
    start = known - (found.end() if found else 0)
    return start, text[start:].lower()
