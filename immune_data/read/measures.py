"""Measure an answer, except for its tokens: a text and its task in, lengths out."""

from __future__ import annotations

import re

# Rule 4: the word boundaries and letter case are those of Python's `re` on text. Ignoring case, it
# also matches a dotless and a dotted I, so a level is named by its group and not by its text.
_RISK_LEVEL = re.compile(
    r"\b(?:(?P<Critical>critical)|(?P<High>high)|(?P<Medium>medium)|(?P<Low>low))\b",
    re.IGNORECASE,
)


def lengths(task: str, text: str) -> dict[str, int | str | None]:
    """Code points, words by `str.split()`, and the first level word of a risk answer."""
    level = _RISK_LEVEL.search(text) if task == "risk" else None
    return {
        "chars": len(text),
        "words": len(text.split()),
        "risk_level": level.lastgroup if level else None,
    }
