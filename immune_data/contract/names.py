"""The names in evidence and answers: a text in lower case in, the addresses, ports … in it out.

A pattern means the same to Python and to DuckDB (RE2): it has no lookahead or lookbehind, and lists
the white space it means. Where it has a group, that is the name. SQL files that look for names
repeat it letter for letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

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
    # One port or a list of several: the numbers in the group. They follow the word, or an address,
    # in whose place condensed evidence may have braces.
    "port": (
        rf"(?:\bports?(?:\(s\)| numbers?)?:?{_SPACE}*|\.\d{{1,3}}:|\}}:)[\[{{'\x22]*"
        rf"(\d{{1,5}}(?:(?:'?{_SPACE}*,{_SPACE}*'?(?:and{_SPACE}+|or{_SPACE}+)?"
        rf"|{_SPACE}+(?:and|or){_SPACE}+|{_SPACE}*/{_SPACE}*)\d{{1,5}}\b)*)\b"
    ),
    "port_of_protocol": r"\b(\d{1,5})/(?:tcp|udp)\b",
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
    "event_total": rf"(?:\b{EVENT_TOTAL}|\|[\t *_]*events)[\t *_]*:[\t *_]*(\d+(?:,\d{{3}})*)",
}
NUMBER = r"\d+"

KINDS = tuple(kind for kind in PATTERNS if kind != "port_of_protocol")

# What every name of a kind contains, which is much sooner looked for than the name.
_CUES = {
    kind: re.compile(cue, re.ASCII)
    for kind, cue in {
        "address": r"\.\d{1,3}\.\d|:[0-9a-f]{1,4}:[0-9a-f]{1,4}:|::",
        "network": r"/\d",
        "port": r"port|\.\d{1,3}:|\}:",
        "port_of_protocol": r"/(?:tcp|udp)",
        "domain": r"\.[a-z]{2}",
        "mac": r"[:-][0-9a-f]{2}[:-][0-9a-f]{2}[:-]",
        "hash": r"\b[0-9a-f]{32}",
        "list_id": r"sbl\d",
        "severity_tag": r"\[",
        "event_total": r"total e|\|",
    }.items()
}
# And what it begins with, so that not each of a pattern's forms is tried on every word.
_BEGINNINGS = dict.fromkeys(("address", "network"), r"\b(?=[0-9a-f]{1,4}[.:])")

_COMPILED = {
    kind: re.compile(f"{_BEGINNINGS.get(kind, '')}(?:{pattern})", re.ASCII)
    for kind, pattern in PATTERNS.items()
}
_NUMBER = re.compile(NUMBER, re.ASCII)


def find(kind: str, text: str) -> set[str]:
    """The names of a kind in a text in lower case; for ports and totals, the numbers."""
    if kind == "port":
        matches = _texts("port", text) | _texts("port_of_protocol", text)
        return set(_NUMBER.findall(" ".join(matches)))
    matches = _texts(kind, text)
    return {total.replace(",", "") for total in matches} if kind == "event_total" else matches


def _texts(kind: str, text: str) -> set[str]:
    """The group of each match if the pattern has one, otherwise the whole match."""
    return set(_COMPILED[kind].findall(text)) if _CUES[kind].search(text) else set()


def places(kind: str, text: str) -> list[tuple[int, str]]:
    """The place and the name of everything that `find` finds, with repetitions."""
    if kind != "port":
        matches = _matches(kind, text)
        spans = [
            (match.start(match.lastindex or 0), match[match.lastindex or 0]) for match in matches
        ]
        if kind == "event_total":
            return [(start, total.replace(",", "")) for start, total in spans]
        return spans
    lists = (match for name in ("port", "port_of_protocol") for match in _matches(name, text))
    return [
        (number.start(), number[0])
        for match in lists
        for number in _NUMBER.finditer(text, *match.span(1))
    ]


def _matches(kind: str, text: str) -> Iterator[re.Match[str]]:
    return _COMPILED[kind].finditer(text) if _CUES[kind].search(text) else iter(())
