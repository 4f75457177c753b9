"""Error messages that were stored as answers: a text in, whether it is such a message out."""

from __future__ import annotations

import re

_ERROR = re.compile(
    r"LLM query failed"
    r"|\A\W*(?:[\w-]+ ){0,3}(?:query|analysis|assessment|summary|summarization) failed\b"
    r"|Error code: \d{3}\b|insufficient_quota|<title>\s*[45]\d\d ",
    re.IGNORECASE,
)


def is_error_text(text: str) -> bool:
    """Whether an answer is the text of an error."""
    return _ERROR.search(text) is not None
