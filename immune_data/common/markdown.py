"""Markdown that cannot be broken into: text in, the same text without a markup of its own out."""

from __future__ import annotations

import re

from immune_data.common.text import visible

# An underscore within a word marks nothing up.
_MARKS = re.compile(r"[\\`*\[\]<>~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def escaped(text: str) -> str:
    """A text on one line, none of whose characters marks anything up."""
    line = " ".join(visible(text).split())
    return _MARKS.sub(lambda mark: f"\\{mark[0]}", line.replace("&", "&amp;"))
