"""Qwen2.5's added tokens written out in a text: neutralised visibly, and restored exactly.

A token is made harmless by a backslash after its `<`: `<|im_end|>` becomes `<\\|im_end|>`. Text
that already looks like that gets one backslash more, so that taking one away from each always
gives the original, however often a text was escaped. No tokenizer setting can undo it: added
tokens are matched as exact strings, and no normalisation removes a backslash.
"""

from __future__ import annotations

import re

from immune_data.contract.vocabulary import ADDED_TOKENS

_TOKEN = re.compile("|".join(map(re.escape, ADDED_TOKENS)))
_TAILS = "|".join(re.escape(token[1:]) for token in ADDED_TOKENS)
_ESCAPABLE = re.compile(rf"<(?=\\*(?:{_TAILS}))")
_ESCAPED = re.compile(rf"<\\(?=\\*(?:{_TAILS}))")


def contains(text: str) -> bool:
    """Whether `text` contains one of the added tokens."""
    return _TOKEN.search(text) is not None


def escape(text: str) -> str:
    """`text` with every added token, and everything that looks like one escaped, escaped once."""
    return _ESCAPABLE.sub(r"<\\", text)


def unescape(text: str) -> str:
    """The text that `escape` was given."""
    return _ESCAPED.sub("<", text)
