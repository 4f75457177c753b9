"""One GGUF model under llama.cpp on this machine's processor: token ids in, an answer out.

What a prompt shares with the one before it is not evaluated again, and prompts that are mostly the
same are answered side by side. Answers are greedy unless a temperature is given, and the same call
in the same order gives the same answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from immune_data.common import processes
from immune_data.common.errors import ImmuneError
from immune_data.contract.tokens import text_ids
from immune_data.contract.vocabulary import END, START
from immune_train.edge import grammar as grammars
from immune_train.edge.ending import Ending
from immune_train.edge.grounded import Shown
from immune_train.edge.llama_cpp_api import Context, Model
from immune_train.edge.replay import Replay
from immune_train.edge.sampling import Chooser
from immune_train.edge.writing import Answer, Prompt, Writing

_BATCH = 512
Row = tuple[int, int, int, bool]  # a token, its position, its sequence, and if logits are wanted
# Tokenised by the model and by us when a model is loaded: were they different, so would be all.
_PROBE = "Source IP: 10.0.0.7 | Timewindow: 12\n• 10:15-10:20 - it's a scan of 3,890 ports [HIGH]\n"

# Prompts that share so much of the shortest one are answered side by side.
_MOSTLY = 0.5
# Sequences that a context can hold; they take memory only by what they hold.
_SEQUENCES = 8


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


def shared(some: Sequence[int], others: Sequence[int]) -> int:
    """The length of what two sequences have in common at their start."""
    length = 0
    for one, other in zip(some, others, strict=False):
        if one != other:
            break
        length += 1
    return length


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
        self._evaluated: list[int] = []
        self._context: Context
        self._cells = 0
        self._make_room(context)

    def answer(
        self,
        ids: Sequence[int],
        limit: int,
        *,
        grammar: grammars.Form | None = None,
        shown: Shown | None = None,
        temperature: float = 0.0,
        seed: int = 0,
        exactly: bool = False,
        spans: bool = True,
        drafts: bool = False,
        say: Callable[[str], None] | None = None,
    ) -> Answer:
        """The answer to a prompt, at most `limit` tokens of it.

        Args:
            grammar: the form that the answer must have.
            shown: the names that the answer may hold; None if it may hold any.
            exactly: go on to `limit` tokens whether or not the model would stop, to time it.
            spans: evaluate in one batch what a grammar lets follow alone.
            drafts: evaluate in one batch what follows if the answer goes on to copy its prompt.
            say: is given each piece of the answer's text as soon as it is there.

        Raises:
            ImmuneError: the prompt fills the context, or leaves less than the grammar needs.
        """
        writing = self._begin(
            Prompt(ids, limit, grammar, shown),
            *(temperature, seed),
            exactly=exactly,
            spans=spans,
            drafts=drafts,
            say=say,
        )
        return self._written(writing)

    def _written(self, writing: Writing) -> Answer:
        """The answer, written from its prompt to its end."""
        start = time.perf_counter()
        writing.evaluated = self._evaluate(list(writing.prompt.ids))
        writing.take(self._context.logits(self._last))
        first = time.perf_counter()
        while writing.goes_on:
            self._write([writing])
        self._evaluated = writing.read
        return writing.answer(first - start, time.perf_counter() - first)

    def answers(
        self,
        prompts: Sequence[Prompt],
        *,
        temperature: float = 0.0,
        seed: int = 0,
        exactly: bool = False,
        spans: bool = True,
        drafts: bool = False,
        side_by_side: bool = True,
    ) -> list[Answer]:
        """The answers to some prompts, written side by side if these are mostly the same.

        Args:
            spans: evaluate in one batch what a grammar lets follow alone.
            drafts: evaluate in one batch what follows if the answer goes on to copy its prompt.
            side_by_side: whether they may be written so; a processor that is slow at few rows at
                a time is faster one after the other.

        Raises:
            ImmuneError: a prompt fills the context.
        """
        writings = [
            self._begin(prompt, temperature, seed, exactly=exactly, spans=spans, drafts=drafts)
            for prompt in prompts
        ]
        if not side_by_side or len(prompts) > _SEQUENCES or not together(prompts):
            return [self._written(writing) for writing in writings]
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

    def _read_ends(self, writings: Sequence[Writing], begin: int) -> None:
        """Evaluate what each prompt has of its own, and choose the first token of each answer."""
        rest: list[Row] = [
            (token, at, sequence, at == len(writing.prompt.ids) - 1)
            for sequence, writing in enumerate(writings)
            for at, token in enumerate(writing.prompt.ids)
            if at >= begin
        ]
        for writing in writings:
            writing.evaluated += len(writing.prompt.ids) - begin
        for i, (_, _, sequence, _) in self._decoded(rest):
            writings[sequence].take(self._context.logits(i))

    def _write_on(self, writings: Sequence[Writing]) -> list[float]:
        """Write all answers to their ends, a step of each at a time; the seconds of each."""
        took = [0.0] * len(writings)
        start = time.perf_counter()
        while going := [i for i, writing in enumerate(writings) if writing.goes_on]:
            self._write(writings)
            for i in going:
                took[i] = time.perf_counter() - start
        return took

    def _write(self, writings: Sequence[Writing]) -> None:
        """Evaluate what is pending of each answer, each in its own sequence, and go on with it."""
        rows: list[Row] = []
        for sequence, writing in enumerate(writings):
            if not writing.goes_on:
                continue
            place = writing.place
            self._context.drop(sequence, place)
            tokens, first = writing.step()
            rows += [(token, place + i, sequence, i >= first) for i, token in enumerate(tokens)]
        for i, (_, position, sequence, _) in self._decoded(rows):
            if writings[sequence].wants(position):
                writings[sequence].take(self._context.logits(i))

    def _decoded(self, rows: Sequence[Row]) -> Iterator[tuple[int, Row]]:
        """Evaluate rows; each whose logits are wanted, which are there until the next one is asked
        for, with its place in its batch."""
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            self._context.decode(part)
            yield from ((i, row) for i, row in enumerate(part) if row[3])

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
        spans: bool,
        drafts: bool,
        say: Callable[[str], None] | None = None,
    ) -> Writing:
        limit = min(prompt.limit, self.context - len(prompt.ids))
        if limit < 1:
            raise ImmuneError(
                f"the prompt takes {len(prompt.ids)} tokens and the context holds {self.context}: "
                "raise --context"
            )
        random = np.random.default_rng(seed)
        form, shown = prompt.grammar, prompt.shown
        gbnf = grammars.gbnf(form) if form else None
        replay = Replay(prompt.replay) if prompt.replay is not None else None
        choose = Chooser(self.model, gbnf, temperature, random, never_end=exactly, replay=replay)
        may_stand = shown.is_whole if shown else None
        ending = Ending(form, limit, may_stand) if form else None
        return Writing(prompt, limit, choose, ending, say, spans=spans, drafts=drafts)

    def _make_room(self, cells: int) -> None:
        """Have a context of at least so many tokens; what was evaluated is lost to a larger one."""
        if cells <= self._cells:
            return
        if self._cells:
            self._context.close()
        self._evaluated = []
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
