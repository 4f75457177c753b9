"""An answer that is being written: a prompt and logits in, token by token, an answer out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from immune_data.contract.vocabulary import END, END_OF_TEXT
from immune_train.edge.ending import Ending, Text
from immune_train.edge.sampling import Chooser


@dataclass(frozen=True)
class Prompt:
    """What to answer: the prompt's tokens, the most tokens of the answer, and the task whose
    grammar it follows, if it does."""

    ids: Sequence[int]
    limit: int
    grammar: str | None = None


@dataclass(frozen=True)
class Answer:
    """An answer and what it took.

    `finish` says why it ends: `stop` (the model ended it), `length` (it was cut off), or
    `wound_up` (its room ran out, and it was brought to the end that its grammar wants). Of answers
    that were written side by side the first one has the seconds in which all prompts were read, and
    each the seconds from there to its end.
    """

    text: str
    ids: tuple[int, ...]
    limit: int
    finish: str
    prompt_tokens: int
    evaluated_tokens: int
    prefill_seconds: float
    generation_seconds: float

    @property
    def tokens(self) -> int:
        return len(self.ids)


class Writing:
    """An answer that is being written: logits in, token by token, until it ends.

    Attributes:
        last: the token that was chosen last.
        place: its position in the sequence of the prompt and the answer.
        went_back: whether other tokens were evaluated from `place` on, which no longer count.
    """

    def __init__(
        self,
        prompt: Prompt,
        limit: int,
        choose: Chooser,
        ending: Ending | None,
        say: Callable[[str], None] | None,
    ) -> None:
        self.prompt, self.limit = prompt, limit
        self.last, self.evaluated, self.went_back = END, 0, False
        self._choose, self._ending, self._say = choose, ending, say
        self._ids: list[int] = []
        self._text, self._said = Text(), 0
        self._forced: list[int] = []
        self._stopped = False

    @property
    def tokens(self) -> int:
        return len(self._ids)

    @property
    def place(self) -> int:
        return len(self.prompt.ids) + len(self._ids) - 1

    @property
    def goes_on(self) -> bool:
        return not self._stopped and self.tokens < self.limit

    def take(self, logits: np.ndarray) -> None:
        """Choose the next token, or go back and end the answer in time."""
        self.went_back = False
        if self._forced:
            token = self._forced.pop(0)
        else:
            token = self._choose(logits)
            if self._ending is not None and token not in (END, END_OF_TEXT):
                token = self._in_time(token, self._ending)
        self._choose.accept(token)
        self.last = token
        self._stopped = token in (END, END_OF_TEXT)
        if not self._stopped:
            self._ids.append(token)
            self._text.add(token)
            self._say_on(self._text.whole)

    def _in_time(self, token: int, ending: Ending) -> int:
        """`token`, or another one with which the answer comes to its end in its room."""
        after = self._text.after(token)
        if ending.fits(after, self.tokens + 1):
            return token
        if forced := ending.fixed(self._text.whole):
            self._forced = forced
        elif close := ending.close(self._text):
            kept, self._forced = close
            self.went_back = kept < self.tokens
            del self._ids[kept:]
            self._text.cut(kept)
            self._choose.restart(self._ids)
        else:
            return token
        return self._forced.pop(0)

    def _say_on(self, text: str) -> None:
        """Say what will stay: all of it, or under a grammar what will not be gone back behind."""
        if self._say is None:
            return
        until = len(text)
        if self._ending is not None and not self._stopped:
            until = self._ending.settled(self._text)
        if until > self._said:
            self._say(text[self._said : until])
            self._said = until

    def answer(self, prefill_seconds: float, generation_seconds: float) -> Answer:
        text = self._text.final
        self._stopped, stopped = True, self._stopped
        self._say_on(text)
        wound_up = self._ending is not None and self._ending.wound_up
        return Answer(
            text=text,
            ids=tuple(self._ids),
            limit=self.limit,
            finish="length" if not stopped else "wound_up" if wound_up else "stop",
            prompt_tokens=len(self.prompt.ids),
            evaluated_tokens=self.evaluated,
            prefill_seconds=prefill_seconds,
            generation_seconds=generation_seconds,
        )
