"""Qwen2.5's tokenizer a second time: byte-pair ranks in, a Hugging Face `tokenizers` one out.

The ranks say which byte strings are tokens; Hugging Face wants the merges that make them. A
token's merge is the last one that byte-pair encoding does on its bytes when only tokens of lower
rank are known, which gives back the 151,387 merges of Qwen's own `tokenizer.json`, in order.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping

import tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

# As `tokenizer_config.json` of Qwen2.5-1.5B-Instruct has them, from id 151643; written here
# again, so that the package's own list is checked against something.
SPECIAL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>"),
    *("<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
)
OTHER_ADDED_TOKENS = (
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"),
    *("<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
)
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_characters() -> list[str]:
    """The character that stands for each byte in a byte-level vocabulary.

    Printable characters of Latin-1 stand for themselves, the others for those from U+0100 on.
    """
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def last_merge(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens that become `token`, by merging its bytes lowest rank first."""
    rank = ranks[token]
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [left + right for left, right in itertools.pairwise(parts)]
        best = min(range(len(pairs)), key=lambda i: ranks.get(pairs[i], rank))
        assert ranks.get(pairs[best], rank) < rank, f"no merge leads to {token!r}"
        parts[best : best + 2] = [pairs[best]]
    left, right = parts
    return left, right


def merges(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The merges behind byte-pair ranks, in order of rank."""
    tokens = sorted((token for token in ranks if len(token) > 1), key=ranks.__getitem__)
    return [last_merge(token, ranks) for token in tokens]


@functools.cache
def tokenizer(*, added_tokens: bool = True) -> Tokenizer:
    """The tokenizer; without its added tokens it reads those in a text as ordinary text."""
    if added_tokens:
        found = Tokenizer.from_str(tokenizer(added_tokens=False).to_str())
        found.add_special_tokens([_added(token, special=True) for token in SPECIAL_TOKENS])
        found.add_tokens([_added(token, special=False) for token in OTHER_ADDED_TOKENS])
        return found
    encoding = tiktoken.get_encoding("qwen2.5")
    ranks = {
        encoding.decode_single_token_bytes(rank): rank
        for rank in range(encoding.n_vocab - len(SPECIAL_TOKENS) - len(OTHER_ADDED_TOKENS))
    }
    characters = byte_characters()

    def text(token: bytes) -> str:
        return "".join([characters[byte] for byte in token])

    found = Tokenizer(
        BPE(
            vocab={text(token): rank for token, rank in ranks.items()},
            merges=[(text(left), text(right)) for left, right in merges(ranks)],
        )
    )
    found.normalizer = normalizers.NFC()
    found.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    found.decoder = decoders.ByteLevel(add_prefix_space=False, use_regex=False)
    return found


def _added(token: str, *, special: bool) -> AddedToken:
    return AddedToken(token, special=special, normalized=False)
