"""Qwen2.5's ChatML rendering: a conversation in; its text, token ids and token counts out.

The source of the format is the chat template in Qwen2.5-1.5B-Instruct's `tokenizer_config.json`,
for conversations without tools.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from immune_data.contract.tokens import count, count_joined, text_ids
from immune_data.contract.vocabulary import END, START
from immune_data.prompts import Message

DEFAULT_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."


@dataclass(frozen=True)
class Lengths:
    """Tokens of a conversation: those before the answer, and those of the answer.

    `prompt` ends with the newline after the last `<|im_start|>assistant`; `answer` is the answer,
    its `<|im_end|>` and the final newline. Together they are what a trainer sees.
    """

    prompt: int
    answer: int

    @property
    def total(self) -> int:
        return self.prompt + self.answer


def with_system(messages: Sequence[Message]) -> list[Message]:
    """The messages, with Qwen2.5's default system message if they have none."""
    if messages and messages[0].role == "system":
        return list(messages)
    return [Message("system", DEFAULT_SYSTEM), *messages]


def render(messages: Sequence[Message]) -> str:
    """The text that the chat template makes of the messages."""
    return "".join(
        f"<|im_start|>{message.role}\n{message.content}<|im_end|>\n"
        for message in with_system(messages)
    )


def prompt_ids(messages: Sequence[Message]) -> list[int]:
    """The tokens of a prompt, including the newline after `assistant`.

    The template's control tokens are control tokens, and everything in a message is ordinary text,
    so that a control token written out in the evidence can never end a turn.
    """
    ids = []
    for message in with_system(messages):
        ids += [START, *text_ids(f"{message.role}\n{message.content}"), END, *text_ids("\n")]
    return [*ids, START, *text_ids("assistant\n")]


def measure(messages: Sequence[Message], known: Mapping[str, int] | None = None) -> Lengths:
    """Token counts of a conversation whose last message is the answer.

    `known` contains the token counts of texts that were counted before: of a message that ends in
    one, only the rest is counted. Text between the template's control tokens is counted as ordinary
    text, so that a control token written out in an answer counts as its letters, as a trainer must
    read it.
    """
    *prompt_messages, answer = with_system(messages)
    # <|im_start|> and <|im_end|> are a token each, and so is the newline after <|im_end|>.
    prompt = sum(3 + _count(message, known or {}) for message in prompt_messages)
    header = 1 + count(f"{answer.role}\n")
    total = 3 + _count(answer, known or {})
    return Lengths(prompt + header, total - header)


def _count(message: Message, known: Mapping[str, int]) -> int:
    text = f"{message.role}\n{message.content}"
    for tail, tokens in known.items():
        if tail and text.endswith(tail):
            return count_joined(text.removesuffix(tail), tail, tokens)
    return count(text)
