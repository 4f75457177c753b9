"""Text that addresses the model that reads it: a text in, the words that address a model out.

Evidence contains what attackers sent, and answers may repeat it or plead for themselves. The audit
checks emitted evidence and answers for the same, in SQL (`prompt_injection` and
`prompt_injection_in_responses` of `sql/audit/`).
"""

from __future__ import annotations

import re

# What begins with a word is tried where one begins: at few places, as most texts address nobody.
_MODEL = re.compile(
    r"\b(?:"
    r"(?:ignore|disregard|forget|override|bypass|overlook)\s+(?:\w+\s+){0,3}"
    r"(?:previous|prior|above|earlier|preceding|foregoing|system|your)\s+(?:\w+\s+){0,2}"
    r"(?:instruction|prompt|rule|direction|command|guideline|context|message|task)"
    r"|(?:new|updated|real|actual|additional)\s+instructions?\s*:"
    r"|you\s+are\s+(?:now|no\s+longer)\b|pretend\s+(?:to\s+be|you|that)\b"
    r"|as\s+an?\s+(?:ai|large\s+language)\b"
    r"|(?:system|developer)\s+(?:prompt|message)\b"
    r"|do\s+anything\s+now\b|jailbr(?:eak|oken)|dear\s+(?:ai|llm|model|assistant)\b"
    r"|(?:classify|label|mark|rate|report|treat|flag)\s+(?:\w+\s+){0,4}as\s+"
    r"(?:benign|normal|safe|harmless|legitimate|low|info)\b"
    r"|do\s+not\s+(?:report|mention|flag|alert|summari[sz]e|tell|reveal)\b"
    r"|(?:respond|reply|answer|output)\s+(?:only|exactly|with)\b"
    r")|^\s*(?:system|assistant)\s*:|\[/?INST\]|<</?SYS>>"
    r"|###\s*(?:instruction|system)",
    re.IGNORECASE | re.MULTILINE,
)

# Words for somebody who gives grades; an answer has no reason to mention grades.
_JUDGE = re.compile(
    r"\b(?:"
    r"(?:dear|attention|note\s+(?:to|for)(?:\s+the)?|hey)[\s,:]+(?:the\s+)?"
    r"(?:judge|grader|evaluator|reviewer|examiner|scorer)s?\b"
    r"|(?:give|grant|award|assign|rate|score|grade|rank)\s+"
    r"(?:me|us|it|(?:(?:this|that|the|my|our)\s+)?"
    r"(?:answer|summary|analysis|response|candidate|label)(?:\s+[A-Z])?|[B-Z])\b"
    r"(?:\s+[\w/]+){0,4}\s+(?:10\b|ten\b|100\b|(?:as|the|very)\s+(?:first|best)\b"
    r"|first[ \t]*(?:$|[.!,\n])"
    r"|(?:full|top|highest|maximum|best|perfect)\s+(?:score|grade|rating|mark|point))"
    r"|(?:score|grade|rating|marks?)\s*(?:should|must|shall|has\s+to|needs\s+to)\s+be\b"
    r"|(?:best|highest|perfect|full|top)\s+(?:possible\s+)?(?:score|grade|rating|marks)\b"
    r"|10\s*(?:/|out\s+of)\s*10\b"
    r")|[\"'](?:scores?|ranking)[\"']\s*:\s*[{\[]",
    re.IGNORECASE,
)


def model(text: str) -> str | None:
    """The first words of a text that address a language model; None if there are none."""
    match = _MODEL.search(text)
    return match and match[0]


def judge(text: str) -> str | None:
    """The first words of a text that address its judge or any model; None if there are none."""
    match = _JUDGE.search(text)
    return match[0] if match else model(text)
