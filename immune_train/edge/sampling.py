"""How a token is chosen: logits in, one token out, as a grammar and a temperature have it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from immune_data.common.errors import ImmuneError
from immune_data.contract.vocabulary import ADDED_TOKENS, END, END_OF_TEXT, FIRST_ADDED
from immune_train.edge import grammar
from immune_train.edge.llama_cpp_api import Model

# An answer is text: of the added tokens only those that end it are ever written.
NEVER_WRITTEN = tuple(
    token
    for token in range(FIRST_ADDED, FIRST_ADDED + len(ADDED_TOKENS))
    if token not in (END, END_OF_TEXT)
)

# A grammar is asked about the likeliest tokens first, and about all only where it refuses these.
_LIKELIEST = 64


class Chooser:
    """The next token: logits in, one token out."""

    def __init__(
        self,
        model: Model,
        task: str | None,
        temperature: float,
        random: np.random.Generator,
        *,
        never_end: bool,
    ) -> None:
        self._model, self._task = model, task
        self._temperature = temperature
        self._random = random
        self._never_end = never_end
        self.restart([])

    def __call__(self, logits: np.ndarray) -> int:
        if self._temperature > 0:
            noise = self._random.gumbel(size=len(logits))
            logits = logits / self._temperature + noise
        else:
            logits = logits.copy()
        # An answer is text: of the added tokens, and of the rows that are no token, only those
        # that end it can be chosen.
        ends = logits[[END, END_OF_TEXT]]
        logits[FIRST_ADDED:] = -np.inf
        if not self._never_end:
            logits[[END, END_OF_TEXT]] = ends
        return int(logits.argmax()) if self._grammar is None else self._grammar.best(logits)

    def accept(self, token: int) -> None:
        if self._grammar is not None:
            self._grammar.accept(token)

    def restart(self, ids: Sequence[int]) -> None:
        """Begin with these tokens of an answer."""
        gbnf = grammar.gbnf(self._task) if self._task else None
        self._grammar = Grammar(self._model, gbnf) if gbnf else None
        for token in ids:
            self.accept(token)


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

    def best(self, logits: np.ndarray) -> int:
        """The likeliest token that may come next, as if all were asked about."""
        likeliest = np.argpartition(logits, -_LIKELIEST)[-_LIKELIEST:]
        for tokens in (likeliest, np.arange(len(logits))):
            tokens = tokens[logits[tokens] != -np.inf]
            tokens = tokens[self.allowed(tokens)]
            if len(tokens):
                return int(tokens[logits[tokens].argmax()])
        return END  # the grammar is at its end

    def accept(self, token: int) -> None:
        self._library.llama_sampler_accept(self._sampler, token)
