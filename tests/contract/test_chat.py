"""Conversation lengths are those that a trainer sees, by another tokenizer's count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from corpus import records
from examples import examples
from hypothesis import assume, given
from hypothesis import strategies as st
from reference_tokenizer import tokenizer

from immune_data.contract import chat, control_tokens
from immune_data.contract.tokens import count
from immune_data.contract.vocabulary import ADDED_TOKENS
from immune_data.prompts import Message

PIECES = [*"\n\r\t \x1c\x85\u2028\u0301e", "\n\n", "\r\n"]
PIECES += ["word", "日本", "🦙", "'s", "12", "...", "{x}", "<|im", "|>", "user", "assistant"]
content = st.one_of(
    st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
)
system = st.builds(Message, st.just("system"), content)
user = st.builds(Message, st.just("user"), content)
assistant = st.builds(Message, st.just("assistant"), content)
conversations = st.builds(
    lambda first, turns, asked, answer: [
        *first,
        *(message for turn in turns for message in turn),
        asked,
        answer,
    ],
    st.lists(system, max_size=1),
    st.lists(st.tuples(user, assistant), max_size=2),
    user,
    assistant,
)


def reference_count(text: str) -> int:
    return len(tokenizer().encode(text).ids)


def template(messages: Sequence[dict[str, str]]) -> str:
    """Qwen2.5's chat template for conversations without tools, written down once more."""
    default = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    if messages[0]["role"] != "system":
        messages = [{"role": "system", "content": default}, *messages]
    return "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)


def test_a_conversation_as_text() -> None:
    asked = [Message("user", "Hello")]
    assert chat.render([Message("system", "Be brief."), *asked, Message("assistant", "Hi")]) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\nHi<|im_end|>\n"
    )


def test_the_default_system_message_stands_where_there_is_none() -> None:
    asked = [Message("user", "Hello"), Message("assistant", "Hi")]
    assert chat.render(asked) == (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
        "<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nHi<|im_end|>\n"
    )
    assert chat.with_system(asked)[1:] == asked
    own = [Message("system", ""), *asked]
    assert chat.with_system(own) == own
    assert len(asked) == 2


def test_a_conversation_of_known_length() -> None:
    """`<|im_start|>system\\nA<|im_end|>\\n` is six tokens, and so is each of the others."""
    messages = [Message("system", "A"), Message("user", "B"), Message("assistant", "C")]
    lengths = chat.measure(messages)
    assert (lengths.prompt, lengths.answer, lengths.total) == (6 + 6 + 3, 3, 18)


@given(conversations)
@examples(200)
def test_lengths_are_those_of_the_rendered_text(messages: list[Message]) -> None:
    # Hypothesis draws strings of our own modules too; what those count as is another test's.
    assume(not any(control_tokens.contains(message.content) for message in messages))
    lengths = chat.measure(messages)
    text = chat.render(messages)
    assert text == template([{"role": m.role, "content": m.content} for m in messages])
    assert lengths.total == reference_count(text)
    answer = f"{messages[-1].content}<|im_end|>\n"
    assert lengths.prompt == reference_count(text.removesuffix(answer))
    assert lengths.prompt + lengths.answer == lengths.total
    assert lengths.answer >= 2


@pytest.mark.parametrize("token", ADDED_TOKENS)
def test_a_control_token_in_a_message_counts_as_its_letters(token: str) -> None:
    plain = tokenizer(added_tokens=False)

    def counted(*contents: str) -> int:
        pairs = zip(("system", "user", "assistant"), contents, strict=True)
        return sum(3 + len(plain.encode(f"{role}\n{text}").ids) for role, text in pairs)

    contents = ("Be brief.", f"What is {token}?", f"{token} is{token}\n{token}")
    messages = [
        Message(role, text)
        for role, text in zip(("system", "user", "assistant"), contents, strict=True)
    ]
    assert chat.measure(messages).total == counted(*contents)
    assert chat.measure(messages).total > reference_count(chat.render(messages))


@given(conversations, st.lists(content, max_size=2), st.data())
@examples(200)
def test_texts_counted_before_change_nothing(
    messages: list[Message], others: list[str], data: st.DataObject
) -> None:
    """Texts that messages end in, on a line of their own or not, and texts of no message."""
    known = {text: count(text) for text in others}
    for message in messages:
        tail = message.content[data.draw(st.integers(0, len(message.content))) :]
        known[tail] = count(tail)
    assert chat.measure(messages, known) == chat.measure(messages)


def assert_lengths(found: list[dict[str, Any]]) -> None:
    texts = [template(record["messages"]) for record in found]
    clean = [
        (record, text)
        for record, text in zip(found, texts, strict=True)
        if not any(
            token in message["content"] for message in record["messages"] for token in ADDED_TOKENS
        )
    ]
    assert len(clean) > 0.9 * len(found)
    encoded = tokenizer().encode_batch_fast([text for _, text in clean])
    assert [record["tokens"] for record, _ in clean] == [len(ids) for ids in encoded]


def test_emitted_records_say_their_length(sample_out: Callable[[str], Path]) -> None:
    assert_lengths(records(sample_out("unified-v2"), "train")[::40])
    assert_lengths(records(sample_out("unified-v2"), "eval")[::10])


def test_emitted_real_records_say_their_length(real_out: Callable[[str], Path]) -> None:
    assert_lengths(records(real_out("published"), "train", "published"))
    assert_lengths(records(real_out("published"), "eval", "published"))
