"""Which tokens carry loss: conversations and a model's tokenizer in, token ids and labels out.

This is the only place where conversations are rendered and masked; both back ends train on its
rows unchanged. A row is the tokenizer's own chat template applied to the messages, with two rules
of ours. The content of a message is ordinary text: a control token spelled out in it (`<|im_end|>`)
is read as letters and never ends a turn. And only the answer and the `<|im_end|>` that ends it
carry loss, so that the model learns to answer and to stop, and nothing else.

The answer's first token starts where the answer starts, as in inference: what the template puts
before the answer is tokenised separately.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from immune_data.common.errors import ImmuneError
from immune_data.contract import chat
from immune_data.prompts import Message

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

    from immune_data.contract.record import Record

NO_LOSS = -100
"""The label of a token without loss, which PyTorch's cross entropy ignores."""

END_OF_TURN = "<|im_end|>"

# Stand-ins for the contents of messages in a rendered template; no template contains these.
_MARK = "\ue000{}\ue001"
_MARKED = re.compile("\ue000(\\d+)\ue001")

_AT_ONCE = 128  # conversations tokenised in one call, which uses all cores


@dataclass(frozen=True)
class Row:
    """One tokenised conversation.

    `answer` is the index of the answer's first token, `end` the index after its `<|im_end|>`.
    `joined` is the number of tokens when the whole text is tokenised at once, which is what a
    record's `tokens` counts: one less if white space at an answer's start joins a line end.
    """

    input_ids: list[int]
    answer: int
    end: int
    joined: int
    task: str
    incident_id: str

    @property
    def labels(self) -> list[int]:
        """For each token its own id if it carries loss, otherwise `NO_LOSS`."""
        answer = self.input_ids[self.answer : self.end]
        tail = len(self.input_ids) - self.end
        return [NO_LOSS] * self.answer + answer + [NO_LOSS] * max(0, tail)

    @property
    def supervised(self) -> int:
        """The number of tokens that carry loss."""
        return max(0, min(self.end, len(self.input_ids)) - self.answer)

    def cut(self, length: int) -> Row:
        """The row's first `length` tokens, as a library that truncates would leave it."""
        return Row(
            self.input_ids[:length],
            min(self.answer, length),
            min(self.end, length),
            min(self.joined, length),
            self.task,
            self.incident_id,
        )


class Renderer:
    """Rows as one tokenizer makes them.

    Raises:
        ImmuneError: the tokenizer cannot be used, or its chat template does not render
            conversations as they were counted in the dataset.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._name = tokenizer.name_or_path or "the model's tokenizer"
        if not getattr(tokenizer, "is_fast", False):
            raise ImmuneError(
                f"{self._name} has no tokenizer.json: use a model with a fast tokenizer"
            )
        if tokenizer.chat_template is None:
            raise ImmuneError(f"{self._name} has no chat template: use an instruct model")
        self._template = tokenizer.apply_chat_template
        self._text, self._control = _split_tokenizer(tokenizer)
        if END_OF_TURN not in self._control:
            raise ImmuneError(f"{self._name} has no token {END_OF_TURN}: use a Qwen2.5 model")
        self._controls = re.compile(
            "(" + "|".join(map(re.escape, sorted(self._control, key=len, reverse=True))) + ")"
        )
        self._pieces: dict[tuple[str, ...], list[str]] = {}

    def rows(self, records: Iterable[Record]) -> Iterator[Row]:
        """A row for each record, in order."""
        records = iter(records)
        while batch := list(islice(records, _AT_ONCE)):
            conversations = [self._segments(record.messages) for record in batch]
            texts = [part.text for parts in conversations for part in parts if not part.is_control]
            ids = iter(self._encode(texts))
            for record, parts in zip(batch, conversations, strict=True):
                yield self._row(record, parts, ids)

    def _row(self, record: Record, parts: list[_Part], ids: Iterator[list[int]]) -> Row:
        tokens: list[int] = []
        answer = end = joined = 0
        previous = ""
        for part in parts:
            part_ids = [self._control[part.text]] if part.is_control else next(ids)
            if part.is_answer:
                answer = len(tokens)
                if part.text[:1].isspace():
                    whole, prefix = self._encode([previous + part.text, previous])
                    joined = len(whole) - len(prefix) - len(part_ids)
            elif part.is_control and answer and not end:
                end = len(tokens) + 1
            tokens += part_ids
            previous = part.text
        return Row(tokens, answer, end, len(tokens) + joined, record.task, record.incident_id)

    def _encode(self, texts: list[str]) -> list[list[int]]:
        encodings = self._text.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _segments(self, messages: Sequence[Message]) -> list[_Part]:
        """The conversation as control tokens and the texts between them, the answer separately."""
        roles = tuple(message.role for message in messages)
        if roles not in self._pieces:
            self._pieces[roles] = self._template_pieces(roles)
        parts: list[_Part] = []
        text = ""
        for i, piece in enumerate(self._pieces[roles]):
            if i % 2:  # the content of message number `piece`
                if int(piece) < len(messages) - 1:
                    text += messages[int(piece)].content
                else:
                    parts += [_Part(text), _Part(messages[-1].content, is_answer=True)]
                    text = ""
                continue
            for j, between in enumerate(self._controls.split(piece)):
                if j % 2:
                    parts += [_Part(text), _Part(between, is_control=True)]
                    text = ""
                else:
                    text += between
        return [part for part in [*parts, _Part(text)] if part.text or part.is_answer]

    def _template_pieces(self, roles: tuple[str, ...]) -> list[str]:
        """What the template puts around messages of these roles: texts and numbers in turn."""
        messages = [Message(role, _MARK.format(i)) for i, role in enumerate(roles)]
        as_dicts = [{"role": message.role, "content": message.content} for message in messages]
        text = self._template(as_dicts, tokenize=False)
        if text != chat.render(messages):
            raise ImmuneError(
                f"the chat template of {self._name} does not render conversations as they were "
                "counted when the dataset was emitted: use a Qwen2.5 instruct model"
            )
        return _MARKED.split(text)


@dataclass(frozen=True)
class _Part:
    text: str
    is_control: bool = False
    is_answer: bool = False


def _split_tokenizer(tokenizer: PreTrainedTokenizerBase) -> tuple[Tokenizer, dict[str, int]]:
    """The tokenizer without its added tokens, and those tokens' ids.

    `split_special_tokens` is not enough: it still reads added tokens that are not special, such as
    `<tool_call>`, as control tokens.
    """
    from tokenizers import Tokenizer

    whole = tokenizer.backend_tokenizer
    control = {token.content: number for number, token in whole.get_added_tokens_decoder().items()}
    text = Tokenizer(whole.model)  # shared: it takes a second to copy
    text.normalizer, text.pre_tokenizer = whole.normalizer, whole.pre_tokenizer
    text.decoder = whole.decoder
    return text, control
