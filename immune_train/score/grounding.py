"""What an answer names that its evidence lacks: two texts in, addresses, ports and domains out."""

from __future__ import annotations

import re

# The expressions of `sql/audit/ungrounded.sql`, which finds the same in the same texts.
_ADDRESS = re.compile(
    r"\b\d{1,3}(?:\.\d{1,3}){3}\b|\b(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{1,4}\b"
    r"|\b(?:[0-9a-f]{1,4}:){1,7}:(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*)?",
    re.ASCII,
)
_PORT = re.compile(
    r"\bports?(?:\(s\))?:?[\t\n\f\r ]+\d{1,5}"
    r"(?:(?:[\t\n\f\r ]*,[\t\n\f\r ]*(?:and[\t\n\f\r ]+|or[\t\n\f\r ]+)?"
    r"|[\t\n\f\r ]+(?:and|or)[\t\n\f\r ]+|[\t\n\f\r ]*/[\t\n\f\r ]*)\d{1,5}\b)*\b"
    r"|\b\d{1,5}/(?:tcp|udp)\b",
    re.ASCII,
)
_NUMBER = re.compile(r"\d+", re.ASCII)
_DOMAIN = re.compile(
    r"\b(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+(?:com|net|org|info|biz|io|co|ai|app"
    r"|dev|cloud|online|site|xyz|top|club|shop|tech|live|ru|cn|de|uk|fr|nl|eu|us|br|it"
    r"|jp|kr|es|pl|cz|sk|se|no|fi|ch|at|be|ca|au|ir|ua|tr|tk|ml|ga|cf|gq|pw|cc|tv|me"
    r"|ws|su|to"
    r"|edu|gov|mil|int|arpa|local|lan|internal|test|example|onion)\b",
    re.ASCII,
)


def ungrounded(answer: str, shown: str) -> dict[str, list[str]]:
    """The addresses, ports and domains of an answer that its evidence does not hold, by kind."""
    shown = shown.lower()
    patterns = {"address": _ADDRESS, "port": _NUMBER, "domain": _DOMAIN}
    lacking = {
        kind: sorted(values - _matches(patterns[kind], shown))
        for kind, values in named(answer.lower()).items()
        if values
    }
    return {kind: values for kind, values in lacking.items() if values}


def named(answer: str) -> dict[str, set[str]]:
    """What an answer in lower case names, by kind."""
    ports = " ".join(match[0] for match in _PORT.finditer(answer))
    return {
        "address": _matches(_ADDRESS, answer),
        "port": _matches(_NUMBER, ports),
        "domain": _matches(_DOMAIN, answer),
    }


def _matches(of: re.Pattern[str], text: str) -> set[str]:
    return {match[0] for match in of.finditer(text)}
