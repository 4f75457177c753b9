"""The cost of quantising: eval conversations and GGUF files in, perplexities and agreement out.

llama.cpp itself reads each file and predicts the answers, every token from the true ones before it.
Only the tokens that carried loss in training are counted, the answer's and its `<|im_end|>`: the
evidence before them was never learned, and has many more tokens.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from immune_data.common import textfile
from immune_data.common.errors import ImmuneError
from immune_data.contract import chat
from immune_data.contract.tokens import text_ids
from immune_data.contract.vocabulary import END
from immune_data.prompts import Message
from immune_train.edge.llama_cpp_api import Context, Model

Report = Callable[[str], None]

_BATCH = 256  # tokens evaluated at a time; each counted token needs a row of the vocabulary's size


@dataclass(frozen=True)
class Reading:
    """A model's predictions of the answers: for each token the log of its probability, and the
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
    """Conversations of an eval file, at most `limit` of them, equally many of each task.

    Raises:
        ImmuneError: the file cannot be read, or a line is not a conversation with an answer.
    """
    by_task: dict[str, list[list[Message]]] = defaultdict(list)
    text = textfile.read(path)
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        task, messages = _conversation(line, f"{path}, line {number},")
        if len(by_task[task]) < limit:
            by_task[task].append(messages)
    sample: list[list[Message]] = []
    queues = [by_task[task] for task in sorted(by_task)]
    while any(queues) and len(sample) < limit:
        sample += [queue.pop(0) for queue in queues if queue]
    if not sample:
        raise ImmuneError(f"{path} contains no conversations: name an emitted eval.jsonl")
    return sample[:limit]


def _conversation(line: str, where: str) -> tuple[str, list[Message]]:
    try:
        content = json.loads(line)
        messages = msgspec.convert(content["messages"], list[Message])
        if not messages[:-1] or messages[-1].role != "assistant" or not messages[-1].content:
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ImmuneError(
            f"{where} is not a conversation with an answer: name an emitted eval.jsonl"
        ) from None
    return str(content.get("task", "")), messages


def read(path: Path, sample: Sequence[Sequence[Message]], threads: int, report: Report) -> Reading:
    """The predictions of the model in `path` for the answers of the conversations.

    Raises:
        ImmuneError: llama.cpp cannot load it, or a conversation is longer than its context.
    """
    model = Model(path)
    rows = [_tokenise(messages) for messages in sample]
    length = max(len(tokens) for tokens, _ in rows)
    if length > model.trained_context:
        raise ImmuneError(
            f"a conversation has {length:,} tokens, but {path.name} supports "
            f"{model.trained_context:,}: name another file with --eval"
        )
    cells = -(-length // _BATCH) * _BATCH
    context = Context(model, cells, batch=_BATCH, threads=threads)
    try:
        results = []
        for i, (tokens, answer) in enumerate(rows, 1):
            if i % 8 == 1:
                report(f"reading answers by {path.name}: {i} of {len(rows)}")
            results.append(_predict(context, path.name, tokens, answer))
    finally:
        context.close()
        model.close()
    return Reading(*(np.concatenate([part[i] for part in results]) for i in (0, 1)))


def _tokenise(messages: Sequence[Message]) -> tuple[list[int], int]:
    """A conversation as it was trained on, and where its answer starts.

    The answer is tokenised separately from the prompt; the last token is its `<|im_end|>`.
    """
    *prompt, answer = messages
    tokens = chat.prompt_ids(prompt)
    return [*tokens, *text_ids(answer.content), END], len(tokens)


def _predict(
    context: Context, name: str, tokens: Sequence[int], answer: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each token from `answer` on the log of its probability, and the likeliest token."""
    context.drop(0)
    probabilities, greedy = [], []
    for start in range(0, len(tokens) - 1, _BATCH):
        places = range(start, min(start + _BATCH, len(tokens) - 1))
        context.decode([(tokens[at], at, 0, at + 1 >= answer) for at in places])
        for at in places:
            if at + 1 < answer:
                continue
            row = context.logits(at - start)
            highest = int(row.argmax())
            spread = np.exp(row - row[highest], dtype=np.float64).sum()
            value = float(row[tokens[at + 1]]) - float(row[highest])
            if not math.isfinite(value):
                raise ImmuneError(
                    f"{name} predicts numbers that are not finite: the model is damaged, or went "
                    "wrong in training"
                )
            probabilities.append(value - math.log(spread))
            greedy.append(highest)
    return np.array(probabilities), np.array(greedy, dtype=np.int64)
