"""The parts of an answer: a text and its task in, its documented fields out.

What belongs to an answer is said by the prompts. This is the one reading of answers: the relation
`conversations` holds what it finds, for SQL; `generate`, `score` and the grammars ask it directly.
A part is found by its heading at the start of a line, however it is marked or numbered, and never
by its words in the middle of a sentence.
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
LARGEST = 2**63 - 1  # a longer number of events is a slip of the pen, and fits no table

# What stands around a heading: marks of emphasis and of lists, numbers; and a colon after it, or
# the end of its line.
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
_SAID = re.compile(r"[^\s*_:;,.()…–—-]")  # a section of nothing but marks says nothing
_BULLET = re.compile(r"^\s*(?:[•*-]|\d+[.)])\s+")
_SEVERITY = re.compile(rf"\[({'|'.join(SEVERITIES)})\]", re.IGNORECASE)
_TIMED = re.compile(
    r"(?P<time>\d{1,2}:\d{2}(?::\d{2})?(?:\s*[-–]\s*\d{1,2}:\d{2}(?::\d{2})?)?)\s*[-–:]\s*(?P<rest>.*)",
    re.DOTALL,
)

# The header of a summary stands in lines of its own, or parts of a line between upright strokes.
_FIELD = r"(?:^|\|)[ \t*_#>•-]*{name}[ \t*_]*:[ \t*_`]*(?P<value>{value})"
_NUMBER = r"(?<!\d)\d{1,19}(?!\d)(?:,\d{3}(?!\d))*"
_HEADER = {
    name: re.compile(_FIELD.format(name=said, value=value), re.IGNORECASE | re.MULTILINE)
    for name, said, value in (
        ("incident_id", "incident(?: id)?", r"[^\s*`|]+"),
        ("source_ip", "source ip", r"[^|\n]*[^|\s*`]"),
        ("timewindow", "time ?window", r"[^|\n]*[^|\s*`]"),
        ("timeline", "timeline", r"[^|\n]*[^|\s*`]"),
        ("threat_level", "threat level", r"\d+(?:\.\d+)?"),
        ("events", "(?:total )?events", _NUMBER),
    )
}
_TOTAL = re.compile(_FIELD.format(name=EVENT_TOTAL, value=_NUMBER), re.IGNORECASE | re.MULTILINE)
# What is counted stands in the line of the heading, or in the lines below it that name a severity.
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
    """An answer taken apart: its fields by name, None for one that is not there."""

    fields: dict[str, Any]

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the documented fields that are not there, sorted.

        A level without a reason is a level: its reason is never missing.
        """
        lacking = (name for name, value in self.fields.items() if value is None)
        return tuple(sorted(name for name in lacking if not name.endswith("_reason")))


def parse(task: str, text: str) -> Parts:
    """Take an answer apart. A part that cannot be found is None, and nothing is an error."""
    text = text.replace("\r\n", "\n")
    return Parts({"summary": _summary, "cause": _cause, "risk": _risk}[task](text))


def _risk(text: str) -> dict[str, Any]:
    said = _sections(text, _RISK)
    risk, _ = _level(said, "risk_level")
    likelihood, likelihood_reason = _level(said, "likelihood")
    priority, priority_reason = _level(said, "investigation_priority")
    return {
        "risk_level": risk,
        "justification": said["justification"],
        "business_impact": said["business_impact"],
        "likelihood": likelihood,
        "likelihood_reason": likelihood_reason,
        "investigation_priority": priority,
        "investigation_priority_reason": priority_reason,
    }


def _level(sections: dict[str, str | None], part: str) -> tuple[str | None, str | None]:
    """The allowed level that a section opens with, and the reason it goes on with.

    The prompt's own choice repeated in front of it ("High/Medium/Low: High") is not a level.
    """
    said = sections[part]
    if said is None:
        return None, None
    level = "|".join(LEVELS[part])
    choice = re.match(rf"[\W\d_]*(?:{level})(?:/(?:{level}))+[*_ ]*:", said, re.IGNORECASE)
    said = said[choice.end() :] if choice else said
    match = _WORD.match(said)
    if match is None or match["level"].lower() not in LEVELS[part]:
        return None, said
    return match["level"].capitalize(), said[match.end() :].lstrip(" \t\r\n-–—:,.;()*_]/") or None


def _cause(text: str) -> dict[str, Any]:
    said = _sections(text, _CAUSE)
    conclusion = said.pop("conclusion")
    fields: dict[str, Any] = {
        part: None if section is None else _items(section, listed=False)
        for part, section in said.items()
    }
    return {**fields, "conclusion": conclusion}


def _summary(text: str) -> dict[str, Any]:
    found = {name: of.search(text) for name, of in _HEADER.items()}
    fields: dict[str, Any] = {name: match and match["value"] for name, match in found.items()}
    if fields["threat_level"] is not None:
        fields["threat_level"] = float(fields["threat_level"])
    assessment = _ASSESSMENT.search(text)
    events = _items(text[: assessment.start()] if assessment else text, listed=True)
    # Of several, the last: they close a summary.
    breakdowns = [_counts(match["counts"]) for match in _BREAKDOWN.finditer(text)]
    totals = [match["value"] for match in _TOTAL.finditer(text)]
    return {
        **fields,
        "events": _number(fields["events"]),
        "key_events": [_event(bullet) for bullet in events] or None,
        "total_evidence": _number(totals[-1] if totals else None),
        "severity_breakdown": next((counts for counts in reversed(breakdowns) if counts), None),
    }


def _number(said: str | None) -> int | None:
    if said is None:
        return None
    digits = said.replace(",", "")
    return int(digits) if len(digits) < 20 and int(digits) <= LARGEST else None


def _counts(said: str) -> dict[str, int] | None:
    """The count of each severity, whichever of the two stands first; None if nothing is counted."""
    by_place = [(match.start(), of) for of in _COUNTED if (match := of.search(said))]
    if not by_place:
        return None
    _, first = min(by_place, key=lambda one: one[0])
    counts: dict[str, int] = {}
    for match in first.finditer(said):
        number = _number(match["number"])
        if number is not None:
            counts.setdefault(match["level"].lower(), number)
    return counts or None


def _sections(text: str, headings: dict[str, str]) -> dict[str, str | None]:
    """What follows each heading, up to the next one; headings may stand in any order."""
    found = {}
    for part, heading in headings.items():
        matches = list(re.finditer(_BEFORE + heading + _AFTER, text, re.I | re.M))
        # The item of a list can begin like a heading: one that is marked as such goes first.
        matches.sort(key=lambda match: bool(_LIST_MARKS.search(match["before"])))
        if matches:
            found[part] = matches[0]
    places = sorted((match.start(), match.end(), part) for part, match in found.items())
    sections: dict[str, str | None] = dict.fromkeys(headings)
    for i, (_, end, part) in enumerate(places):
        until = places[i + 1][0] if i + 1 < len(places) else len(text)
        section = text[end:until].strip()
        sections[part] = section if _SAID.search(section) else None
    return sections


def _items(text: str, *, listed: bool) -> list[str]:
    """The items of a list; a line without a bullet goes on with the item before it.

    Unless they must be `listed`, a paragraph without a bullet is an item too.
    """
    items: list[str] = []
    going_on = False
    for line in text.splitlines():
        if match := _BULLET.match(line):
            items.append(line[match.end() :].strip())
            going_on = True
        elif not line.strip():
            going_on = False
        elif going_on:
            items[-1] += f" {line.strip()}"
        elif not listed:
            items.append(line.strip())
            going_on = True
    return [item for item in items if item]


def _event(bullet: str) -> dict[str, str | None]:
    severity = _SEVERITY.search(bullet)
    said = _SEVERITY.sub("", bullet).strip()
    timed = _TIMED.match(said)
    return {
        "time": timed["time"] if timed else None,
        "description": timed["rest"].strip() if timed else said,
        "severity": severity[1].upper() if severity else None,
    }
