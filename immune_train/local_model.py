"""One GGUF model under llama.cpp on this machine's processor: token ids in, an answer out.

What a prompt shares with the one before it is not evaluated again. Answers are greedy unless a
temperature is given, and the same call in the same order gives the same answer.
"""

from __future__ import annotations

import codecs
import ctypes
import os
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from immune_data.errors import ImmuneError
from immune_train.prompting import (
    END,
    END_OF_TEXT,
    FIRST_ADDED,
    START,
    shared,
    text_ids,
    token_bytes,
)

if TYPE_CHECKING:
    from llama_cpp import Llama

INSTALL = "pip install llama-cpp-python"

_MAGIC = b"GGUF"
_BATCH = 512
# Tokenised by the model and by us when a model is loaded: were they different, so would be all.
_PROBE = "Source IP: 10.0.0.7 | Timewindow: 12\n• 10:15-10:20 - it's a scan of 3,890 ports [HIGH]\n"

# A grammar is asked about the likeliest tokens first, and about all only where it refuses these.
_LIKELIEST = 64
# So near the end of its room an answer under a grammar is brought to its end: where the grammar
# lets a text end, it ends. What is left then is headings and levels, and they fit.
_WIND_UP = 128
_CLOSERS = ("\n\n", "\n")


@dataclass(frozen=True)
class Answer:
    """An answer and what it took.

    `finish` says why it ends: `stop` (the model ended it), `length` (it was cut off), or
    `wound_up` (its room ran out, and the grammar was led to its end).
    """

    text: str
    tokens: int
    finish: str
    prompt_tokens: int
    evaluated_tokens: int
    prefill_seconds: float
    generation_seconds: float


class LocalModel:
    """A loaded model.

    Raises:
        ImmuneError: the file is no GGUF that llama.cpp can load, its vocabulary is not Qwen2.5's,
            or llama-cpp-python is missing.
    """

    def __init__(
        self, path: Path, context: int, *, threads: int | None = None, flash: bool = False
    ) -> None:
        self.path = path
        self.context = context
        self.threads = threads or len(os.sched_getaffinity(0))
        self._llama = _load(path, context, self.threads, flash)
        # At the latest when Python ends, before it takes llama_cpp apart.
        weakref.finalize(self, self._llama.close)
        self._check_vocabulary()
        self._vocabulary = self._llama.n_vocab()
        self._evaluated: list[int] = []

    def answer(
        self,
        ids: Sequence[int],
        limit: int,
        *,
        grammar: str | None = None,
        temperature: float = 0.0,
        seed: int = 0,
        exactly: bool = False,
        say: Callable[[str], None] | None = None,
    ) -> Answer:
        """The answer to a prompt, at most `limit` tokens of it.

        Args:
            grammar: GBNF that the answer must follow.
            exactly: go on to `limit` tokens whether or not the model would stop, to time it.
            say: is given each piece of the answer's text as soon as it is there.

        Raises:
            ImmuneError: the prompt fills the context.
        """
        limit = min(limit, self.context - len(ids))
        if limit < 1:
            raise ImmuneError(
                f"the prompt takes {len(ids)} tokens and the context holds {self.context}: "
                "raise --context"
            )
        choose = _Chooser(
            self._llama, grammar, temperature, np.random.default_rng(seed), never_end=exactly
        )
        text, decoder = "", codecs.getincrementaldecoder("utf-8")("replace")
        start = time.perf_counter()
        evaluated = self._evaluate(list(ids))
        token = choose(self._logits(), limit)
        first = time.perf_counter()
        tokens = 0
        while token not in (END, END_OF_TEXT):
            tokens += 1
            piece = decoder.decode(token_bytes(token))
            text += piece
            if say and piece:
                say(piece)
            if tokens == limit:
                break
            self._evaluate([*self._evaluated, token])
            token = choose(self._logits(), limit - tokens)
        rest = decoder.decode(b"", final=True)
        if say and rest:
            say(rest)
        stopped = token in (END, END_OF_TEXT)
        return Answer(
            text=text + rest,
            tokens=tokens,
            finish="length" if not stopped else "wound_up" if choose.wound_up else "stop",
            prompt_tokens=len(ids),
            evaluated_tokens=evaluated,
            prefill_seconds=first - start,
            generation_seconds=time.perf_counter() - first,
        )

    def forget(self) -> None:
        """Drop what was evaluated, so that the next prompt shares nothing with it."""
        self._evaluated = []

    def _evaluate(self, ids: list[int]) -> int:
        """Evaluate what of `ids` is not yet; the number of tokens that took."""
        # At least the last one, whose logits are asked for.
        known = min(shared(self._evaluated, ids), len(ids) - 1)
        llama = self._llama
        llama.n_tokens = known  # what is cached from here on, `eval` drops
        self._evaluated = []
        try:
            llama.eval(ids[known:])
        except RuntimeError as error:
            raise ImmuneError(f"llama.cpp cannot evaluate with {self.path}: {error}") from None
        self._evaluated = ids
        return len(ids) - known

    def _logits(self) -> np.ndarray:
        import llama_cpp

        logits = llama_cpp.llama_get_logits_ith(self._llama.ctx, -1)
        return np.ctypeslib.as_array(logits, shape=(self._vocabulary,))

    def _check_vocabulary(self) -> None:
        llama = self._llama
        known = llama.n_vocab() > max(START, END) and all(
            llama.tokenize(name.encode(), add_bos=False, special=True) == [token]
            for name, token in (("<|im_start|>", START), ("<|im_end|>", END))
        )
        if not known or llama.tokenize(_PROBE.encode(), add_bos=False) != text_ids(_PROBE):
            raise ImmuneError(f"{self.path} does not have Qwen2.5's vocabulary: export ours")


class _Chooser:
    """The next token: logits and the tokens that are left in, one token out."""

    def __init__(
        self,
        llama: Llama,
        grammar: str | None,
        temperature: float,
        random: np.random.Generator,
        *,
        never_end: bool,
    ) -> None:
        self._grammar = Grammar(llama, grammar) if grammar else None
        self._temperature = temperature
        self._random = random
        self._never_end = never_end
        self._closers = [END, *(text_ids(closer)[0] for closer in _CLOSERS)]
        self.wound_up = False

    def __call__(self, logits: np.ndarray, left: int) -> int:
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
        if self._grammar is None:
            return int(logits.argmax())
        token = self._closing(left)
        if token is None:
            token = self._grammar.best(logits)
        self._grammar.accept(token)
        return token

    def _closing(self, left: int) -> int | None:
        if left > _WIND_UP or not self._grammar:
            return None
        allowed = self._grammar.allowed(self._closers)
        if allowed.any():
            self.wound_up = True
            return self._closers[int(allowed.argmax())]
        return None


class Grammar:
    """A grammar on its way through an answer.

    Raises:
        ImmuneError: llama.cpp cannot read the grammar.
    """

    def __init__(self, llama: Llama, gbnf: str) -> None:
        import llama_cpp

        self._library = llama_cpp
        vocabulary = llama_cpp.llama_model_get_vocab(llama.model)
        self._sampler = llama_cpp.llama_sampler_init_grammar(vocabulary, gbnf.encode(), b"root")
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


def metadata(path: Path) -> dict[str, str]:
    """What a GGUF file says of itself, by key; its weights are not read.

    Raises:
        ImmuneError: it is no GGUF file, or llama-cpp-python is missing.
    """
    llama = _opened(path, vocab_only=True)
    try:
        return dict(llama.metadata)
    finally:
        llama.close()


def _load(path: Path, context: int, threads: int, flash: bool) -> Llama:
    return _opened(
        path,
        n_ctx=context,
        n_batch=_BATCH,
        n_threads=threads,
        n_threads_batch=threads,
        flash_attn=flash,
    )


def _opened(path: Path, **settings: Any) -> Llama:
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise ImmuneError(f"cannot read the model {path}: {error.strerror}") from None
    if magic != _MAGIC:
        raise ImmuneError(f"{path} is not a GGUF file: make one with `immune_train.export`")
    try:
        import llama_cpp
    except ImportError as error:
        raise ImmuneError(f"llama-cpp-python cannot be loaded ({error}): {INSTALL}") from None
    try:
        return llama_cpp.Llama(str(path), verbose=False, **settings)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise ImmuneError(
            f"llama.cpp cannot load {path} ({error}): is the file whole, and is there memory?"
        ) from None
