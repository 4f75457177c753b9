"""An answer that is being written: a prompt and logits in, token by token, an answer out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from immune_data.contract.tokens import token_bytes
from immune_data.contract.vocabulary import END, END_OF_TEXT
from immune_train.edge.drafts import Drafts
from immune_train.edge.ending import Ending, Text
from immune_train.edge.grammar import LEVEL_PLACE, Form, level_beginnings
from immune_train.edge.grounded import Lacking, Shown
from immune_train.edge.sampling import Chooser, probabilities

# How often an answer goes back at most to leave a name out, in all and at one place. After that
# it goes on from where it is.
_RETREATS, _RETREATS_AT_ONE_PLACE = 16, 2
_ENDS = (END, END_OF_TEXT)
_DIGITS = frozenset("0123456789")
# Kinds that are made of digits where they are left out: the next number would be another one.
_OF_DIGITS = ("address", "network", "mac", "hash", "port")


@dataclass(frozen=True)
class Prompt:
    """What to answer: the prompt's tokens, the most tokens of the answer, the form whose grammar
    it follows, if it does, the names that it may hold, if not any, and the text that it is to
    have, whatever the model would choose, where only the time counts."""

    ids: Sequence[int]
    limit: int
    grammar: Form | None = None
    shown: Shown | None = None
    replay: str | None = None


@dataclass(frozen=True)
class Intervention:
    """Where an answer was kept from a name that its prompt does not show.

    `at` counts the characters before the place, `name` is what the name had come to, and
    `went_back` says whether what was written of it was taken back.
    """

    at: int
    kind: str
    name: str
    went_back: bool


@dataclass(frozen=True)
class _Hold:
    """What must come where a name was kept out: the rest of a name like that one, or else
    something that does not begin so."""

    name: Lacking | None = None
    left_out: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Answer:
    """An answer and what it took.

    `finish` says why it ends: `stop` (the model ended it), `length` (it was cut off), or
    `wound_up` (its room ran out, and it was brought to the end that its grammar wants). Of answers
    that were written side by side the first one has the seconds in which all prompts were read, and
    each the seconds from there to its end. `levels` are the probabilities of the levels of risk at
    the place where one was chosen, whatever the temperature; None where there was no such place.
    Of `drafted` tokens, which were evaluated on trial, the `accepted` ones are in the answer.
    `steps` is how often tokens of the answer were evaluated.
    """

    text: str
    ids: tuple[int, ...]
    limit: int
    finish: str
    prompt_tokens: int
    evaluated_tokens: int
    prefill_seconds: float
    generation_seconds: float
    interventions: tuple[Intervention, ...] = ()
    levels: dict[str, float] | None = None
    drafted: int = 0
    accepted: int = 0
    steps: int = 0

    @property
    def tokens(self) -> int:
        return len(self.ids)


class Writing:
    """An answer that is being written: logits in, token by token, until it ends.

    Attributes:
        place: how many tokens of prompt and answer are evaluated, so that what was evaluated from
            there on no longer counts. All of the prompt's are when it begins.
    """

    def __init__(
        self,
        prompt: Prompt,
        limit: int,
        choose: Chooser,
        ending: Ending | None,
        say: Callable[[str], None] | None,
        *,
        spans: bool = True,
        drafts: bool = False,
    ) -> None:
        self.prompt, self.limit = prompt, limit
        self.place = len(prompt.ids)
        self.evaluated = 0
        self._choose, self._ending, self._say = choose, ending, say
        self._spans = spans  # whether what is sure to follow is evaluated at once
        self._ids: list[int] = []
        self._text, self._said = Text(), 0
        self._forced = 0  # so many tokens at the beginning are not the model's to take back
        self._stopped = self._is_ended = False
        self._interventions: list[Intervention] = []
        self._levels: dict[str, float] | None = None
        self._holds: dict[int, _Hold] = {}  # by the number of tokens before the place
        self._retreats: list[int] = []
        self._drafts = Drafts(prompt.ids) if drafts else None
        self._draft: list[int] = []  # what is evaluated from `place` on, on trial
        self._drafted = self._accepted = self._steps = 0

    @property
    def tokens(self) -> int:
        return len(self._ids)

    @property
    def length(self) -> int:
        """Of prompt and answer."""
        return len(self.prompt.ids) + len(self._ids)

    @property
    def read(self) -> list[int]:
        """The tokens of prompt and answer that are evaluated."""
        return [*self.prompt.ids, *self._ids][: self.place]

    @property
    def pending(self) -> list[int]:
        """The tokens of prompt and answer that are not evaluated."""
        answered = max(0, self.place - len(self.prompt.ids))
        return [*self.prompt.ids[self.place :], *self._ids[answered:]]

    @property
    def goes_on(self) -> bool:
        return not self._stopped and self.tokens < self.limit

    def step(self) -> tuple[list[int], int]:
        """The tokens to evaluate next, from `place` on: those that are pending, and a draft.

        The number is that of the first one whose logits are wanted, and those of all after it.
        """
        pending = self.pending
        room = self.limit - self.tokens - 1  # the last token's logits are not asked for
        draft = []
        if self._drafts is not None and self.tokens not in self._holds:
            draft = self._drafts.after(self._ids)[:room]
        self.place, self._draft = self.length, draft
        self._drafted += len(draft)
        self._steps += 1
        return [*pending, *draft], len(pending) - 1

    def wants(self, position: int) -> bool:
        """Whether the logits after the token at a position are those to go on with.

        They are not if that token was drafted and another one was chosen.
        """
        return self.goes_on and position + 1 == self.place == self.length

    def take(self, logits: np.ndarray) -> None:
        """Choose the next token, or go back, to leave a name out or to end the answer in time."""
        if self._levels is None and self._text.whole.endswith(LEVEL_PLACE):
            self._levels = probabilities(logits, level_beginnings())
        tokens = self._sure() if not self._ids else []
        if self._ending is not None:
            tokens = tokens or self._ending.tag(self._text, logits)
        tokens = tokens or self._next(logits)
        if not tokens:  # for the logits after what is left
            self.place = min(self.place, self.length - 1)
            return
        for token in tokens:
            self._add(token)
        if sure := self._sure():
            for token in sure:
                self._add(token)
        if sure or len(tokens) > 1:
            self._forced = len(self._ids)
        if not self._stopped:
            self._say_on(self._text.whole)

    def _sure(self) -> list[int]:
        """What is sure to follow."""
        if self._ending is None or self._stopped or not self._spans:
            return []
        return self._ending.sure(self._text.whole)

    def _add(self, token: int) -> None:
        if not self.goes_on:
            return
        self._choose.accept(token)
        self._stopped = self._is_ended = token in _ENDS
        if not self._stopped:
            self._ids.append(token)
            self._text.add(token)
            if self._draft and self._draft.pop(0) == token and self.place == self.length - 1:
                self.place += 1
                self._accepted += 1
            else:
                self._draft = []

    def _cut(self, kept: int) -> None:
        """Keep only the first tokens."""
        if kept < self.tokens:
            self._draft = []
        del self._ids[kept:]
        self.place = min(self.place, self.length)
        self._text.cut(kept)
        self._choose.restart(self._ids)
        self._holds = {place: hold for place, hold in self._holds.items() if place <= kept}

    # Names

    def _next(self, logits: np.ndarray) -> list[int]:
        """The next tokens, with which the answer names what is shown; none after going back."""
        shown = self.prompt.shown
        tokens = self._choose(logits, self._beginnings if shown is not None else None)
        if shown is None:
            return self._in_time(next(tokens))
        other = first = None  # what names nothing else, and is not what should stand here
        for token in tokens:
            fits = self._fits(token, shown)
            if self._is_held(token, shown):
                other = token if fits and other is None else other
            elif fits:
                return self._in_time(token)
            elif first is None:
                first = token
                if self._goes_back(token, shown):
                    return []
        if other is not None:
            return self._in_time(other)
        # A grammar does not let the rest of a name through.
        if self._ending is not None and (close := self._ending.close(self._text)):
            kept, forced = close
            self._cut(kept)
            return forced
        self._stopped = True
        return []

    def _fits(self, token: int, shown: Shown) -> bool:
        known = len(self._text.whole)
        if token in _ENDS:
            return shown.is_whole(self._text.final, known)
        return shown.fits(self._text.final_after(token), known)

    def _is_held(self, token: int, shown: Shown) -> bool:
        """Whether `token` goes on as what was kept out here did."""
        hold = self._holds.get(self.tokens)
        if hold is None:
            return False
        if hold.name is None:
            return _begins(token) in hold.left_out
        after = self._text.final if token in _ENDS else self._text.final_after(token)
        return not shown.is_toward(hold.name.kind, after[hold.name.start :])

    def _beginnings(self) -> set[str] | None:
        """What a token must begin with here, if not with anything."""
        shown, hold = self.prompt.shown, self._holds.get(self.tokens)
        if shown is None:
            return None
        text = self._text.final
        if hold is not None and hold.name is not None:
            return shown.next_in(hold.name.kind, text[hold.name.start :])
        return shown.next_characters(text)

    def _goes_back(self, token: int, shown: Shown) -> bool:
        """Keep out the name that `token` would bring; whether what is written of it is taken back.

        What is nearly a name that is shown becomes that one, and others are left out.
        """
        text = self._text.final
        after = text if token in _ENDS else self._text.final_after(token)
        lacking = shown.lacking(after, len(self._text.whole))
        if lacking is None:
            return False
        written = text[lacking.start :]
        near = shown.near(lacking.kind, written)
        until = lacking.start + near
        kept = self._text.tokens_within(until)
        back = (
            until < len(text)
            and lacking.kind != "domain"  # its beginning is a word like others
            and kept >= self._forced
            and until >= self._said
            and len(self._retreats) < _RETREATS
            and self._retreats.count(kept) < _RETREATS_AT_ONE_PLACE
        )
        self._interventions.append(
            Intervention(lacking.start, lacking.kind, lacking.name, went_back=back)
        )
        if back:
            begins = {_begins(self._ids[kept])}
            self._cut(kept)
            self._retreats.append(kept)
            if self._ending is not None:
                self._ending.went_back(len(self._text.whole))
            if near:
                self._holds[kept] = _Hold(name=lacking)
            else:
                before = self._holds.get(kept, _Hold()).left_out
                digits = _DIGITS if lacking.kind in _OF_DIGITS else frozenset()
                self._holds[kept] = _Hold(left_out=before | begins | digits)
        elif near and until == len(text):
            self._holds[self.tokens] = _Hold(name=lacking)
        return back

    # The end

    def _in_time(self, token: int) -> list[int]:
        """`token`, or others with which the answer comes to its end in its room."""
        ending = self._ending
        if ending is None or token in _ENDS:
            return [token]
        if close := ending.repeated(self._text, token) or ending.too_long(self._text, token):
            kept, forced = close
            self._cut(kept)
            self._interventions.append(
                Intervention(len(self._text.whole), "bullet", "", went_back=True)
            )
            return forced
        if ending.fits(self._text.after(token), self.tokens + 1):
            return [token]
        if forced := ending.fixed(self._text.whole):
            return forced
        if close := ending.close(self._text):
            kept, forced = close
            self._cut(kept)
            return forced
        return [token]

    def _say_on(self, text: str) -> None:
        """Say what will stay: what will not be gone back behind."""
        if self._say is None:
            return
        until = len(text)
        if not self._stopped:
            if self._ending is not None:
                until = self._ending.settled(self._text)
            if self.prompt.shown is not None:  # a name is taken back to its beginning
                until = min(until, len(text[: _last_word(text)].rstrip()))
        if until > self._said:
            self._say(text[self._said : until])
            self._said = until

    def answer(self, prefill_seconds: float, generation_seconds: float) -> Answer:
        shown = self.prompt.shown
        if shown is not None and not self._is_ended:  # within a name, perhaps
            while self._ids and not shown.is_whole(self._text.final):
                self._ids.pop()
                self._text.cut(len(self._ids))
        text = self._text.final
        self._stopped = True
        self._say_on(text)
        wound_up = self._ending is not None and self._ending.wound_up
        return Answer(
            text=text,
            ids=tuple(self._ids),
            limit=self.limit,
            finish="length" if not self._is_ended else "wound_up" if wound_up else "stop",
            prompt_tokens=len(self.prompt.ids),
            evaluated_tokens=self.evaluated,
            prefill_seconds=prefill_seconds,
            generation_seconds=generation_seconds,
            interventions=tuple(one for one in self._interventions if one.at <= len(text)),
            levels=self._levels,
            drafted=self._drafted,
            accepted=self._accepted,
            steps=self._steps,
        )


def _begins(token: int) -> str:
    """The first character of a token but for blanks, in lower case."""
    return token_bytes(token).decode(errors="replace").lstrip()[:1].lower()


def _last_word(text: str) -> int:
    """Where the last word of a text begins."""
    return max(text.rfind(blank) for blank in " \n\t\r") + 1
