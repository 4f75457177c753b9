"""The names in evidence and answers: a text in lower case in, the addresses, ports … in it out.

An expression means the same to Python and to DuckDB (RE2): it looks neither ahead nor behind, and
says which white space it means. SQL files that look for names repeat it letter for letter.
"""

from __future__ import annotations

import re

EVENT_TOTAL = r"total (?:evidence|events)"  # what a summary calls the number of its events

_SPACE = r"[\t\n\f\r ]"
_IPV4 = r"\b\d{1,3}(?:\.\d{1,3}){3}"

PATTERNS = {
    "address": (
        rf"{_IPV4}\b|\b(?:[0-9a-f]{{1,4}}:){{3,7}}[0-9a-f]{{1,4}}\b"
        r"|\b(?:[0-9a-f]{1,4}:){1,7}:(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*)?"
    ),
    "network": (
        rf"{_IPV4}/\d{{1,2}}\b"
        r"|\b(?:[0-9a-f]{1,4}:){1,7}(?:[0-9a-f]{1,4}|:[0-9a-f]{0,4})(?::[0-9a-f]{1,4})*/\d{1,3}\b"
    ),
    # One port, or several in a list: the numbers in what is found.
    "port": (
        rf"\bports?(?:\(s\))?:?{_SPACE}+\d{{1,5}}"
        rf"(?:(?:{_SPACE}*,{_SPACE}*(?:and{_SPACE}+|or{_SPACE}+)?"
        rf"|{_SPACE}+(?:and|or){_SPACE}+|{_SPACE}*/{_SPACE}*)\d{{1,5}}\b)*\b"
        r"|\b\d{1,5}/(?:tcp|udp)\b"
    ),
    "domain": (
        r"\b(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+(?:com|net|org|info|biz|io|co|ai"
        r"|app|dev|cloud|online|site|xyz|top|club|shop|tech|live|ru|cn|de|uk|fr|nl|eu"
        r"|us|br|it|jp|kr|es|pl|cz|sk|se|no|fi|ch|at|be|ca|au|ir|ua|tr|tk|ml|ga|cf|gq"
        r"|pw|cc|tv|me|ws|su|to"
        r"|edu|gov|mil|int|arpa|local|lan|internal|test|example|onion)\b"
    ),
    "mac": r"\b[0-9a-f]{2}(?:(?::[0-9a-f]{2}){5}|(?:-[0-9a-f]{2}){5})\b",
    "hash": r"\b(?:[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32})\b",
    "list_id": r"\bsbl\d+\b",
    "severity_tag": r"\[(?:critical|high|medium|low|info)\]",
    "event_total": rf"\b{EVENT_TOTAL}[\t *_]*:[\t *_]*\d+(?:,\d{{3}})*",
}
NUMBER = r"\d+"

_COMPILED = {kind: re.compile(pattern, re.ASCII) for kind, pattern in PATTERNS.items()}
_NUMBER = re.compile(NUMBER, re.ASCII)


def found(kind: str, text: str) -> set[str]:
    """What a text in lower case names of a kind; of ports, their numbers."""
    matches = {match[0] for match in _COMPILED[kind].finditer(text)}
    return numbers(" ".join(matches)) if kind == "port" else matches


def numbers(text: str) -> set[str]:
    """The whole numbers in a text, as they are written."""
    return set(_NUMBER.findall(text))
