"""The incidents of the sample corpus: hosts, time windows, events and their DAG texts.

In: a seed and a block of roles. Out: the block's incidents, one group (those that share a source
address and a time window) after another, each with its facts and both DAG texts.

Incidents of a group draw from one pool of events, like real incidents of one window; so most lines
of the corpus occur several times. Only one group's pool is in memory at a time.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from immune_data.sample import dag, kinds
from immune_data.sample.dag import Bullet, Detail, Highlight, Window
from immune_data.sample.kinds import KIND, KINDS, SLOTS, TEXTS
from immune_data.sample.plan import Block, Role, stream

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
_LARGE = 30_000  # characters from which a DAG has many ports and addresses
# Group sizes above one, largest first: half of the incidents; the others are alone in theirs.
_GROUP_SIZES = (
    *(11, 10),
    *(14, 12, 11, 11) + (10,) * 8 + (9,) * 8 + (8,) * 8,
    *(13,) * 9 + (7,) * 5 + (6,) * 4 + (5,) * 5 + (4,) * 2 + (3,) * 4 + (2,) * 16,
)
_GIANT_GROUPS = 2
_SOURCES = (
    "192.168.10.23",
    "192.168.10.57",
    "10.20.4.113",
    "10.20.7.9",
    "192.168.44.131",
    "10.0.0.15",
    "203.0.113.77",
    "2001:db8:7::15",
    "198.51.100.201",
    "192.168.1.5",
)
_NORMAL_SOURCE = "192.168.80.12"
_LEVELS = [15.0]
for _ in range(40):  # summed, so that they carry the noise of real ones: 15.060000000000002
    _LEVELS.append(_LEVELS[-1] + 0.02)


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident's facts, its highlights by severity and its DAG texts, one per dataset."""

    role: Role
    category: str
    source_ip: str
    timewindow: str
    window: Window
    threat_level: float
    severities: tuple[tuple[str, int], ...]
    highlights: tuple[Highlight, ...]
    summary_dag: str = ""
    risk_dag: str = ""

    @property
    def event_count(self) -> int:
        return sum(count for _, count in self.severities)

    @property
    def timeline(self) -> str:
        return str(self.window)

    def head(self, threat_level: float) -> str:
        """The header of a DAG; a good summary begins with it, without the noise in its level."""
        return (
            f"{dag.HEADER_LINE}\n"
            f"Incident: {self.role.incident_id}\n"
            f"Source IP: {self.source_ip} | Timewindow: {self.timewindow}\n"
            f"{self.window.line}\n"
            f"Threat Level: {threat_level} | Events: {self.event_count}\n"
        )

    def without_dags(self) -> Incident:
        """The incident without its two long texts, to be kept while others are written."""
        return replace(self, summary_dag="", risk_dag="")


@dataclass(frozen=True, slots=True)
class _Host:
    source: str
    category: str
    habit: dict[str, int]
    crowds: dict[str, float]
    publics: list[str]
    inners: list[str]
    start: datetime


@dataclass(frozen=True, slots=True)
class _Group:
    host: _Host
    number: int  # of the time window
    members: list[tuple[Role, int]]  # with the size of each one's DAG in characters

    @property
    def window(self) -> Window:
        return Window(self.host.start + timedelta(hours=self.number - 1))


@dataclass(slots=True)
class _BulletBuilder:
    """Builds a bullet: the times and texts of one severity and target."""

    start: int
    end: int
    details: dict[str, Detail] = field(default_factory=dict)

    def add(self, detail: Detail) -> None:
        earlier = self.details.get(detail.text)
        events = detail.events + (earlier.events if earlier else 0)
        self.details[detail.text] = detail._replace(events=events)

    def bullet(self, severity: str, target: str) -> Bullet:
        details = tuple(self.details.values())
        events = sum(detail.events for detail in details)
        return Bullet(severity, target, self.start, self.end, events, details)


def incidents(seed: int, block: Block) -> Iterator[Incident]:
    """The block's incidents, group by group."""
    rng = stream(seed, block.number, "groups")
    for group in _groups(block, rng):
        yield from _group_incidents(group, rng)


def _groups(block: Block, rng: random.Random) -> list[_Group]:
    """The groups of incidents that share a window, with the size of each DAG."""
    roles = rng.sample(block.roles, len(block.roles))
    # Incidents that must be harmless go to the end, where each is alone in its group.
    roles.sort(key=lambda role: role.category == "Normal")
    # Every habit once before any a second time, so that all kinds occur with any seed.
    habits = rng.sample(kinds.HABITS, len(kinds.HABITS)) + rng.sample(
        kinds.HABITS, len(kinds.HABITS)
    )
    hosts = [
        _host(source, habit, block.number, rng)
        for source, habit in zip(_SOURCES, habits, strict=False)
    ]
    normal = _normal(block.number, rng)
    group_sizes = [*_GROUP_SIZES, *(1,) * (len(roles) - sum(_GROUP_SIZES))]
    # Captures whose clock began before the epoch have windows before the first.
    windows = rng.sample(range(-20, 880), len(group_sizes))
    groups, position = [], 0
    for number, dag_sizes in enumerate(_sizes_by_group(group_sizes, rng)):
        members = list(zip(roles[position : position + len(dag_sizes)], dag_sizes, strict=True))
        if number < _GIANT_GROUPS:
            host = replace(hosts[number], habit=kinds.GIANT_HABIT)
        elif members[0][0].category == "Normal" or (
            members[0][0].category != "Malware" and len(members) == 1 and rng.random() < 0.09
        ):
            host = normal
        else:
            host = hosts[int(rng.random() ** 1.6 * len(hosts))]
        groups.append(_Group(host, windows[number], members))
        position += len(dag_sizes)
    rng.shuffle(groups)
    return groups


def _sizes_by_group(group_sizes: list[int], rng: random.Random) -> Iterator[list[int]]:
    """DAG sizes for each group in turn: the whole distribution, similar sizes within a group."""
    total = sum(group_sizes)
    sizes = [_size(1 - i / (total - 1)) for i in range(total)]
    giant = sum(group_sizes[:_GIANT_GROUPS])
    giants, large, small = sizes[:giant], sizes[giant : total * 3 // 10], sizes[total * 3 // 10 :]
    for stock in (giants, large, small):
        rng.shuffle(stock)
    for number, count in enumerate(group_sizes):
        # Large DAGs come in large groups: a busy window is cut into many incidents.
        chance = 0.62 if count > 6 else 0.07
        stock_of_group = large if rng.random() < chance else small
        stocks = (giants,) if number < _GIANT_GROUPS else (stock_of_group, small, large)
        yield [next(stock for stock in stocks if stock).pop() for _ in range(count)]


def _size(share: float) -> int:
    """The characters of a DAG that is larger than `share` of them."""
    position = min(bisect(_SIZES, (share, 1e9)), len(_SIZES) - 1)
    (low, small), (high, large) = _SIZES[position - 1], _SIZES[position]
    tokens = small + (large - small) * (share - low) / (high - low)
    return int(tokens * _CHARACTERS_PER_TOKEN)


def _address(rng: random.Random) -> str:
    """An address from the ranges that are reserved for documentation."""
    if rng.random() < 0.04:
        return f"2001:db8::{1 + int(rng.random() * 65534):x}"
    prefix = ("192.0.2", "198.51.100", "203.0.113")[int(rng.random() * 3)]
    return f"{prefix}.{1 + int(rng.random() * 254)}"


def _inner(rng: random.Random) -> str:
    return f"10.{int(rng.random() * 256)}.{int(rng.random() * 256)}.{1 + int(rng.random() * 254)}"


def _host(source: str, habit: dict[str, int], block: int, rng: random.Random) -> _Host:
    # Windows begin with the first packet, which captures of the lab date to the epoch.
    minute = rng.randrange(60) if rng.random() < 0.5 else 0
    return _Host(
        source=_in_block(source, block),
        category="Malware",
        habit=habit,
        crowds=kinds.CROWD_CHANCES,
        publics=[_address(rng) for _ in range(rng.randint(60, 80))],
        inners=[_inner(rng) for _ in range(rng.randint(70, 90))],
        start=datetime(1970, 1, 1, 0, minute, rng.randrange(60)),
    )


def _normal(block: int, rng: random.Random) -> _Host:
    host = _host(_NORMAL_SOURCE, kinds.NORMAL_HABIT, block, rng)
    start = datetime(2022, 6, 1, 12, 0, rng.randrange(60))
    return replace(host, category="Normal", crowds=kinds.NORMAL_CROWDS, start=start)


def _in_block(source: str, block: int) -> str:
    """The host's address in another block: another last number, so that groups stay apart."""
    if not block:
        return source
    position = max(source.rfind("."), source.rfind(":")) + 1
    return f"{source[:position]}{1 + (int(source[position:]) + 29 * block) % 254}"


def _group_incidents(group: _Group, rng: random.Random) -> Iterator[Incident]:
    largest = max(size for _, size in group.members)
    characters_of_pool = largest if len(group.members) == 1 else largest * 1.05
    rendered: dict[Bullet, str] = {}
    pool = _pool(group, characters_of_pool, rng, rendered)
    characters = sum(map(len, rendered.values())) + len(rendered)
    crowds = [
        _crowd(group, KIND[name], largest, rng)
        for name, chance in group.host.crowds.items()
        if rng.random() < chance
    ]
    previous: Incident | None = None
    for role, size in group.members:
        # The room next to header and closing lines; a crowd takes some 400 characters of it.
        room = max(0, size - 450)
        own = [_part_of_crowd(crowd, rng) for crowd in crowds[: room // 400]]
        share = min(1.0, max(0, room - 400 * len(own)) / max(1, characters))
        own += rng.sample(pool, max(1, round(share * len(pool))))
        if not any(bullet.is_plain for bullet in own):  # answers need a highlight
            own.append(rng.choice([bullet for bullet in pool if bullet.is_plain]))
        incident = _incident(group, role, _with_oddities(own, role), rng, rendered)
        if previous is not None and not role.evidence and rng.random() < 0.02:
            # The same evidence, exported twice under two ids.
            incident = replace(previous, role=role)
        yield incident
        previous = None if role.evidence else incident


def _pool(
    group: _Group, characters: float, rng: random.Random, rendered: dict[Bullet, str]
) -> list[Bullet]:
    """Bullets for a DAG of about `characters`; their texts are stored in `rendered`."""
    draw = rng.random
    host = group.host
    names, weights = list(host.habit), list(host.habit.values())
    numbers = [KIND[name] for name in names]
    # Most of the rare ports belong to one campaign, the others to none.
    favourite = kinds.RARE_PORTS[int(draw() * len(kinds.RARE_PORTS))]
    wide = characters > _LARGE
    publics = host.publics + [_address(rng) for _ in range(int(characters / 500))]
    inners = host.inners + [_inner(rng) for _ in range(int(characters / 1000))]
    builders: dict[tuple[str, str], _BulletBuilder] = {}
    total = 0
    while total < characters:
        before = total
        for kind in rng.choices(numbers, weights, k=16):
            dst = publics[int(draw() * len(publics))]
            fields = {
                "src": host.source,
                "dst": dst,
                "inner": inners[int(draw() * len(inners))],
                "port": _port(KINDS[kind].name, favourite, wide, rng),
            }
            severity, target = KINDS[kind].severity, KINDS[kind].target.format_map(fields)
            builder = builders.get((severity, target))
            # Few targets have events with several texts, and none if there are few targets.
            if builder and (len(builders) < 8 or len(builder.details) > 2 or draw() < 0.8):
                continue
            start = int(draw() * 60)
            many = not wide and draw() < 0.3
            end = min(60, start + int(draw() * 24)) if many else start
            if not builder:
                builder = builders[severity, target] = _BulletBuilder(start, end)
            builder.start, builder.end = min(builder.start, start), max(builder.end, end)
            events = 2 + int(draw() * draw() * 9) if many else 1
            builder.add(detail := _detail(kind, fields, events, rng))
            total += len(detail.text) + 45
            if total >= characters:
                break
        if total == before:  # every target is taken
            break
    window = group.window
    pool = [builder.bullet(*key) for key, builder in builders.items()]
    rendered |= {
        bullet: dag.bullet_text(bullet, window, rng) for bullet in pool if len(bullet.details) == 1
    }
    return pool


def _port(name: str, favourite: int, wide: bool, rng: random.Random) -> int:
    match name:
        case "private":
            return kinds.INNER_PORTS[int(rng.random() * len(kinds.INNER_PORTS))]
        case "rare_port" if wide:
            return 1024 + int(rng.random() * 64000)
        case "plain_tls":
            return 443
        case "odd_http" | "clear_http":
            return 80
        case "guess":
            return 22
    if rng.random() < 0.7:
        return favourite
    return kinds.RARE_PORTS[int(rng.random() * len(kinds.RARE_PORTS))]


def _detail(kind: int, fields: dict[str, object], events: int, rng: random.Random) -> Detail:
    """A text of a kind; values missing from `fields` are made up."""
    name, port = KINDS[kind].name, int(str(fields["port"]))
    # Few values: a host repeats the same behaviour each time.
    packets = 210 + 10 * (port % 9)
    match name:
        case "retries":
            number = 5 + 5 * int(rng.random() * 3)
        case "sweep":
            number = 5 * rng.randint(1, 250)
            packets = number + rng.randrange(40)
        case _:
            number = 20 + 10 * (port % 7)
    fields |= {"n": number, "m": packets, "c": ("0.8", "0.9", "1")[port % 3]}
    name_shown, item = fields["dst"], ""
    match name:
        case "sweep":
            name_shown = fields["src"]
        case "listed":
            fields["item"] = item = f"SBL{100_000 + int(rng.random() * 400) * 37}"
        case "listed_network":
            fields["item"] = item = _network(str(name_shown))
        case "spoofed":
            fields["item"] = item = ":".join(f"{int(rng.random() * 256):02x}" for _ in range(6))
            name_shown = fields["inner"]
        case "download":
            fields["item"] = item = f"{rng.getrandbits(128):032x}"
        case "domain":
            fields["host"] = name_shown = kinds.NAMES[int(rng.random() * len(kinds.NAMES))]
        case "private":
            name_shown = fields["inner"]
    text = TEXTS[kind].format_map(fields)
    order = tuple(str(fields[slot]) for slot in SLOTS[kind])
    return Detail(kind, str(name_shown), port, text, events, order, item)


def _network(address: str) -> str:
    """The network of a block list that contains an address."""
    if ":" in address:
        return "2001:db8::/48"
    return f"{address.rpartition('.')[0]}.0/24"


def _crowd(group: _Group, kind: int, size: int, rng: random.Random) -> Bullet:
    """The bullet of a kind whose events have no target; incidents show a part of it."""
    name, host = KINDS[kind].name, group.host
    ports = rng.sample(kinds.SWEPT_PORTS, 2)
    builder = _BulletBuilder(start := rng.randrange(50), min(60, start + rng.randrange(30)))
    for _ in range(rng.randint(1, 9)):
        fields: dict[str, object] = {
            "src": host.source,
            "dst": rng.choice(host.publics),
            "port": ports[rng.random() < 0.15],
        }
        events = 2 + rng.randrange(12) if name != "sweep" and rng.random() < 0.5 else 1
        builder.add(_detail(kind, fields, events, rng))
    bullet = builder.bullet(KINDS[kind].severity, KINDS[kind].target)
    if len(bullet.details) > 3 and name in ("sweep", "no_dns"):
        maximum = 2500 if size > 8000 else 12
        bullet = bullet._replace(hidden=rng.randint(0, maximum))
    return bullet


def _part_of_crowd(crowd: Bullet, rng: random.Random) -> Bullet:
    """The part of a crowd's bullet in one incident."""
    details = crowd.details[: 1 + int(rng.random() * len(crowd.details))]
    hidden = int(rng.random() * (crowd.hidden + 1)) if len(details) > 3 else 0
    events = sum(detail.events for detail in details) + hidden + int(rng.random() * 3 * hidden)
    # One event has one time.
    end = crowd.end if events > 1 else crowd.start
    return crowd._replace(details=details, hidden=hidden, events=events, end=end)


def _with_oddities(bullets: list[Bullet], role: Role) -> list[Bullet]:
    """The bullets of an incident, with special evidence if its role asks for it."""
    odd = role.evidence
    if odd == "no_events":
        return []
    if odd in kinds.ODD_TARGETS:
        target, text = kinds.ODD_TARGETS[odd]
        detail = Detail(-1, "", 0, f"{text} threat level: medium.", 1)
        return [*bullets, Bullet("MEDIUM", target, 7, 7, 1, (detail,))]
    if odd == "critical":
        kind = KIND["takeover"]
        fields: dict[str, object] = {"dst": "192.0.2.66", "port": 4444, "c": "1"}
        detail = Detail(kind, "192.0.2.66", 4444, TEXTS[kind].format_map(fields), 2)
        return [*bullets, Bullet("CRITICAL", "192.0.2.66:4444", 11, 19, 2, (detail,))]
    if odd == "unknown":
        # One bullet per target: those of one target would differ only in the unreadable severity.
        by_target = {bullet.target: bullet for bullet in bullets}
        return [bullet._replace(severity="UNKNOWN") for bullet in by_target.values()]
    return bullets


def _incident(
    group: _Group,
    role: Role,
    bullets: list[Bullet],
    rng: random.Random,
    rendered: dict[Bullet, str],
) -> Incident:
    window = replace(group.window, is_open=role.evidence == "start_time")
    incident = Incident(
        role=role,
        category=group.host.category,
        source_ip=group.host.source,
        timewindow=str(group.number),
        window=window,
        threat_level=_LEVELS[int(rng.random() * len(_LEVELS))],
        severities=dag.severities(bullets),
        highlights=dag.highlights(bullets, window, rng),
    )
    head = incident.head(incident.threat_level)
    risk_dag = dag.text(role.incident_id, head, bullets, window, rng, rendered)
    summary_dag = risk_dag
    if rng.random() < 0.88:
        # The two exports list the events, and choose the texts shown, in different orders.
        summary_dag = dag.text(role.incident_id, head, bullets, window, rng, rendered)
    return replace(incident, summary_dag=summary_dag, risk_dag=risk_dag)
