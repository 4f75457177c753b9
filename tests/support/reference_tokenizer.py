"""Qwen2.5's tokenizer a second time: Hugging Face's library over merges found from the ranks.

What it is built of is written here again, so that the packages' own lists are checked against
something.
"""

from __future__ import annotations

from immune_data.contract import vocabulary
from immune_train.qwen_tokenizer import SPECIAL, backend

# As `tokenizer_config.json` of Qwen2.5-1.5B-Instruct has them, from id 151643.
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

assert len(SPECIAL_TOKENS) == SPECIAL
assert (*SPECIAL_TOKENS, *OTHER_ADDED_TOKENS) == vocabulary.ADDED_TOKENS
assert vocabulary.PATTERN == PATTERN

tokenizer = backend
