"""Qwen2.5's byte-pair vocabulary: the file `qwen.tiktoken` in, a tiktoken encoding out.

The ranks are vendored from the `dashscope` wheel (Apache-2.0, see LICENSE and NOTICE next to this
file): depending on that wheel would bring twenty packages of an HTTP client for one data file.
"""

from __future__ import annotations

import hashlib
from binascii import a2b_base64
from pathlib import Path

from immune_data.common.errors import ImmuneError

RANKS = Path(__file__).with_name("qwen.tiktoken")
RANKS_SHA256 = "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186"

# `pretokenize_regex` of Qwen2's tokenizer.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# The 22 tokens that Qwen2.5's tokenizer adds to the ranks, in id order from 151643. The first
# fourteen are special to that tokenizer, but all are matched before the text is split.
ADDED_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
FIRST_ADDED = 151_643
START, END = (FIRST_ADDED + ADDED_TOKENS.index(t) for t in ("<|im_start|>", "<|im_end|>"))
END_OF_TEXT = FIRST_ADDED


def qwen2_5() -> dict:
    """The arguments of `tiktoken.Encoding` for Qwen2.5.

    Raises:
        ImmuneError: the ranks are not the file this release was made with.
    """
    data = RANKS.read_bytes()
    if hashlib.sha256(data).hexdigest() != RANKS_SHA256:
        raise ImmuneError(
            f"{RANKS} is damaged (its sha256 is not {RANKS_SHA256[:8]}…): reinstall immune"
        )
    fields = data.split()  # a token and its rank on each line
    ranks = dict(zip(map(a2b_base64, fields[::2]), map(int, fields[1::2]), strict=True))
    return {
        "name": "qwen2.5",
        "pat_str": PATTERN,
        "mergeable_ranks": ranks,
        "special_tokens": {token: len(ranks) + i for i, token in enumerate(ADDED_TOKENS)},
    }
