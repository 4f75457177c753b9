"""The parts of an answer: a text and its task in, its documented fields out.

The prompts define which parts an answer has. This is the only parser of answers: for SQL the
relation `conversations` has its results; `generate`, `score` and the grammars call it directly. A
part is found by its heading at the start of a line, however it is marked or numbered, and never by
its words in the middle of a sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from immune_data.contract.names import EVENT_TOTAL

LEVELS = {
    "risk_level": ("critical", "high", "medium", "low"),
    "likelihood": ("high", "medium", "low"),
    "investigation_priority": ("immediate", "high", "medium", "low"),
}
SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO")
LARGEST = 2**63 - 1  # a larger number of events is a mistake, and does not fit in a table

# Around a heading there may be marks of emphasis and of lists and numbers; after it there is a
# colon or the end of its line.
_BEFORE = r"^(?P<before>[ \t*_#>\d.)•-]*)"
_AFTER = r"[ \t*_]*(?::[ \t*_]*|$)"
_CAUSE = {
    "malicious_activity": r"malicious activit(?:y|ies)",
    "legitimate_activity": r"legitimate activit(?:y|ies)",
    "misconfigurations": "misconfigurations?",
    "conclusion": "conclusions?",
}
_RISK = {
    "risk_level": "risk level",
    "justification": "justification",
    "business_impact": "business impact",
    "likelihood": "likelihood of malicious activity",
    "investigation_priority": "investigation priority",
}
_LIST_MARKS = re.compile(r"[•-]")

_WORD = re.compile(r"[\W\d_]*(?P<level>[a-z]+)", re.IGNORECASE)
_CONTENT = re.compile(r"[^\s*_:;,.()…–—-]")  # a section of nothing but marks is empty
_BULLET = re.compile(r"^\s*(?:[•*-]|\d+[.)])\s+")
_SEVERITY = re.compile(rf"\[({'|'.join(SEVERITIES)})\]", re.IGNORECASE)
_TIMED = re.compile(
    r"(?P<time>\d{1,2}:\d{2}(?::\d{2})?(?:\s*[-–]\s*\d{1,2}:\d{2}(?::\d{2})?)?)\s*[-–:]\s*(?P<rest>.*)",
    re.DOTALL,
)

# A field of a summary's header is a line of its own, or a part of a line between vertical bars.
_FIELD = r"(?:^|\|)[ \t*_#>•-]*{name}[ \t*_]*:[ \t*_`]*(?P<value>{value})"
_NUMBER = r"(?<!\d)\d{1,19}(?!\d)(?:,\d{3}(?!\d))*"
_HEADER = {
    name: re.compile(_FIELD.format(name=label, value=value), re.IGNORECASE | re.MULTILINE)
    for name, label, value in (
        ("incident_id", "incident(?: id)?", r"[^\s*`|]+"),
        ("source_ip", "source ip", r"[^|\n]*[^|\s*`]"),
        ("timewindow", "time ?window", r"[^|\n]*[^|\s*`]"),
        ("timeline", "timeline", r"[^|\n]*[^|\s*`]"),
        ("threat_level", "threat level", r"\d+(?:\.\d+)?"),
        ("events", "(?:total )?events", _NUMBER),
    )
}
_TOTAL = re.compile(_FIELD.format(name=EVENT_TOTAL, value=_NUMBER), re.IGNORECASE | re.MULTILINE)
# The counts are in the line of the heading, or in the lines below it that name a severity.
_BREAKDOWN = re.compile(
    r"\bseverity breakdown[^\n:]{0,80}:"
    rf"(?P<counts>.*(?:\n+.*\b(?:{'|'.join(SEVERITIES)})\b.*)*)",
    re.IGNORECASE,
)
_LEVEL = rf"\b(?P<level>{'|'.join(SEVERITIES)})\b"
_COUNTED = (
    re.compile(rf"{_LEVEL}[ \t*_=:(\[–-]*(?P<number>{_NUMBER})", re.IGNORECASE),
    re.compile(rf"(?P<number>{_NUMBER})[ \t*_x×]*{_LEVEL}", re.IGNORECASE),
)
_ASSESSMENT = re.compile(
    rf"^[ \t*_#>•-]*(?:{EVENT_TOTAL}|severity breakdown)", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True)
class Parts:
    """A parsed answer: its fields by name, None for a missing one."""

    fields: dict[str, Any]

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the missing documented fields, sorted.

        A level is complete without a reason, so that a reason is never missing.
        """
        absent = (name for name, value in self.fields.items() if value is None)
        return tuple(sorted(name for name in absent if not name.endswith("_reason")))


def parse(task: str, text: str) -> Parts:
    """Parse an answer. A part that cannot be found is None, and nothing is an error."""
    text = text.replace("\r\n", "\n")
    return Parts({"summary": _summary, "cause": _cause, "risk": _risk}[task](text))


def _risk(text: str) -> dict[str, Any]:
    sections = _sections(text, _RISK)
    risk, _ = _level(sections, "risk_level")
    likelihood, likelihood_reason = _level(sections, "likelihood")
    priority, priority_reason = _level(sections, "investigation_priority")
    return {
        "risk_level": risk,
        "justification": sections["justification"],
        "business_impact": sections["business_impact"],
        "likelihood": likelihood,
        "likelihood_reason": likelihood_reason,
        "investigation_priority": priority,
        "investigation_priority_reason": priority_reason,
    }


def _level(sections: dict[str, str | None], part: str) -> tuple[str | None, str | None]:
    """The allowed level at the beginning of a section, and the reason after it.

    The prompt's list of choices, repeated in front of it ("High/Medium/Low: High"), is not a level.
    """
    section = sections[part]
    if section is None:
        return None, None
    level = "|".join(LEVELS[part])
    choice = re.match(rf"[\W\d_]*(?:{level})(?:/(?:{level}))+[*_ ]*:", section, re.IGNORECASE)
    section = section[choice.end() :] if choice else section
    match = _WORD.match(section)
    if match is None or match["level"].lower() not in LEVELS[part]:
        return None, section
    return match["level"].capitalize(), section[match.end() :].lstrip(
        " \t\r\n-–—:,.;()*_]/"
    ) or None


def _cause(text: str) -> dict[str, Any]:
    sections = _sections(text, _CAUSE)
    conclusion = sections.pop("conclusion")
    fields: dict[str, Any] = {
        part: None if section is None else _items(section, listed=False)
        for part, section in sections.items()
    }
    return {**fields, "conclusion": conclusion}


def _summary(text: str) -> dict[str, Any]:
    matches = {name: pattern.search(text) for name, pattern in _HEADER.items()}
    fields: dict[str, Any] = {name: match and match["value"] for name, match in matches.items()}
    if fields["threat_level"] is not None:
        fields["threat_level"] = float(fields["threat_level"])
    assessment = _ASSESSMENT.search(text)
    events = _items(text[: assessment.start()] if assessment else text, listed=True)
    # The last one if there are several: they are at the end of a summary.
    breakdowns = [_counts(match["counts"]) for match in _BREAKDOWN.finditer(text)]
    totals = [match["value"] for match in _TOTAL.finditer(text)]
    return {
        **fields,
        "events": _number(fields["events"]),
        "key_events": [_event(bullet) for bullet in events] or None,
        "total_evidence": _number(totals[-1] if totals else None),
        "severity_breakdown": next((counts for counts in reversed(breakdowns) if counts), None),
    }


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    digits = text.replace(",", "")
    return int(digits) if len(digits) < 20 and int(digits) <= LARGEST else None


def _counts(text: str) -> dict[str, int] | None:
    """The count of each severity, written before or after it; None if there are no counts."""
    matches = [(match.start(), pattern) for pattern in _COUNTED if (match := pattern.search(text))]
    if not matches:
        return None
    _, first = min(matches, key=lambda pair: pair[0])
    counts: dict[str, int] = {}
    for match in first.finditer(text):
        number = _number(match["number"])
        if number is not None:
            counts.setdefault(match["level"].lower(), number)
    return counts or None


def _sections(text: str, headings: dict[str, str]) -> dict[str, str | None]:
    """The text after each heading, up to the next one; headings may be in any order."""
    first_matches = {}
    for part, heading in headings.items():
        matches = list(re.finditer(_BEFORE + heading + _AFTER, text, re.I | re.M))
        # A list item can begin like a heading: a line without a list mark takes precedence.
        matches.sort(key=lambda match: bool(_LIST_MARKS.search(match["before"])))
        if matches:
            first_matches[part] = matches[0]
    places = sorted((match.start(), match.end(), part) for part, match in first_matches.items())
    sections: dict[str, str | None] = dict.fromkeys(headings)
    for i, (_, end, part) in enumerate(places):
        stop = places[i + 1][0] if i + 1 < len(places) else len(text)
        section = text[end:stop].strip()
        sections[part] = section if _CONTENT.search(section) else None
    return sections


def _items(text: str, *, listed: bool) -> list[str]:
    """The items of a list; a line without a bullet continues the item before it.

    Unless they must be `listed`, a paragraph without a bullet is an item too.
    """
    items: list[str] = []
    is_open = False
    for line in text.splitlines():
        if match := _BULLET.match(line):
            items.append(line[match.end() :].strip())
            is_open = True
        elif not line.strip():
            is_open = False
        elif is_open:
            items[-1] += f" {line.strip()}"
        elif not listed:
            items.append(line.strip())
            is_open = True
    return [item for item in items if item]


def _event(bullet: str) -> dict[str, str | None]:
    severity = _SEVERITY.search(bullet)
    text = _SEVERITY.sub("", bullet).strip()
    match = _TIMED.match(text)
    return {
        "time": match["time"] if match else None,
        "description": match["rest"].strip() if match else text,
        "severity": severity[1].upper() if severity else None,
    }
