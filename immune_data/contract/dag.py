"""The evidence of an incident: its events in, in any order, a DAG text out.

The text is condensed (rule 11), or has the form that the lab's parser writes, which the documents
call `dag_analysis`. Text from the network is part of one visible line and never a line of its own,
so that no text can change the meaning of the lines around it. The same events give the same text,
whatever their order.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from immune_data.common.text import visible
from immune_data.contract import evidence

CONDENSED, DOCUMENTED = "condensed", "documented"
FORMS = (CONDENSED, DOCUMENTED)
UNKNOWN = "unknown"  # the severity of events without one

_VALUES = 8  # shown in one slot of a condensed text
_DETAILS = 3  # texts of a block that the lab's form shows
_DAY = 24 * 60  # minutes
_RULE = "=" * 60

_BREAKS = re.compile(r"[ \t]*[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+[ \t]*")
_LEVEL = re.compile(r"Threat level: (?=[a-z]+\.\Z)")
# Text that could be mistaken for a number of events or texts in the lab's form.
_AMBIGUOUS = re.compile(r".* \(x\d+\)|\.\.\. and \d+ more variations", re.ASCII)


class Facts(NamedTuple):
    """The facts in an incident's header; the timeline as `YYYY-MM-DD HH:MM:SS` twice, if known.

    `start` is the minute at which the window starts, counted like those of the events.
    """

    incident_id: str
    host: str
    window: int | None
    timeline: str | None
    threat_level: float | None
    start: int | None


class Event(NamedTuple):
    """An event of an incident.

    `place` is its place among the incident's events, `time` decides which texts are shown first,
    and `minute` is that of `time`, by the clock of the incident's window.
    """

    severity: str | None
    threat_level: str | None
    victim: str | None
    hostname: str | None
    port: int | None
    text: str
    place: int
    time: int
    minute: int


@dataclass
class _Block:
    """Events of one severity and target."""

    severity: str
    target: str | None
    place: int
    first: int
    last: int
    events: int = 0
    texts: dict[str, list[int]] = field(default_factory=dict)  # first time, number

    def add(self, event: Event, text: str) -> None:
        self.events += 1
        self.place = min(self.place, event.place)
        self.first = min(self.first, event.minute)
        self.last = max(self.last, event.minute)
        entry = self.texts.setdefault(text, [event.time, 0])
        entry[0] = min(entry[0], event.time)
        entry[1] += 1


class Dag:
    """An incident's evidence, collected for a text of `form`."""

    def __init__(self, form: str) -> None:
        self._documented = form == DOCUMENTED
        self._blocks: dict[tuple[str, str, bool], _Block] = {}

    def add(self, event: Event, kind: str) -> None:
        """Add an event; its `kind` is that of `kind_of`."""
        # IDMEFv2 has no severity above High, and neither has the lab's form; the level has.
        severity = (event.severity if self._documented else event.threat_level) or UNKNOWN
        text = line(event.text)
        target = self._target(event)
        if target is None and self._documented:
            target = text.split(" ", 1)[0]
        key = severity, target or kind, target is None
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = _Block(
                severity.upper(), target, event.place, event.minute, event.minute
            )
        block.add(event, text)

    def _target(self, event: Event) -> str | None:
        """The target: `192.0.2.1:443 (www.example.com)`, as far as it is known."""
        target = event.victim or event.hostname
        if target is None:
            return None
        if event.port is not None:
            target = f"[{target}]:{event.port}" if ":" in target else f"{target}:{event.port}"
        if event.victim and event.hostname and not self._documented:
            target = f"{target} ({event.hostname})"
        return line(target) or None

    def text(self, facts: Facts) -> str:
        """The text, with `facts` in its header."""
        blocks = list(self._blocks.values())
        if not blocks:
            return f"Incident {facts.incident_id}: No associated events found"
        counts: Counter[str] = Counter()
        for block in blocks:
            counts[block.severity] += block.events
        before, after = _header(facts, counts.total()), _footer(counts)
        if self._documented:
            blocks.sort(key=lambda block: (evidence.gravity(block.severity), block.place))
            bullets = [line for block in blocks for line in _bullet(block)]
            return "\n".join((*before, *bullets, *after))
        start = min(block.first for block in blocks) if facts.start is None else facts.start
        groups = (
            evidence.Block(
                block.severity,
                block.target,
                block.texts,
                block.events,
                block.first - start,
                block.last - start,
            ).group()
            for block in blocks
        )
        before = [evidence.without_noise_in(line) for line in before]
        return evidence.merge(before, groups, after, start % _DAY).text(_VALUES)


def kind_of(text: str, threat_level: str | None) -> str:
    """The kind of an event's text: its names and numbers replaced by their kinds."""
    return str(evidence.kind(line(text), threat_level or UNKNOWN))


def line(text: str) -> str:
    """A text as one line, all of it visible."""
    if text.isascii() and text.isprintable():
        return text.strip()
    return visible(_BREAKS.sub(" ", text)).strip()


def _header(facts: Facts, events: int) -> list[str]:
    level = ""
    if facts.threat_level is not None:  # a header has no 1e-05
        level = f"Threat Level: {Decimal(str(facts.threat_level)):f} | "
    return [
        _RULE,
        f"Incident: {facts.incident_id}",
        f"Source IP: {facts.host}"
        + ("" if facts.window is None else f" | Timewindow: {facts.window}"),
        *([f"Timeline: {facts.timeline}"] if facts.timeline else []),
        f"{level}Events: {events}",
        "",
    ]


def _footer(counts: Counter[str]) -> list[str]:
    ordered = sorted(counts, key=evidence.gravity)
    breakdown = ", ".join(f"{severity.capitalize()}: {counts[severity]}" for severity in ordered)
    return [
        "",
        f"Total Evidence: {counts.total()} events",
        f"Severity breakdown: {breakdown}",
    ]


def _bullet(block: _Block) -> list[str]:
    times = [f"{minute % _DAY // 60:02}:{minute % 60:02}" for minute in (block.first, block.last)]
    span = times[0] if block.first == block.last else "-".join(times)
    subject = "Event" if block.events == 1 else f"{block.events} events"
    lines = [f"• {span} - {subject} to {block.target} [{block.severity}]"]
    texts = sorted(block.texts.items(), key=lambda item: (item[1][0], item[0]))
    for text, (_, number) in texts[:_DETAILS]:
        text = _LEVEL.sub("threat level: ", text)
        suffix = f" (x{number})" if number > 1 or _AMBIGUOUS.fullmatch(text) else ""
        lines.append(f"  - {text}{suffix}")
    if len(texts) > _DETAILS:
        lines.append(f"  - ... and {len(texts) - _DETAILS} more variations")
    return lines
