"""One GGUF model under llama.cpp on this machine's processor: token ids in, an answer out.

What a prompt shares with the one before it is not evaluated again, and prompts that are mostly the
same are answered side by side. Answers are greedy unless a temperature is given, and the same call
in the same order gives the same answer.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from immune_data.common import processes
from immune_data.common.errors import ImmuneError
from immune_train.edge import grammar
from immune_train.edge.ending import Ending, Text
from immune_train.edge.llama_cpp_api import Context, Model
from immune_train.edge.questions import END, END_OF_TEXT, FIRST_ADDED, START, shared, text_ids

_BATCH = 512
# Tokenised by the model and by us when a model is loaded: were they different, so would be all.
_PROBE = "Source IP: 10.0.0.7 | Timewindow: 12\n• 10:15-10:20 - it's a scan of 3,890 ports [HIGH]\n"

# Prompts that share so much of the shortest one are answered side by side.
_MOSTLY = 0.5
# Sequences that a context can hold; they take memory only by what they hold.
_SEQUENCES = 8

# A grammar is asked about the likeliest tokens first, and about all only where it refuses these.
_LIKELIEST = 64


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


def together(prompts: Sequence[Prompt]) -> bool:
    """Whether prompts are answered side by side: if they are mostly the same.

    Each step then reads the model's weights once for all of them. Prompts that share little would
    need as much memory as they are many.
    """
    lengths = [len(prompt.ids) for prompt in prompts]
    return len(prompts) > 1 and _shared_by_all(prompts) > _MOSTLY * min(lengths)


def _shared_by_all(prompts: Sequence[Prompt]) -> int:
    first, *others = prompts
    # The last token of each prompt is its own, since the logits after it are.
    whole = min(len(prompt.ids) for prompt in prompts) - 1
    return min([whole, *(shared(first.ids, other.ids) for other in others)])


class LocalModel:
    """A loaded model.

    Args:
        context: the most tokens of a prompt and its answer.

    Raises:
        ImmuneError: the file is no GGUF that llama.cpp can load, its vocabulary is not Qwen2.5's,
            its positions do not reach so far, there is no memory for it, or llama-cpp-python is
            missing.
    """

    def __init__(
        self, path: Path, context: int, *, threads: int | None = None, flash: bool = False
    ) -> None:
        self.path = path
        self.context = context
        self.threads = threads or processes.processors()
        self._flash = flash
        self.model = Model(path)
        self._check_vocabulary()
        if context > self.model.trained_context:
            raise ImmuneError(
                f"{path.name} knows positions up to {self.model.trained_context:,}, and a context "
                f"of {context:,} tokens goes beyond them: lower --context or what is asked for"
            )
        self._cells = 0
        self._make_room(context)

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
            grammar: the task whose grammar the answer must follow.
            exactly: go on to `limit` tokens whether or not the model would stop, to time it.
            say: is given each piece of the answer's text as soon as it is there.

        Raises:
            ImmuneError: the prompt fills the context, or leaves less than the grammar needs.
        """
        prompt = Prompt(ids, limit, grammar)
        writing = self._begin(prompt, temperature, seed, exactly=exactly, say=say)
        start = time.perf_counter()
        writing.evaluated = self._evaluate(list(ids))
        writing.take(self._context.logits(self._last))
        first = time.perf_counter()
        while writing.goes_on:
            step = self._next(writing, 0)
            del self._evaluated[writing.place :]
            self._context.decode([step])
            self._evaluated.append(writing.last)
            writing.take(self._context.logits(0))
        return writing.answer(first - start, time.perf_counter() - first)

    def answers(
        self,
        prompts: Sequence[Prompt],
        *,
        temperature: float = 0.0,
        seed: int = 0,
        exactly: bool = False,
        beside: bool = True,
    ) -> list[Answer]:
        """The answers to some prompts, written side by side if these are mostly the same.

        Args:
            beside: whether they may be; a processor that is slow at few rows at a time is faster
                one after the other.

        Raises:
            ImmuneError: a prompt fills the context.
        """
        if not beside or len(prompts) > _SEQUENCES or not together(prompts):
            return [
                self.answer(
                    *(prompt.ids, prompt.limit),
                    grammar=prompt.grammar,
                    temperature=temperature,
                    seed=seed,
                    exactly=exactly,
                )
                for prompt in prompts
            ]
        writings = [self._begin(prompt, temperature, seed, exactly=exactly) for prompt in prompts]
        begin = _shared_by_all(prompts)
        ends = sum(len(writing.prompt.ids) - begin + writing.limit for writing in writings)
        self._make_room(begin + ends)
        start = time.perf_counter()
        beginning = list(prompts[0].ids[:begin])
        writings[0].evaluated = self._evaluate(beginning)
        self._evaluated = []  # until all is well
        for sequence in range(1, len(prompts)):
            self._context.share(0, sequence, begin)
        self._read_ends(writings, begin)
        first = time.perf_counter()
        took = self._write_on(writings)
        for sequence in range(len(prompts)):
            self._context.drop(sequence, begin if sequence == 0 else 0)
        self._evaluated = beginning
        return [
            writing.answer(first - start if i == 0 else 0.0, took[i])
            for i, writing in enumerate(writings)
        ]

    def _read_ends(self, writings: Sequence[_Writing], begin: int) -> None:
        """Evaluate what each prompt has of its own, and choose the first token of each answer."""
        rest = [
            (token, at, sequence, at == len(writing.prompt.ids) - 1)
            for sequence, writing in enumerate(writings)
            for at, token in enumerate(writing.prompt.ids)
            if at >= begin
        ]
        for start in range(0, len(rest), _BATCH):
            part = rest[start : start + _BATCH]
            self._context.decode(part)
            for i, (_, _, sequence, last) in enumerate(part):
                writings[sequence].evaluated += 1
                if last:
                    writings[sequence].take(self._context.logits(i))

    def _write_on(self, writings: Sequence[_Writing]) -> list[float]:
        """Write all answers to their ends, a token of each at a time; the seconds of each."""
        took = [0.0] * len(writings)
        start = time.perf_counter()
        while going := [i for i, writing in enumerate(writings) if writing.goes_on]:
            self._context.decode([self._next(writings[i], i) for i in going])
            for row, i in enumerate(going):
                writings[i].take(self._context.logits(row))
                took[i] = time.perf_counter() - start
        return took

    def _next(self, writing: _Writing, sequence: int) -> tuple[int, int, int, bool]:
        """The last token of an answer, to be evaluated; what it went back behind is dropped."""
        if writing.went_back:
            self._context.drop(sequence, writing.place)
        return writing.last, writing.place, sequence, True

    def forget(self) -> None:
        """Drop what was evaluated, so that the next prompt shares nothing with it."""
        self._evaluated = []

    def _begin(
        self,
        prompt: Prompt,
        temperature: float,
        seed: int,
        *,
        exactly: bool,
        say: Callable[[str], None] | None = None,
    ) -> _Writing:
        limit = min(prompt.limit, self.context - len(prompt.ids))
        if limit < 1:
            raise ImmuneError(
                f"the prompt takes {len(prompt.ids)} tokens and the context holds {self.context}: "
                "raise --context"
            )
        random = np.random.default_rng(seed)
        choose = _Chooser(self.model, prompt.grammar, temperature, random, never_end=exactly)
        ending = Ending(prompt.grammar, limit) if prompt.grammar else None
        return _Writing(prompt, limit, choose, ending, say)

    def _make_room(self, cells: int) -> None:
        """Have a context of at least so many tokens; what was evaluated is lost to a larger one."""
        if cells <= self._cells:
            return
        if self._cells:
            self._context.close()
        self._evaluated: list[int] = []
        self._cells = -(-cells // _BATCH) * _BATCH
        self._context = Context(
            self.model,
            self._cells,
            batch=_BATCH,
            threads=self.threads,
            sequences=_SEQUENCES,
            flash=self._flash,
        )

    def _evaluate(self, ids: list[int]) -> int:
        """Evaluate what of `ids` is not yet; the number of tokens that took."""
        # At least the last one, whose logits are asked for.
        known = min(shared(self._evaluated, ids), len(ids) - 1)
        self._evaluated = []
        self._context.drop(0, known)
        for start in range(known, len(ids), _BATCH):
            places = range(start, min(start + _BATCH, len(ids)))
            self._context.decode([(ids[at], at, 0, at == len(ids) - 1) for at in places])
            self._last = len(places) - 1
        self._evaluated = ids
        return len(ids) - known

    def _check_vocabulary(self) -> None:
        model = self.model
        known = model.size > max(START, END) and all(
            model.tokenise(name, special=True) == [token]
            for name, token in (("<|im_start|>", START), ("<|im_end|>", END))
        )
        if not known or model.tokenise(_PROBE) != text_ids(_PROBE):
            raise ImmuneError(f"{self.path} does not have Qwen2.5's vocabulary: export ours")


class _Writing:
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
        choose: _Chooser,
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


class _Chooser:
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
