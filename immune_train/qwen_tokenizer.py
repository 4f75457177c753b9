"""Qwen2.5's tokenizer without a download: the vendored byte-pair ranks in, a Hugging Face one out.

Hugging Face's format needs the merges, which the ranks only imply. A token's merge is the last one
that byte-pair encoding does on its bytes when only tokens of lower rank are known; this gives the
151,387 merges of Qwen's own `tokenizer.json`, in order.

It is for models that are made here (see `random_model`). A downloaded model has its own tokenizer,
and training always uses the model's.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from immune_data.contract.chat import DEFAULT_SYSTEM
from immune_data.contract.vocabulary import ADDED_TOKENS, PATTERN, qwen2_5

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

# The first fourteen of the added tokens are special to Qwen2.5's tokenizer, the rest are not.
SPECIAL = 14
END_OF_TURN, END_OF_TEXT = "<|im_end|>", "<|endoftext|>"

# Renders as Qwen2.5's template does without tools, which is all that is trained on.
CHAT_TEMPLATE = (
    "{% if messages[0].role != 'system' %}"
    "{{ '<|im_start|>system\\n" + DEFAULT_SYSTEM + "<|im_end|>\\n' }}"
    "{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def tokenizer() -> PreTrainedTokenizerBase:
    """The tokenizer as `transformers` loads it, with its chat template.

    Raises:
        ImmuneError: the vendored ranks are damaged.
    """
    from transformers import Qwen2TokenizerFast

    tokenizer = Qwen2TokenizerFast(
        tokenizer_object=backend(),
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
        unk_token=None,
        bos_token=None,
        additional_special_tokens=list(ADDED_TOKENS[1:SPECIAL]),
        add_prefix_space=False,
        split_special_tokens=False,
        model_max_length=131_072,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


@functools.cache
def backend(*, added_tokens: bool = True) -> Tokenizer:
    """The bare `tokenizers` object; without added tokens it reads them as ordinary text."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import BPE

    if added_tokens:
        bare = backend(added_tokens=False)
        tokenizer = Tokenizer(bare.model)  # which the two share
        tokenizer.normalizer = bare.normalizer
        tokenizer.pre_tokenizer = bare.pre_tokenizer
        tokenizer.decoder = bare.decoder
        for i, token in enumerate(ADDED_TOKENS):
            entry = AddedToken(token, special=i < SPECIAL, normalized=False)
            (tokenizer.add_special_tokens if i < SPECIAL else tokenizer.add_tokens)([entry])
        return tokenizer
    ranks = qwen2_5()["mergeable_ranks"]
    characters = byte_characters()
    texts = {token: "".join([characters[byte] for byte in token]) for token in ranks}
    tokenizer = Tokenizer(
        BPE(
            vocab={texts[token]: rank for token, rank in ranks.items()},
            merges=[(texts[left], texts[right]) for left, right in merges(ranks)],
        )
    )
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    # The library's types do not know these parameters of Qwen's own tokenizer.json.
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, use_regex=False)  # type: ignore[call-arg]
    return tokenizer


def byte_characters() -> list[str]:
    """The character that stands for each byte in a byte-level vocabulary.

    Printable bytes of Latin-1 are represented by themselves, the others by characters from U+0100.
    """
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def merges(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The merges behind byte-pair ranks, in order of rank."""
    tokens = sorted((token for token in ranks if len(token) > 1), key=ranks.__getitem__)
    return [_last_merge(token, ranks) for token in tokens]


def _last_merge(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    rank = ranks[token]
    # Where the parts begin and end, and the rank of each two that are next to one another.
    ends = list(range(len(token) + 1))
    pairs = [ranks.get(token[i : i + 2], rank) for i in range(len(token) - 1)]
    while len(pairs) > 1:
        best = min(pairs)
        assert best < rank, f"no merge leads to {token!r}"
        at = pairs.index(best)
        del pairs[at], ends[at + 1]
        if at > 0:
            pairs[at - 1] = ranks.get(token[ends[at - 1] : ends[at + 1]], rank)
        if at < len(pairs):
            pairs[at] = ranks.get(token[ends[at] : ends[at + 2]], rank)
    return token[: ends[1]], token[ends[1] :]
