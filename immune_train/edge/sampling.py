"""How a token is chosen: logits in, tokens out, the likeliest first, as a grammar and a temperature
have it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache

import numpy as np

from immune_data.common.errors import ImmuneError
from immune_data.contract.tokens import token_bytes
from immune_data.contract.vocabulary import ADDED_TOKENS, END, END_OF_TEXT, FIRST_ADDED
from immune_train.edge.llama_cpp_api import Model
from immune_train.edge.replay import Replay

# An answer is text: of the added tokens only those that end it are ever written.
NEVER_WRITTEN = tuple(
    token
    for token in range(FIRST_ADDED, FIRST_ADDED + len(ADDED_TOKENS))
    if token not in (END, END_OF_TEXT)
)

# So many of the likeliest tokens are looked at first, and more only where none of these will do.
_LIKELIEST, _MORE = 64, 4096


class Chooser:
    """The next token: logits in, the tokens that may follow out, the likeliest first.

    Args:
        gbnf: the grammar that the answer must follow.
        replay: says which token is the likeliest, whatever the logits are.
    """

    def __init__(
        self,
        model: Model,
        gbnf: str | None,
        temperature: float,
        random: np.random.Generator,
        *,
        never_end: bool,
        replay: Replay | None = None,
    ) -> None:
        self._model, self._gbnf = model, gbnf
        self._replay = replay
        self._temperature = temperature
        self._random = random
        self._never_end = never_end
        self.restart([])

    def __call__(
        self, logits: np.ndarray, beginnings: Callable[[], set[str] | None] | None = None
    ) -> Iterator[int]:
        """The tokens that may come next; none where the grammar lets nothing through.

        With a temperature, each is drawn from those that are left.

        Args:
            beginnings: says, where none of the likeliest will do, what a token must begin with, in
                lower case; None if with anything.
        """
        if self._temperature > 0:
            # Gumbel's distribution, which numpy draws from more slowly. In one array: memory for
            # several of them takes longer than the numbers in them.
            noise = self._random.standard_exponential(len(logits))
            np.log(noise, out=noise)
            logits = np.subtract(logits / self._temperature, noise, out=noise)
        else:
            logits = logits.copy()
        if self._replay is not None:
            logits[self._replay.after(self._ids)] = np.finfo(logits.dtype).max
        # An answer is text: of the added tokens, and of the rows that are no token, only those
        # that end it can be chosen.
        ends = logits[[END, END_OF_TEXT]]
        if self._grammar is not None:  # it would let all of them through at its end
            logits[self._model.ends] = -np.inf
        logits[FIRST_ADDED:] = -np.inf
        if not self._never_end:
            logits[[END, END_OF_TEXT]] = ends
        first = self._in_order(np.array([logits.argmax()]), logits)
        yield from first  # as a rule all that is asked for
        every = np.arange(len(logits))
        likeliest = self._in_order(_likeliest(_LIKELIEST, every, logits), logits)
        yield from likeliest
        begin = beginnings() if beginnings else None
        if begin is not None:
            every = _beginning_with(begin)
        elif self._grammar is not None:
            every = self._grammar.possible()
        more = self._in_order(_likeliest(_MORE, every, logits), logits)
        yield from more
        others = self._in_order(every, logits)
        yield from others
        if begin is None and not (first or likeliest or more or others):
            yield END  # the grammar is at its end

    def _in_order(self, tokens: np.ndarray, logits: np.ndarray) -> list[int]:
        """Those of some tokens that may come, which are not looked at a second time."""
        found = tokens[logits[tokens] != -np.inf]
        if self._grammar is not None and len(found):
            found = found[self._grammar.allowed(found)]
        found = found[np.argsort(-logits[found], kind="stable")]
        logits[tokens] = -np.inf
        return found.tolist()

    def accept(self, token: int) -> None:
        self._ids.append(token)
        if self._grammar is not None:
            self._grammar.accept(token)

    def restart(self, ids: Sequence[int]) -> None:
        """Begin with these tokens of an answer."""
        self._ids: list[int] = []
        self._grammar = Grammar(self._model, self._gbnf) if self._gbnf else None
        for token in ids:
            self.accept(token)


def probabilities(logits: np.ndarray, choices: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """How likely the model holds each of some choices, given by their tokens, if it is one."""
    highest = max(float(logits[list(tokens)].max()) for tokens in choices.values())
    weights = {
        name: float(np.exp(logits[list(tokens)].astype(np.float64) - highest).sum())
        for name, tokens in choices.items()
    }
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def _likeliest(number: int, tokens: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """So many of some tokens."""
    if len(tokens) <= number:
        return tokens
    return tokens[np.sort(np.argpartition(logits[tokens], -number)[-number:])]


@cache
def _by_beginning() -> dict[str, np.ndarray]:
    """The tokens by the ASCII character that they begin with, in lower case."""
    tokens: dict[str, list[int]] = {}
    for token in range(FIRST_ADDED):
        first = token_bytes(token)[:1]
        if first.isascii():
            tokens.setdefault(first.decode().lower(), []).append(token)
    return {first: np.array(of) for first, of in tokens.items()}


def _beginning_with(characters: set[str]) -> np.ndarray:
    return np.concatenate([_by_beginning()[character] for character in sorted(characters)])


@cache
def _first_characters() -> tuple[np.ndarray, np.ndarray]:
    """For each token that of its first character, itself where there is none; and all of these."""
    tokens = {token_bytes(token): token for token in range(FIRST_ADDED)}
    first = np.arange(END + 1)
    for text, token in tokens.items():
        ones = 8 - (text[0] ^ 0xFF).bit_length()  # a byte within a character begins with one
        size = {0: 1, 1: len(text)}.get(ones, ones)
        first[token] = tokens.get(text[:size], token)
    return first, np.unique(first)


class Grammar:
    """A grammar on its way through an answer.

    Raises:
        ImmuneError: llama.cpp cannot read the grammar.
    """

    def __init__(self, model: Model, gbnf: str) -> None:
        import llama_cpp

        self._library = llama_cpp
        self._sampler = llama_cpp.llama_sampler_init_grammar(
            model.vocabulary, gbnf.encode(), b"root"
        )
        if not self._sampler:
            raise ImmuneError("llama.cpp cannot read the grammar: see what it says above")

    def __del__(self) -> None:
        if getattr(self, "_sampler", None):
            self._library.llama_sampler_free(self._sampler)

    def allowed(self, tokens: Sequence[int] | np.ndarray) -> np.ndarray:
        """For each token whether it may come next."""
        rows = np.zeros(len(tokens), dtype=[("id", "i4"), ("logit", "f4"), ("p", "f4")])
        rows["id"] = tokens
        library = self._library
        data = rows.ctypes.data_as(ctypes.POINTER(library.llama_token_data))
        array = library.llama_token_data_array(data, len(rows), -1, False)
        library.llama_sampler_apply(self._sampler, ctypes.byref(array))
        return rows["logit"] != -np.inf

    def possible(self) -> np.ndarray:
        """The tokens whose first character may come next; no others may."""
        first, characters = _first_characters()
        may_come = np.zeros(len(first), dtype=bool)
        may_come[characters] = self.allowed(characters)
        return np.flatnonzero(may_come[first])

    def accept(self, token: int) -> None:
        self._library.llama_sampler_accept(self._sampler, token)
