"""What is measured of an answer beside its tokens: a text and its task in, lengths out."""

from __future__ import annotations

import re

# Rule 4: the word boundaries and letter case are those of Python's `re` on text.
_RISK_LEVEL = re.compile(r"\b(Critical|High|Medium|Low)\b", re.IGNORECASE)


def lengths(task: str, text: str) -> dict[str, int | str | None]:
    """Code points, words by `str.split()`, and the first level word of a risk answer."""
    level = _RISK_LEVEL.search(text) if task == "risk" else None
    return {
        "chars": len(text),
        "words": len(text.split()),
        "risk_level": level[1].capitalize() if level else None,
    }
