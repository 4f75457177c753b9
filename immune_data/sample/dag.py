"""DAG texts of the sample corpus: bullets in, the text that the lab's parser would write out.

The grammar, line by line: a header, one bullet for the events of a severity and target with up to
three of their texts, and two closing lines. The gravest severity comes first; within one, and among
the texts of a bullet, the order is random. A time range is the earliest and the latest time of day,
so that a window over midnight may show `00:03-23:58`, as with the parser.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import nsmallest
from typing import NamedTuple

from immune_data.sample.kinds import CROWDS, KIND, KINDS, SEVERITIES

HEADER_LINE = "=" * 60
_DAY = 24 * 60  # minutes
_SHOWN = 3  # texts under a bullet
_CROWDS = frozenset(KIND[name] for name in CROWDS)


class Detail(NamedTuple):
    """A text under a bullet: its kind (-1: none), the names in it, and its number of events.

    `order` sorts texts with the same times: the values in the text, in their order. `item` is an
    entry of a list, a network, a MAC address or a hash that the text names.
    """

    kind: int
    dst: str
    port: int
    text: str
    events: int
    order: tuple[str, ...] = ()
    item: str = ""


class Bullet(NamedTuple):
    """All events of one severity and target, in minutes from the start of the time window.

    The first detail is always shown. `hidden` counts further ones that are not stored.
    """

    severity: str
    target: str
    start: int
    end: int
    events: int
    details: tuple[Detail, ...]
    hidden: int = 0

    @property
    def is_plain(self) -> bool:
        """Whether all its events are of one kind."""
        kind = self.details[0].kind
        return kind >= 0 and all(detail.kind == kind for detail in self.details)


class Highlight(NamedTuple):
    """All events of one kind in an incident, for one sentence of an answer.

    Its address and port are among those in the condensed evidence; `addresses` counts all.
    """

    kind: str
    severity: str
    start: str
    end: str
    events: int
    addresses: int
    target: str
    dst: str
    port: int
    item: str


@dataclass(frozen=True, slots=True)
class Window:
    """A time window of an hour; if it is open, its end is not known."""

    start: datetime
    is_open: bool = False

    def __str__(self) -> str:
        return str(self.start) if self.is_open else f"{self.start} to {self._end}"

    @property
    def line(self) -> str:
        """The line of a DAG's header with the window."""
        return f"{'Start Time' if self.is_open else 'Timeline'}: {self}"

    @property
    def is_over_midnight(self) -> bool:
        return self.start.date() != self._end.date()

    @property
    def _end(self) -> datetime:
        return self.start + timedelta(hours=1)

    def clock(self, minutes: int) -> str:
        """The time of day so many minutes after the window's start."""
        minute = (self.start.hour * 60 + self.start.minute + minutes) % _DAY
        return f"{minute // 60:02}:{minute % 60:02}"

    def span(self, bullets: Iterable[Bullet]) -> tuple[str, str]:
        """First and last time of bullets: from the window's start on, if its end is known."""
        offsets = [minutes for bullet in bullets for minutes in (bullet.start, bullet.end)]
        if not self.is_open:
            return self.clock(min(offsets)), self.clock(max(offsets))
        times = [self.clock(minutes) for minutes in offsets]
        return min(times), max(times)


def bullet_text(bullet: Bullet, window: Window, rng: random.Random) -> str:
    """A bullet's lines; which texts it shows after the first, and their order, is random."""
    times = sorted((window.clock(bullet.start), window.clock(bullet.end)))
    span = times[0] if times[0] == times[1] else "-".join(times)
    subject = "Event" if bullet.events == 1 else f"{bullet.events} events"
    lines = [f"• {span} - {subject} to {bullet.target} [{bullet.severity}]"]
    shown = list(bullet.details)
    if len(shown) > 1:
        shown[1:] = rng.sample(shown[1:], min(len(shown), _SHOWN) - 1)
        rng.shuffle(shown)
    for detail in shown:
        suffix = f" (x{detail.events})" if detail.events > 1 else ""
        lines.append(f"  - {detail.text}{suffix}")
    more = len(bullet.details) + bullet.hidden - len(shown)
    if more:
        lines.append(f"  - ... and {more} more variations")
    return "\n".join(lines)


def severities(bullets: Iterable[Bullet]) -> tuple[tuple[str, int], ...]:
    """The number of events of each severity that occurs, the gravest first."""
    counts = dict.fromkeys(SEVERITIES, 0)
    for bullet in bullets:
        counts[bullet.severity] += bullet.events
    return tuple((name, count) for name, count in counts.items() if count)


def closing(counts: Sequence[tuple[str, int]]) -> str:
    """The two closing lines of a DAG and of a good summary."""
    total = sum(count for _, count in counts)
    breakdown = ", ".join(f"{name.capitalize()}: {count}" for name, count in counts)
    return f"Total Evidence: {total} events\nSeverity breakdown: {breakdown}"


def text(
    incident_id: str,
    head: str,
    bullets: Sequence[Bullet],
    window: Window,
    rng: random.Random,
    rendered: dict[Bullet, str],
) -> str:
    """A DAG; `rendered` contains the text of bullets that were rendered before."""
    if not bullets:
        return f"Incident {incident_id}: No associated events found"
    by_severity: dict[str, list[str]] = {name: [] for name in SEVERITIES}
    for bullet in rng.sample(bullets, len(bullets)):
        by_severity[bullet.severity].append(
            rendered.get(bullet) or bullet_text(bullet, window, rng)
        )
    body = "\n".join(lines for texts in by_severity.values() for lines in texts)
    return f"{head}\n{body}\n\n{closing(severities(bullets))}"


def highlights(
    bullets: Iterable[Bullet], window: Window, rng: random.Random
) -> tuple[Highlight, ...]:
    """The highlights of bullets, the gravest first: their events by severity and kind.

    Bullets of several kinds are left out.
    """
    groups: dict[tuple[int, int, bool], list[Bullet]] = {}
    for bullet in bullets:
        if bullet.is_plain:
            first = bullet.details[0]
            # A port of up to four digits after an IPv6 address reads as a part of it.
            joined = ":" in first.dst and bullet.target != first.dst and first.port < 10_000
            key = (SEVERITIES.index(bullet.severity), first.kind, joined)
            groups.setdefault(key, []).append(bullet)
    return tuple(_highlight(groups[key], window, rng) for key in sorted(groups))


def _highlight(bullets: list[Bullet], window: Window, rng: random.Random) -> Highlight:
    """The highlight of bullets of one kind, with the names in one of the earliest."""
    earliest = nsmallest(3, bullets, key=lambda bullet: _appearance(bullet, window))
    chosen = earliest[int(rng.random() * len(earliest))]
    detail = chosen.details[0]
    target = detail.dst if detail.kind in _CROWDS else chosen.target
    start, end = window.span(bullets)
    return Highlight(
        kind=KINDS[detail.kind].name,
        severity=chosen.severity,
        start=start,
        end=end,
        events=sum(bullet.events for bullet in bullets),
        addresses=len({bullet.details[0].dst for bullet in bullets}),
        target="many hosts" if detail.kind == KIND["sweep"] else target,
        dst=detail.dst,
        port=detail.port,
        item=detail.item,
    )


def _appearance(bullet: Bullet, window: Window) -> tuple[object, ...]:
    """The sort key of condensed evidence: start, end, number of events, values."""
    times: tuple[object, object] = (bullet.start, bullet.end)
    if window.is_open:
        times = window.span([bullet])
    return *times, bullet.events, bullet.details[0].order
