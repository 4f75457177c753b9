"""The parts of an answer: a text and its task in, its documented fields out.

What belongs to an answer is said by the prompts. `parse` looks for headings at the start of lines.
`missing` is the audit check `structure` in Python: it and `sql/audit/structure.sql`, which look
for words wherever they stand, agree on every answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

LEVELS = {
    "risk level": ("critical", "high", "medium", "low"),
    "likelihood of malicious activity": ("high", "medium", "low"),
    "investigation priority": ("immediate", "high", "medium", "low"),
}
SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO")

_PARTS = {
    "summary": (
        "incident:",
        "source ip:",
        "timewindow:",
        "timeline:",
        "threat level:",
        "events:",
        "severity breakdown",
    ),
    "cause": ("malicious activity", "legitimate activity", "misconfiguration", "conclusion"),
    "risk": (
        "risk level",
        "justification",
        "business impact",
        "likelihood of malicious activity",
        "investigation priority",
    ),
}
_LEVEL = {part: re.compile(rf"{part}[^a-z\n]*([a-z]+)") for part in LEVELS}
_LISTED = re.compile(r"^[\t\n\f\r ]*(?:[•*-]|\d+\.)[\t\n\f\r ]", re.MULTILINE | re.ASCII)

# What may stand around a heading: marks of emphasis, numbers; and a colon after it.
_BEFORE, _AFTER = r"^[ \t*_#\d.)]*", r"s?[ \t*_]*:[ \t*_]*"
_WORD = re.compile(r"[\W\d_]*([a-z]+)", re.IGNORECASE)
_BULLET = re.compile(r"^\s*(?:[•*-]|\d+[.)])\s+")
_SEVERITY = re.compile(rf"\[({'|'.join(SEVERITIES)})\]", re.IGNORECASE)
_TIMED = re.compile(
    r"(?P<time>\d{1,2}:\d{2}(?::\d{2})?(?:\s*[-–]\s*\d{1,2}:\d{2}(?::\d{2})?)?)\s*[-–:]\s*(?P<rest>.*)",
    re.DOTALL,
)
_NUMBER = r"(\d+(?:,\d{3})*)"
_EVENTS = re.compile(rf"\bevents\W{{0,6}}:\W{{0,6}}{_NUMBER}", re.IGNORECASE | re.ASCII)
_TOTAL = re.compile(rf"\btotal evidence\W{{0,8}}{_NUMBER}", re.IGNORECASE | re.ASCII)
_BREAKDOWN = re.compile(r"severity breakdown[^\n]*", re.IGNORECASE)
_COUNTED = re.compile(rf"({'|'.join(SEVERITIES)})\W{{0,6}}{_NUMBER}", re.IGNORECASE)


@dataclass(frozen=True)
class Parts:
    """An answer taken apart: its fields by name, None for one that is not there."""

    fields: dict[str, Any]

    @property
    def missing(self) -> list[str]:
        """The names of the fields that are not there."""
        return [name for name, value in self.fields.items() if value is None]


def parse(task: str, text: str) -> Parts:
    """Take an answer apart. A part that cannot be found is None, and nothing is an error."""
    return Parts({"summary": _summary, "cause": _cause, "risk": _risk}[task](text))


def missing(task: str, text: str) -> tuple[str, ...]:
    """What of its task's documented structure an answer lacks, sorted."""
    answer = text.lower()
    lacks = [part for part in _PARTS[task] if part not in answer]
    if task == "summary" and not _LISTED.search(answer):
        lacks.append("events")
    if task == "risk":
        lacks += [
            f"a level for: {part}"
            for part, level in levels(text).items()
            if level not in LEVELS[part]
        ]
    return tuple(sorted(lacks))


def levels(text: str) -> dict[str, str]:
    """The word that a risk assessment gives for each of its three levels, in lower case."""
    answer = text.lower()
    found = {part: of.search(answer) for part, of in _LEVEL.items()}
    return {part: match[1] if match else "" for part, match in found.items()}


def event_totals(text: str) -> tuple[int | None, int | None]:
    """The number of events in a summary's header, and the one it gives as total evidence."""
    header, total = (
        int(match[1].replace(",", "")) if (match := of.search(text)) else None
        for of in (_EVENTS, _TOTAL)
    )
    return header, total


def _risk(text: str) -> dict[str, Any]:
    sections = _sections(text, _PARTS["risk"])
    risk, _ = _level(sections["risk level"], "risk level")
    named = "likelihood of malicious activity"
    likelihood, likelihood_reason = _level(sections[named], named)
    priority, priority_reason = _level(sections["investigation priority"], "investigation priority")
    return {
        "risk_level": risk,
        "justification": sections["justification"],
        "business_impact": sections["business impact"],
        "likelihood": likelihood,
        "likelihood_reason": likelihood_reason,
        "investigation_priority": priority,
        "investigation_priority_reason": priority_reason,
    }


def _level(said: str | None, part: str) -> tuple[str | None, str | None]:
    """The allowed level that a section opens with, and the reason it goes on with."""
    match = _WORD.match(said or "")
    if said is None or match is None or match[1].lower() not in LEVELS[part]:
        return None, said
    return match[1].capitalize(), said[match.end() :].lstrip(" \t\r\n-–—:,.;()*_") or None


def _cause(text: str) -> dict[str, Any]:
    sections = _sections(text, _PARTS["cause"])
    conclusion = sections.pop("conclusion")
    named = {"misconfiguration": "misconfigurations"}
    fields: dict[str, Any] = {
        named.get(part, part.replace(" ", "_")): None if said is None else _bullets(said)
        for part, said in sections.items()
    }
    return {**fields, "conclusion": conclusion}


def _summary(text: str) -> dict[str, Any]:
    header, total = event_totals(text)
    breakdown = _BREAKDOWN.search(text)
    said = {
        "incident_id": r"\bincident: *(\S+)",
        "source_ip": r"\bsource ip: *([^|\n]*[^|\s])",
        "timewindow": r"\btimewindow: *([^|\n]*[^|\s])",
        "timeline": r"\btimeline: *(.*\S)",
        "threat_level": r"\bthreat level: *(\d+(?:\.\d+)?)",
    }
    found = {name: re.search(of, text, re.IGNORECASE) for name, of in said.items()}
    fields: dict[str, Any] = {name: match[1] if match else None for name, match in found.items()}
    if fields["threat_level"] is not None:
        fields["threat_level"] = float(fields["threat_level"])
    return {
        **fields,
        "events": header,
        "key_events": [_event(bullet) for bullet in _bullets(text)] or None,
        "total_evidence": total,
        "severity_breakdown": {
            level.lower(): int(number.replace(",", ""))
            for level, number in _COUNTED.findall(breakdown[0])
        }
        if breakdown
        else None,
    }


def _sections(text: str, parts: tuple[str, ...]) -> dict[str, str | None]:
    """What follows each heading, up to the next one; headings may stand in any order."""
    found = {part: re.search(_BEFORE + part + _AFTER, text, re.I | re.M) for part in parts}
    places = sorted((match.start(), match.end(), part) for part, match in found.items() if match)
    sections: dict[str, str | None] = dict.fromkeys(parts)
    for i, (_, end, part) in enumerate(places):
        until = places[i + 1][0] if i + 1 < len(places) else len(text)
        sections[part] = text[end:until].strip() or None
    return sections


def _bullets(text: str) -> list[str]:
    """The items of a list; a line without a bullet goes on with the item before it."""
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
