"""What quantising costs: eval conversations and GGUF files in, perplexities and agreement out.

llama.cpp itself reads each file and predicts the answers, every token from the true ones before
it. Counted are the tokens that carried loss in training, the answer's and its `<|im_end|>`, and
no others: the evidence before them was never learned, and would drown them.
"""

from __future__ import annotations

import ctypes
import json
import math
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from immune_data.chat import with_system
from immune_data.errors import ImmuneError
from immune_data.prompts import Message
from immune_train.quantise import silence

if TYPE_CHECKING:
    import numpy as np

Report = Callable[[str], None]

_BATCH = 256  # tokens evaluated at a time; each that is counted costs a row of the vocabulary


@dataclass(frozen=True)
class Reading:
    """What one model makes of the answers: for each token the log of its probability, and the
    token that the model would have written."""

    log_probabilities: np.ndarray
    greedy: np.ndarray

    @property
    def perplexity(self) -> float:
        return math.exp(-float(self.log_probabilities.mean()))

    def agreement(self, other: Reading) -> float:
        """The share of tokens that both would have written."""
        return float((self.greedy == other.greedy).mean())


def conversations(path: Path, limit: int) -> list[list[Message]]:
    """Conversations of an eval file, at most `limit` of them, of each task as many.

    Raises:
        ImmuneError: the file cannot be read, or a line holds no conversation with an answer.
    """
    by_task: dict[str, list[list[Message]]] = defaultdict(list)
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                task, messages = _conversation(line, f"{path}, line {number},")
                if len(by_task[task]) < limit:
                    by_task[task].append(messages)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ImmuneError(f"cannot read {path}: {reason}") from None
    chosen: list[list[Message]] = []
    queues = [by_task[task] for task in sorted(by_task)]
    while any(queues) and len(chosen) < limit:
        chosen += [queue.pop(0) for queue in queues if queue]
    if not chosen:
        raise ImmuneError(f"{path} holds no conversations: name an eval.jsonl that was emitted")
    return chosen[:limit]


def _conversation(line: str, where: str) -> tuple[str, list[Message]]:
    try:
        content = json.loads(line)
        messages = [Message(str(one["role"]), str(one["content"])) for one in content["messages"]]
        if not messages[:-1] or messages[-1].role != "assistant" or not messages[-1].content:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise ImmuneError(
            f"{where} holds no conversation with an answer: name an eval.jsonl that was emitted"
        ) from None
    return str(content.get("task", "")), messages


def read(path: Path, chosen: Sequence[Sequence[Message]], threads: int, report: Report) -> Reading:
    """What the model in `path` makes of the answers of the conversations.

    Raises:
        ImmuneError: llama.cpp cannot load it, or a conversation is longer than its context.
    """
    import numpy as np

    with _Model(path, threads) as model:
        rows = [model.tokenise(messages) for messages in chosen]
        model.open(max(len(tokens) for tokens, _ in rows))
        parts = []
        for i, (tokens, answer) in enumerate(rows, 1):
            if i % 8 == 1:
                report(f"reading answers by {path.name}: {i} of {len(rows)}")
            parts.append(model.predict(tokens, answer))
    return Reading(*(np.concatenate([part[i] for part in parts]) for i in (0, 1)))


class _Model:
    """A GGUF file loaded by llama.cpp."""

    def __init__(self, path: Path, threads: int) -> None:
        import llama_cpp

        self._path, self._threads = path, threads
        self._library = llama_cpp
        self._model: Any = None
        self._context: Any = None

    def __enter__(self) -> _Model:
        said = silence()
        parameters = self._library.llama_model_default_params()
        parameters.n_gpu_layers = 0
        self._library.llama_backend_init()
        self._model = self._library.llama_model_load_from_file(bytes(self._path), parameters)
        if not self._model:
            reason = f" ({said[-1]})" if said else ""
            raise ImmuneError(f"llama.cpp cannot load {self._path}{reason}: export it again")
        self._vocabulary = self._library.llama_model_get_vocab(self._model)
        self._width = self._library.llama_vocab_n_tokens(self._vocabulary)
        self._start, self._end = (
            self._pieces(token, special=True)[0] for token in ("<|im_start|>", "<|im_end|>")
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._context:
            self._library.llama_free(self._context)
        if self._model:
            self._library.llama_model_free(self._model)

    def open(self, length: int) -> None:
        """Make room for conversations of up to `length` tokens."""
        trained = self._library.llama_model_n_ctx_train(self._model)
        if length > trained:
            raise ImmuneError(
                f"a conversation has {length:,} tokens and {self._path.name} takes {trained:,}: "
                "name another file with --eval"
            )
        parameters = self._library.llama_context_default_params()
        parameters.n_ctx = -(-length // _BATCH) * _BATCH
        parameters.n_batch = parameters.n_ubatch = _BATCH
        parameters.n_threads = parameters.n_threads_batch = self._threads
        parameters.no_perf = True
        self._context = self._library.llama_init_from_model(self._model, parameters)
        if not self._context:
            raise ImmuneError(
                f"there is no memory for {length:,} tokens of context with {self._path.name}: "
                "close other programs or measure elsewhere"
            )

    def tokenise(self, messages: Sequence[Message]) -> tuple[list[int], int]:
        """A conversation as it was trained on, and where its answer starts.

        What a message says is plain text, in which a control token is letters; the answer is
        tokenised apart from what precedes it; the last token is the answer's `<|im_end|>`.
        """
        *asked, answer = with_system(messages)
        tokens: list[int] = []
        for message in asked:
            tokens += [self._start, *self._pieces(f"{message.role}\n{message.content}")]
            tokens += [self._end, *self._pieces("\n")]
        tokens += [self._start, *self._pieces(f"{answer.role}\n")]
        return [*tokens, *self._pieces(answer.content), self._end], len(tokens)

    def _pieces(self, text: str, *, special: bool = False) -> list[int]:
        """The tokens of a text, composed as Qwen2.5's tokenizer does and llama.cpp does not."""
        content = unicodedata.normalize("NFC", text).encode()
        room = len(content) + 2
        found = (ctypes.c_int32 * room)()
        count = self._library.llama_tokenize(
            self._vocabulary, content, len(content), found, room, False, special
        )
        return list(found[:count])

    def predict(self, tokens: Sequence[int], answer: int) -> tuple[np.ndarray, np.ndarray]:
        """For each token from `answer` on the log of its probability, and the likeliest token."""
        import numpy as np

        library = self._library
        library.llama_memory_clear(library.llama_get_memory(self._context), True)
        probabilities, greedy = [], []
        batch = library.llama_batch_init(_BATCH, 0, 1)
        try:
            for start in range(0, len(tokens) - 1, _BATCH):
                part = tokens[start : min(start + _BATCH, len(tokens) - 1)]
                wanted = []
                for i, token in enumerate(part):
                    batch.token[i], batch.pos[i] = token, start + i
                    batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
                    batch.logits[i] = counted = start + i + 1 >= answer
                    if counted:
                        wanted.append(i)
                batch.n_tokens = len(part)
                if library.llama_decode(self._context, batch):
                    raise ImmuneError(
                        f"llama.cpp cannot evaluate {self._path.name}: there may be too little "
                        "memory, or the file is damaged"
                    )
                for i in wanted:
                    row = np.ctypeslib.as_array(
                        library.llama_get_logits_ith(self._context, i), (self._width,)
                    )
                    highest = int(row.argmax())
                    spread = np.exp(row - row[highest], dtype=np.float64).sum()
                    value = float(row[tokens[start + i + 1]]) - float(row[highest])
                    if not math.isfinite(value):
                        raise ImmuneError(
                            f"{self._path.name} predicts numbers that are not finite: the model "
                            "is damaged, or went wrong in training"
                        )
                    probabilities.append(value - math.log(spread))
                    greedy.append(highest)
        finally:
            library.llama_batch_free(batch)
        return np.array(probabilities), np.array(greedy, dtype=np.int64)
