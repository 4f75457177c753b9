"""The incidents of the sample corpus: hosts, time windows, events and their DAG texts.

In: a seed and a block of roles. Out: one `Group` after another (the incidents that share a
source address and a time window), and for each of its incidents the facts and both DAG texts.

Incidents of a group draw from one pool of events, as the incidents of one window in life do; so
most lines of the corpus occur several times. Only one group's pool is in memory at a time.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from immune_data.sample.plan import Block, Role, stream

SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO")
HEADER_LINE = "=" * 60

# DAG sizes: (share of incidents, Qwen2.5 tokens), as measured on real ones.
_SIZES = (
    (0.0, 230),
    (0.05, 510),
    (0.10, 960),
    (0.25, 1363),
    (0.52, 1500),
    (0.75, 6200),
    (0.90, 11000),
    (0.95, 13000),
    (0.977, 16000),
    (0.978, 60000),
    (0.99, 92000),
    (1.0, 124000),
)
_CHARACTERS_PER_TOKEN = 1.92
# Group sizes above one, largest first: half of the incidents; the others are alone in theirs.
_GROUP_SIZES = (
    *(11, 10),
    *(14, 12, 11, 11) + (10,) * 8 + (9,) * 8 + (8,) * 8,
    *(13,) * 9 + (7,) * 5 + (6,) * 4 + (5,) * 5 + (4,) * 2 + (3,) * 4 + (2,) * 16,
)
_GIANT_GROUPS = 2


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of event: its name, severity, what its headline points at, and its detail line."""

    name: str
    severity: str
    target: str
    detail: str


KINDS = (
    Kind(
        "sweep",
        "HIGH",
        "Horizontal",
        "Horizontal sweep of port {port}/TCP: {src} contacted {n} distinct hosts in {m} packets. "
        "Confidence: {c}. threat level: high.",
    ),
    Kind(
        "command",
        "CRITICAL",
        "{dst}:{port}",
        "Periodic check-in with suspected controller {dst} on port {port}, every {n} seconds. "
        "Confidence: {c}. threat level: critical.",
    ),
    Kind(
        "vertical",
        "HIGH",
        "{dst}",
        "Vertical sweep of {dst} by {src}: {n} TCP ports probed with {m} packets. "
        "Confidence: {c}. threat level: high.",
    ),
    Kind(
        "guess",
        "HIGH",
        "{dst}:22",
        "Repeated SSH log-in failures on {dst} from {src}: {n} attempts. threat level: high.",
    ),
    Kind(
        "rare_port",
        "MEDIUM",
        "{dst}:{port}",
        "Session to unassigned port {port}/TCP on {dst}. threat level: medium.",
    ),
    Kind(
        "plain_tls",
        "MEDIUM",
        "{dst}:443",
        "Plain-text session on TLS port 443 with {dst}. threat level: medium.",
    ),
    Kind(
        "retries",
        "MEDIUM",
        "{dst}",
        "{src} kept reconnecting to {dst}, {n} attempts without a session. threat level: medium.",
    ),
    Kind(
        "domain",
        "MEDIUM",
        "{host}",
        "DNS answer for the recently registered name {host}. threat level: medium.",
    ),
    Kind(
        "upload",
        "MEDIUM",
        "{dst}:{port}",
        "Upload of {n} MB from {src} to {dst} on port {port}. threat level: medium.",
    ),
    Kind(
        "odd_http",
        "LOW",
        "{dst}:80",
        "Port 80 session with {dst} that does not speak HTTP. threat level: low.",
    ),
    Kind(
        "listed",
        "LOW",
        "{dst}",
        "Listed address {dst} contacted by {src}. Entry: EX{n}. List: example-drop.txt. "
        "threat level: low.",
    ),
    Kind(
        "certificate",
        "LOW",
        "{dst}:443",
        "Certificate for {host} presented by {dst} is self-signed. threat level: low.",
    ),
    Kind(
        "model",
        "LOW",
        "{dst}:{port}",
        "Flow model marks {src} to {dst}:{port} as malicious. Score: {c}. threat level: low.",
    ),
    Kind(
        "private",
        "INFO",
        "{inner}:{port}",
        "Private address {inner} contacted on port {port}. threat level: info.",
    ),
    Kind(
        "no_dns",
        "INFO",
        "{dst}",
        "{dst} reached without a preceding DNS answer. threat level: info.",
    ),
    Kind(
        "clear_http",
        "INFO",
        "{dst}",
        "Unencrypted HTTP from {src} to {dst}. threat level: info.",
    ),
)
KIND = {kind.name: number for number, kind in enumerate(KINDS)}
_RANK = [SEVERITIES.index(kind.severity) for kind in KINDS]

# What a compromised (or merely busy) host does: weights of kinds.
_HABITS = (
    {"rare_port": 40, "retries": 16, "no_dns": 22, "command": 2, "upload": 2, "domain": 2},
    {"plain_tls": 22, "odd_http": 30, "private": 22, "clear_http": 12, "listed": 14},
    {"rare_port": 34, "listed": 24, "private": 26, "no_dns": 8, "certificate": 4, "model": 2},
    {"plain_tls": 30, "domain": 14, "certificate": 10, "no_dns": 20, "upload": 4, "retries": 8},
    {"guess": 16, "vertical": 10, "retries": 20, "private": 30, "model": 6, "command": 2},
    {"odd_http": 26, "listed": 30, "no_dns": 16, "clear_http": 16, "rare_port": 12},
)
_GIANT_HABIT = {"rare_port": 60, "private": 32, "retries": 4, "odd_http": 4}
_NORMAL_HABIT = {"plain_tls": 26, "no_dns": 30, "clear_http": 20, "certificate": 8, "private": 16}
_SOURCES = (
    "192.168.10.23",
    "192.168.10.57",
    "10.20.4.113",
    "10.20.7.9",
    "192.168.44.131",
    "10.0.0.15",
    "203.0.113.77",
    "198.51.100.201",
    "192.168.1.5",
)
_RARE_PORTS = (449, 447, 4444, 5555, 6667, 8082, 8443, 9001, 16464, 16470, 31337, 34567, 65520)
_INNER_PORTS = (80, 135, 139, 443, 445, 1433, 3389, 8080)
_NAMES = (
    "updates.example.com",
    "cdn-eu.example.net",
    "telemetry.example.org",
    "x7k2q.example.com",
    "login-check.example.net",
    "mail.example.org",
    "sync.example",
    "münchen-büro.example",
    "données.example.net",
    "cafe\u0301-kasse.example.org",
    "bücherei.example.com",
    "备份服务器.example",
    "プリンタ.example.net",
    "сервер-7.example.org",
)
_LEVELS = [15.0]
for _ in range(40):  # summed, so that they carry the noise of real ones: 15.060000000000002
    _LEVELS.append(_LEVELS[-1] + 0.02)


class Event(NamedTuple):
    """One event of a pool: what a summary may say of it, and its two lines of DAG."""

    kind: int
    start: int
    end: int
    target: str
    port: int
    count: int
    text: str


class Sweeps(NamedTuple):
    """A group's horizontal sweeps: their minutes, total and the lines to show three of."""

    start: int
    end: int
    port: int
    count: int
    lines: list[str]


class Highlight(NamedTuple):
    """All events of one kind in an incident, as one thing to tell."""

    kind: Kind
    start: str
    end: str
    count: int
    events: int
    target: str
    port: int


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident's facts, its highlights by severity and its DAG texts, one a dataset."""

    role: Role
    category: str
    source_ip: str
    timewindow: str
    timeline: str
    threat_level: float
    event_count: int
    highlights: tuple[Highlight, ...]
    severities: tuple[tuple[str, int], ...]
    summary_dag: str
    risk_dag: str

    @property
    def head(self) -> str:
        """The header that a DAG and a good summary open with."""
        return _head(self)

    def without_dags(self) -> Incident:
        """The incident without its two long texts, to be kept while others are written."""
        return replace(self, summary_dag="", risk_dag="")


@dataclass(frozen=True, slots=True)
class _Host:
    source: str
    category: str
    habit: dict[str, int]
    publics: list[str]
    inners: list[str]
    began: datetime


@dataclass(frozen=True, slots=True)
class _Group:
    host: _Host
    window: int
    members: list[tuple[Role, int]]  # with the size of each one's DAG in characters


def incidents(seed: int, block: Block) -> Iterator[Incident]:
    """The block's incidents, group by group."""
    rng = stream(seed, block.number, "groups")
    for group in _groups(block, rng):
        yield from _of_group(group, rng)


def _groups(block: Block, rng: random.Random) -> list[_Group]:
    """Who shares a window with whom, and how large each one's DAG is."""
    roles = rng.sample(block.roles, len(block.roles))
    # Every habit once before any a second time, so that all kinds occur under any seed.
    habits = rng.sample(_HABITS, len(_HABITS)) + rng.sample(_HABITS, len(_HABITS))
    hosts = [
        _host(source, habit, block.number, rng)
        for source, habit in zip(_SOURCES, habits, strict=False)
    ]
    normal = _normal(block.number, rng)
    group_sizes = [*_GROUP_SIZES, *(1,) * (len(roles) - sum(_GROUP_SIZES))]
    windows = rng.sample(range(1, 900), len(group_sizes))
    groups, at = [], 0
    for number, dag_sizes in enumerate(_dealt_sizes(group_sizes, rng)):
        if number < _GIANT_GROUPS:
            host = replace(hosts[number], habit=_GIANT_HABIT)
        elif len(dag_sizes) == 1 and rng.random() < 0.09:
            host = normal
        else:
            host = hosts[int(rng.random() ** 1.6 * len(hosts))]
        members = list(zip(roles[at : at + len(dag_sizes)], dag_sizes, strict=True))
        groups.append(_Group(host, windows[number], members))
        at += len(dag_sizes)
    rng.shuffle(groups)
    return groups


def _dealt_sizes(group_sizes: list[int], rng: random.Random) -> Iterator[list[int]]:
    """DAG sizes for each group in turn: the whole distribution, a group's members alike."""
    total = sum(group_sizes)
    sizes = [_size(1 - i / (total - 1)) for i in range(total)]
    giant = sum(group_sizes[:_GIANT_GROUPS])
    giants, large, small = sizes[:giant], sizes[giant : total * 3 // 10], sizes[total * 3 // 10 :]
    for stock in (giants, large, small):
        rng.shuffle(stock)
    for number, count in enumerate(group_sizes):
        # Large DAGs come in large groups: a busy window is cut into many incidents.
        chance = 0.62 if count > 6 else 0.07
        wanted = large if rng.random() < chance else small
        stocks = (giants,) if number < _GIANT_GROUPS else (wanted, small, large)
        yield [next(stock for stock in stocks if stock).pop() for _ in range(count)]


def _size(share: float) -> int:
    """The characters of a DAG that is larger than `share` of them."""
    at = min(bisect(_SIZES, (share, 1e9)), len(_SIZES) - 1)
    (low, small), (high, large) = _SIZES[at - 1], _SIZES[at]
    tokens = small + (large - small) * (share - low) / (high - low)
    return int(tokens * _CHARACTERS_PER_TOKEN)


def _address(rng: random.Random) -> str:
    """An address of the ranges reserved for documentation."""
    prefix = ("192.0.2", "198.51.100", "203.0.113")[int(rng.random() * 3)]
    return f"{prefix}.{1 + int(rng.random() * 254)}"


def _inner(rng: random.Random) -> str:
    return f"10.{int(rng.random() * 256)}.{int(rng.random() * 256)}.{1 + int(rng.random() * 254)}"


def _host(source: str, habit: dict[str, int], block: int, rng: random.Random) -> _Host:
    return _Host(
        source=_in_block(source, block),
        category="Malware",
        habit=habit,
        publics=[_address(rng) for _ in range(rng.randint(60, 80))],
        inners=[_inner(rng) for _ in range(rng.randint(70, 90))],
        began=datetime(1970, 1, 1, 0, 0, rng.randrange(60)),
    )


def _normal(block: int, rng: random.Random) -> _Host:
    began = datetime(2022, 6, 1, 12, 0, rng.randrange(60))
    host = _host("192.168.80.12", _NORMAL_HABIT, block, rng)
    return replace(host, category="Normal", began=began)


def _in_block(source: str, block: int) -> str:
    """The host's address in another block: another last byte, so that groups stay apart."""
    if not block:
        return source
    prefix, _, last = source.rpartition(".")
    return f"{prefix}.{1 + (int(last) + 29 * block) % 254}"


def _of_group(group: _Group, rng: random.Random) -> Iterator[Incident]:
    host = group.host
    began = host.began + timedelta(hours=group.window - 1)
    timeline = f"{began} to {began + timedelta(hours=1)}"
    largest = max(size for _, size in group.members)
    wanted = largest if len(group.members) == 1 else largest * 1.05
    events, characters = _pool(host, began.hour, wanted, rng)
    sweeps = _sweeps(host, largest, rng) if rng.random() < 0.6 else None
    previous: Incident | None = None
    for role, size in group.members:
        share = min(1.0, max(0.0, size - 450) / max(1, characters))
        chosen = sorted(rng.sample(range(len(events)), max(1, round(share * len(events)))))
        own = [events[i] for i in chosen]
        made = _incident(group, role, timeline, own, sweeps, began.hour, rng)
        if previous is not None and rng.random() < 0.02:
            # The same evidence, exported twice under two ids.
            made = replace(previous, role=role)
        yield made
        previous = made


def _pool(host: _Host, hour: int, characters: float, rng: random.Random) -> tuple[list[Event], int]:
    """Events for about `characters` of DAG, the gravest first, and the characters they take."""
    draw = rng.random
    names, weights = list(host.habit), list(host.habit.values())
    kinds = [KIND[name] for name in names]
    # Half of the rare ports belong to one campaign, the others to nobody.
    favourite = _RARE_PORTS[int(draw() * len(_RARE_PORTS))]
    wide = characters > 30000
    publics, inners = host.publics, host.inners
    events: list[Event] = []
    total = 0
    while total < characters:
        for kind in rng.choices(kinds, weights, k=16):
            dst = publics[int(draw() * len(publics))]
            inner = inners[int(draw() * len(inners))]
            name = KINDS[kind].name
            if name == "private":
                port = _INNER_PORTS[int(draw() * len(_INNER_PORTS))]
            elif name == "rare_port" and wide:
                port = 1024 + int(draw() * 64000)
            elif name in ("plain_tls", "certificate"):
                port = 443
            elif name in ("odd_http", "clear_http"):
                port = 80
            elif name == "guess":
                port = 22
            else:
                port = favourite if draw() < 0.7 else _RARE_PORTS[int(draw() * len(_RARE_PORTS))]
            many = name == "no_dns" or (not wide and draw() < 0.3)
            count = 2 + int(draw() * draw() * (160 if name == "no_dns" else 9)) if many else 1
            start = int(draw() * 60)
            end = min(59, start + int(draw() * 24)) if count > 1 else start
            fields = {
                "src": host.source,
                "dst": dst,
                "inner": inner,
                "port": port,
                "host": _NAMES[int(draw() * len(_NAMES))],
                # Few values: what a host does, it does in the same measure each time.
                "n": 5 + 5 * int(draw() * 3)
                if name == "retries"
                else 20 + 10 * (len(dst) + port % 7),
                "m": 210 + 10 * (port % 9),
                "c": ("0.8", "0.9", "1")[port % 3],
            }
            target = KINDS[kind].target.format_map(fields)
            detail = KINDS[kind].detail.format_map(fields)
            when = f"{hour:02}:{start:02}"
            if end > start:
                when += f"-{hour:02}:{end:02}"
            severity = KINDS[kind].severity
            if count > 1:
                text = (
                    f"• {when} - {count} events to {target} [{severity}]\n  - {detail} (x{count})"
                )
            else:
                text = f"• {when} - Event to {target} [{severity}]\n  - {detail}"
            events.append(Event(kind, start, end, target, port, count, text))
            total += len(text) + 1
            if total >= characters:
                break
    events.sort(key=lambda event: _RANK[event.kind])
    return events, total


def _sweeps(host: _Host, size: int, rng: random.Random) -> Sweeps:
    ports = rng.sample((80, 443, 445, 8080, 23, 22, 3389), 2)
    count = rng.randint(2, 6) if size < 8000 else rng.randint(40, 2600)
    start = rng.randrange(50)
    lines = []
    for _ in range(min(count, 9)):
        hosts = 5 * rng.randint(1, 250)
        detail = KINDS[0].detail.format(
            port=ports[rng.random() < 0.15],
            src=host.source,
            n=hosts,
            m=hosts + rng.randrange(40),
            c=rng.choice(("0.9", "1")),
        )
        lines.append(f"  - {detail}")
    return Sweeps(start, min(59, start + rng.randrange(1, 9)), ports[0], count, lines)


def _incident(
    group: _Group,
    role: Role,
    timeline: str,
    events: list[Event],
    sweeps: Sweeps | None,
    hour: int,
    rng: random.Random,
) -> Incident:
    by_kind: dict[int, list[Event]] = {}
    for event in events:
        by_kind.setdefault(event.kind, []).append(event)
    counts = dict.fromkeys(SEVERITIES, 0)
    highlights = []
    if sweeps:
        counts["HIGH"] += sweeps.count
        target = "many hosts"
        highlights.append((0, sweeps.start, sweeps.end, sweeps.count, 1, target, sweeps.port))
    for kind, found in by_kind.items():
        sample = found[int(rng.random() * len(found))]
        start, end = min(e.start for e in found), max(e.end for e in found)
        count = sum(e.count for e in found)
        counts[KINDS[kind].severity] += count
        highlights.append((kind, start, end, count, len(found), sample.target, sample.port))
    highlights.sort(key=lambda h: _RANK[h[0]])
    incident = Incident(
        role=role,
        category=group.host.category,
        source_ip=group.host.source,
        timewindow=str(group.window),
        timeline=timeline,
        threat_level=_LEVELS[int(rng.random() * len(_LEVELS))],
        event_count=sum(e.count for e in events) + (sweeps.count if sweeps else 0),
        highlights=tuple(
            Highlight(KINDS[kind], f"{hour:02}:{start:02}", f"{hour:02}:{end:02}", *rest)
            for kind, start, end, *rest in highlights
        ),
        severities=tuple((name, count) for name, count in counts.items() if count),
        summary_dag="",
        risk_dag="",
    )
    risk_dag = _dag(incident, [e.text for e in events], sweeps, hour, rng)
    summary_dag = risk_dag
    if rng.random() < 0.88:
        # The two exports picked their sample lines on their own.
        texts = [e.text for e in events]
        at = int(rng.random() * len(texts))
        texts[at], texts[-1] = texts[-1], texts[at]
        summary_dag = _dag(incident, texts, sweeps, hour, rng)
    return replace(incident, summary_dag=summary_dag, risk_dag=risk_dag)


def _head(incident: Incident) -> str:
    return (
        f"{HEADER_LINE}\n"
        f"Incident: {incident.role.incident_id}\n"
        f"Source IP: {incident.source_ip} | Timewindow: {incident.timewindow}\n"
        f"Timeline: {incident.timeline}\n"
        f"Threat Level: {incident.threat_level} | Events: {incident.event_count}\n"
    )


def _dag(
    incident: Incident, texts: list[str], sweeps: Sweeps | None, hour: int, rng: random.Random
) -> str:
    parts = [_head(incident)]
    if sweeps:
        shown = rng.sample(sweeps.lines, min(3, len(sweeps.lines)))
        parts.append(
            f"• {hour:02}:{sweeps.start:02}-{hour:02}:{sweeps.end:02} - "
            f"{sweeps.count} events to Horizontal [HIGH]"
        )
        parts += shown
        if sweeps.count > len(shown):
            parts.append(f"  - ... and {sweeps.count - len(shown)} more variations")
    parts += texts
    totals = ", ".join(f"{name.capitalize()}: {count}" for name, count in incident.severities)
    parts.append(f"\nTotal Evidence: {incident.event_count} events\nSeverity breakdown: {totals}")
    return "\n".join(parts)
