"""Condensed evidence (rule 11): the events of a DAG, or blocks of them, one line for each kind.

A DAG lists events by target, so that one scan takes a thousand lines that differ in an address.
Here events are grouped by severity and kind, where the kind is the text without its names and
numbers, and each group is one bullet:

    • 02:05-02:08 - 9 events [LOW] connection to blacklisted IP: {170.179.44.25, … 9 in all} from
    192.168.1.113. Description: {SBL221379, … 9 in all}. Source: drop.txt.

No event is left out: the event counts of the bullets add up to those of the DAG. A line that is
not part of an event stays as it is. Condensed text follows the same grammar, so that condensing
with fewer values after more is condensing with fewer. In it, `{{` and `}}` are braces of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from immune_data.contract import names

SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO")
_DAY = 24 * 60  # minutes

# Lines. The texts may contain any character but a line feed.
_TIME = r"((?:[01]\d|2[0-3]):[0-5]\d)"
_SPAN = rf"• {_TIME}(?:-{_TIME})? - "
_BULLET = re.compile(rf"{_SPAN}(?:Event|(\d{{1,18}}) events) to ([^\n]+) \[([A-Z]+)\]", re.ASCII)
_GROUP = re.compile(rf"{_SPAN}(\d{{1,18}}) events? \[([A-Z]+)\] ([^\n]*)", re.ASCII)
_MORE = re.compile(r"  - \.\.\. and (\d{1,18}) more variations", re.ASCII)
_DETAIL = re.compile(r"  - ([^\n]+?)(?: \(x\d{1,18}\))?", re.ASCII)
_TIMELINE = re.compile(rf"Timeline: \d{{4}}-\d\d-\d\d {_TIME}:\d\d to [^\n]+", re.ASCII)
_LEVEL = re.compile(r"(?<=\AThreat Level: )\d{1,18}\.\d{3,18}(?= \| Events: \d{1,18}\Z)", re.ASCII)
_HIDDEN = re.compile(r" \{and (\d{1,18}) more variations\}\Z", re.ASCII)

# Names and numbers, by the first kind that matches. They are not part of a longer word or number:
# there is no word character at either end, and no digit that a dot joins to them.
_HEX = "[0-9A-Fa-f]{1,4}"
_NAMES = {
    "mac": r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}",
    "network": rf"(?:\d{{1,3}}\.){{3}}\d{{1,3}}/\d{{1,2}}"
    rf"|(?:{_HEX})?(?::(?:{_HEX})?){{2,8}}/\d{{1,3}}",
    "address": rf"(?:(?:\d{{1,3}}\.){{3}}\d{{1,3}}|(?:{_HEX}:){{7}}{_HEX}"
    rf"|(?:{_HEX}(?::{_HEX}){{0,5}})?::(?:{_HEX}(?::{_HEX}){{0,5}})?)(?!/\d)",
    "domain": names.PATTERNS["domain"],
    "hash": r"[0-9a-f]{32}(?:[0-9a-f]{8}|[0-9a-f]{32})?",
    "identifier": r"[A-Z]{2,8}\d{2,}",  # of an entry in a list, such as SBL221379
    "number": r"\d+(?:\.\d+)?(?:e[-+]\d{1,3})?",
}
_NAME = re.compile("|".join(f"(?P<{kind}>{of})" for kind, of in _NAMES.items()), re.ASCII)
_QUOTED = r"'[^\s'\"{},…]+'"
# Most words of a text do not begin like any of them and are skipped at once.
_BEGINS = r"(?=[A-Za-z_]{0,63}[0-9.:\[{-]|[0-9a-f]{32})"
_ALONE = rf"(?<!\w)(?<!\d\.){_BEGINS}(?:%s)(?!\w)(?!\.\d)"
_IN_DETAIL = re.compile(
    r"[{}]|" + _ALONE % rf"(?P<list>\[{_QUOTED}(?:, ?{_QUOTED})*\])|{_NAME.pattern}", re.ASCII
)
_IN_GROUP = re.compile(
    r"\{\{|\}\}|" + _ALONE % rf"(?P<braced>\{{[^{{}}\n]+\}})|{_NAME.pattern}", re.ASCII
)
_WORD = "word"  # the kind of a list's items if they are of several kinds
_IN_ALL = re.compile(r"(?:, )?… (\d{1,18}) in all\Z", re.ASCII)
_RANGE = re.compile(rf"({_NAMES['number']}) to ({_NAMES['number']}), (\d{{1,18}}) in all", re.ASCII)


@dataclass(slots=True)
class Slot:
    """The values of one place in the text of a kind, in order of first appearance.

    `unseen` counts distinct values that the text does not name, and `bounds` are the smallest and
    the largest number where a range replaces them.
    """

    values: dict[str, None] = field(default_factory=dict)
    unseen: int = 0
    bounds: tuple[str, ...] = ()

    def add(self, other: Slot) -> None:
        self.values |= other.values
        self.unseen += other.unseen
        self.bounds += other.bounds

    def text(self, kind: str, values: int, *, is_port: bool) -> str:
        """The slot filled with at most `values` of its values."""
        names = [f"'{name}'" if kind == _WORD else name for name in self.values]
        number = len(names) + self.unseen
        if number == 1 and kind != _WORD and names:
            return names[0]
        if self.bounds or (
            kind == "number" and not is_port and number > values and not self.unseen
        ):
            ordered = sorted((*self.bounds, *names), key=Decimal)
            return f"{{{ordered[0]} to {ordered[-1]}, {number} in all}}"
        names_shown = ", ".join(names[:values])
        return (
            f"{{{names_shown}}}"
            if number <= min(values, len(names))
            else f"{{{names_shown}, … {number} in all}}"
        )


class Kind(NamedTuple):
    """What texts have in common: `literals`, and slots of `kinds` between them."""

    literals: tuple[str, ...]
    kinds: tuple[str, ...]

    def then(self, other: Kind) -> Kind:
        """Both, one after the other."""
        seam = f"{self.literals[-1]} | {other.literals[0]}"
        return Kind((*self.literals[:-1], seam, *other.literals[1:]), (*self.kinds, *other.kinds))

    def __str__(self) -> str:
        """The text with the kinds of slots in place of values: `Connecting to IP: {address}`."""
        slots = [f"{{{kind}}}" for kind in self.kinds]
        return "".join(
            part for pair in zip(self.literals, [*slots, ""], strict=True) for part in pair
        )

    def is_port(self, i: int) -> bool:
        """Whether slot `i` contains ports, according to the words around it."""
        before, after = self.literals[i : i + 2]
        return (
            _PORT_BEFORE.search(before) is not None
            or _PORT_AFTER.match(after) is not None
            or (before == ":" and i > 0 and self.kinds[i - 1] == "address")
        )


_PORT_BEFORE = re.compile(r"\bports?(?: number)?:? *\Z", re.ASCII | re.IGNORECASE)
_PORT_AFTER = re.compile(r"/(?:TCP|UDP)\b", re.ASCII | re.IGNORECASE)


@dataclass
class Group:
    """Events of one severity and kind; `first` and `last` in minutes from the window's start.

    `hidden` counts further texts that the DAG mentions but does not show.
    """

    severity: str
    kind: Kind
    events: int
    first: int
    last: int
    slots: list[Slot]
    hidden: int = 0

    def add(self, other: Group) -> None:
        self.events += other.events
        self.first = min(self.first, other.first)
        self.last = max(self.last, other.last)
        self.hidden += other.hidden
        for slot, more in zip(self.slots, other.slots, strict=True):
            slot.add(more)

    def text(self, values: int) -> str:
        """The text of the kind with its slots filled."""
        filled = [
            slot.text(kind, values, is_port=self.kind.is_port(i))
            for i, (kind, slot) in enumerate(zip(self.kind.kinds, self.slots, strict=True))
        ]
        literals = [literal.replace("{", "{{").replace("}", "}}") for literal in self.kind.literals]
        text = "".join(part for pair in zip(literals, [*filled, ""], strict=True) for part in pair)
        return text + (f" {{and {self.hidden} more variations}}" if self.hidden else "")


@dataclass
class Evidence:
    """A DAG: the lines before its events, the events by severity and kind, the lines after them.

    `start` is the minute of the day at which the time window starts.
    """

    before: list[str]
    groups: list[Group]
    after: list[str]
    start: int

    def text(self, values: int) -> str:
        """The condensed form, with at most `values` values in a slot."""
        return "\n".join((*self.before, *self.bullets(values), *self.after))

    def below_header(self, values: int) -> str:
        """The condensed form without the lines before its events; all of it if it has no events."""
        if not self.groups:
            return self.text(values)
        return "\n".join((*self.bullets(values), *self.after))

    def bullets(self, values: int) -> list[str]:
        """One line per group: the gravest severity first, then by time, then by text."""
        rows = sorted(
            (gravity(group.severity), group.first, group.last, group.text(values), group.events)
            for group in self.groups
        )
        return [
            f"• {self._span(first, last)} - {events} event{'' if events == 1 else 's'} "
            f"[{severity}] {text}"
            for (_, severity), first, last, text, events in rows
        ]

    def _span(self, first: int, last: int) -> str:
        times = [
            f"{(self.start + minute) % _DAY // 60:02}:{(self.start + minute) % 60:02}"
            for minute in (first, last)
        ]
        return times[0] if first == last else "-".join(times)


@dataclass(frozen=True)
class Block:
    """Events of one severity and target, as a DAG lists them: with distinct texts.

    `first` and `last` are in minutes from the window's start, and `hidden` counts further texts.
    `target` is None where there is none, or it is not known.
    """

    severity: str
    target: str | None
    texts: Iterable[str]
    events: int
    first: int
    last: int
    hidden: int = 0

    def group(self) -> Group:
        """The block as one group: the kinds of its texts, joined."""
        texts = [_without_level(text, self.severity) for text in sorted(self.texts)]
        (kind, slots), *more = _kinds(self.target, texts)
        for other, further in more:
            kind, slots = kind.then(other), [*slots, *further]
        return Group(self.severity, kind, self.events, self.first, self.last, slots, self.hidden)


def merge(before: list[str], groups: Iterable[Group], after: list[str], start: int) -> Evidence:
    """The evidence of groups of events; groups of one severity and kind become one."""
    merged: dict[tuple[str, Kind], Group] = {}
    # Sorted, so that the order of the blocks, which is arbitrary, does not matter.
    for group in sorted(groups, key=_appearance):
        first = merged.setdefault((group.severity, group.kind), group)
        if first is not group:
            first.add(group)
    return Evidence(before, list(merged.values()), after, start)


def read(dag: str) -> Evidence:
    """The events of a DAG, in the lab's form or condensed, by severity and kind."""
    before: list[str] = []
    after: list[str] = []
    bullets: list[tuple[re.Match[str], list[re.Match[str]]]] = []  # each with its details
    start, is_open = 0, False
    for line in dag.split("\n"):
        if bullet := _BULLET.fullmatch(line) or _GROUP.fullmatch(line):
            bullets.append((bullet, []))
            is_open = bullet.re is _BULLET
        elif is_open and (detail := _DETAIL.fullmatch(line)):
            bullets[-1][1].append(detail)
        elif bullets:
            is_open = is_open and line != ""
            after.append(line)
        else:
            if timeline := _TIMELINE.fullmatch(line):
                start = _minutes(timeline[1])
            before.append(without_noise_in(line))
    return merge(before, (_group(*bullet, start) for bullet in bullets), after, start)


def _group(bullet: re.Match[str], details: list[re.Match[str]], start: int) -> Group:
    """The group of a bullet, in the lab's form or condensed."""
    times = bullet[1], bullet[2] or bullet[1]
    first, last = sorted((_minutes(time) - start) % _DAY for time in times)
    if bullet.re is _GROUP:
        _, _, events, severity, text = bullet.groups()
        hidden = _HIDDEN.search(text)
        kind, slots = _kind(text[: hidden.start()] if hidden else text, _IN_GROUP)
        more = int(hidden[1]) if hidden else 0
        return Group(severity, kind, int(events), first, last, slots, more)
    _, _, events, target, severity = bullet.groups()
    texts, more = [], 0
    for detail in details:
        if match := _MORE.fullmatch(detail.string):
            more += int(match[1])
        else:
            texts.append(detail[1])
    return Block(severity, target, texts, int(events or 1), first, last, more).group()


def _appearance(group: Group) -> tuple[object, ...]:
    values = [(tuple(slot.values), slot.unseen, slot.bounds) for slot in group.slots]
    return group.first, group.last, group.events, values, group.hidden


def _minutes(time: str) -> int:
    return int(time[:2]) * 60 + int(time[3:])


def without_noise(number: str) -> str:
    """A number rounded to two decimals, with at most one zero at its end."""
    digits = f"{Decimal(number):.2f}".rstrip("0")
    return f"{digits}0" if digits.endswith(".") else digits


def without_noise_in(line: str) -> str:
    """A line of the header, its threat level without noise."""
    return _LEVEL.sub(lambda level: without_noise(level[0]), line)


def gravity(severity: str) -> tuple[int, str]:
    """The sort key of severities: the gravest first, unknown ones last."""
    known = severity in SEVERITIES
    return SEVERITIES.index(severity) if known else len(SEVERITIES), severity


def _without_level(text: str, severity: str) -> str:
    """A text without its last words where they repeat the severity of its bullet."""
    level = f"hreat level: {severity.lower()}."  # from Slips 1.1.20 on with a capital letter
    return text.removesuffix(f" t{level}").removesuffix(f" T{level}").rstrip(" ")


def kind(text: str, severity: str) -> Kind:
    """The kind of an event's text."""
    return _kind(_without_level(text, severity), _IN_DETAIL)[0]


def _kinds(target: str | None, texts: list[str]) -> list[tuple[Kind, list[Slot]]]:
    """The kinds of a block's texts, in order, each with the values of all its texts.

    The texts usually name the target; if they do not, it is put in front of them.
    """
    pairs = [_kind(text, _IN_DETAIL) for text in texts]
    values = {value for _, slots in pairs for slot in slots for value in slot.values}
    if not texts:
        return [_kind(f"to {target}", _IN_DETAIL)]
    if target is not None and not _names(texts, values, target):
        pairs = [_kind(f"to {target}: {text}", _IN_DETAIL) for text in texts]
    kinds: dict[Kind, list[Slot]] = {}
    for kind, slots in pairs:
        for slot, other in zip(kinds.setdefault(kind, slots), slots, strict=True):
            if slot is not other:
                slot.add(other)
    return sorted(kinds.items(), key=lambda pair: pair[0])


def _names(texts: list[str], values: set[str], target: str) -> bool:
    """Whether texts with these values name the target."""
    values_of_target = _values(target)
    return values_of_target <= values and (
        bool(values_of_target) or any(target in text for text in texts)
    )


@lru_cache(maxsize=4096)
def _values(target: str) -> frozenset[str]:
    """The values in a target; many incidents have the same ones."""
    _, slots = _kind(target, _IN_DETAIL)
    return frozenset(value for slot in slots for value in slot.values)


def _kind(text: str, tokens: re.Pattern[str]) -> tuple[Kind, list[Slot]]:
    """A text as its kind and the values in its slots."""
    literals, kinds, slots, end, literal = [], [], [], 0, ""
    for token in tokens.finditer(text):
        literal += text[end : token.start()]
        end = token.end()
        name = token.lastgroup
        if name is None:  # a brace
            literal += token[0][0]
            continue
        if name == "list":
            kind, slot = _slot(re.findall(_QUOTED, token[0]))
        elif name == "braced":
            kind, slot = _braced(token[0][1:-1])
        else:
            kind, slot = name, Slot({token[0]: None})
        literals.append(literal)
        kinds.append(kind)
        slots.append(slot)
        literal = ""
    return Kind((*literals, literal + text[end:]), tuple(kinds)), slots


def _braced(text: str) -> tuple[str, Slot]:
    if bounds := _RANGE.fullmatch(text):
        return "number", Slot(unseen=int(bounds[3]), bounds=bounds.groups()[:2])
    total = _IN_ALL.search(text)
    items = (text[: total.start()] if total else text).split(", ")
    kind, slot = _slot(items)
    if items[0].startswith("'"):  # of a list of several kinds, whichever this one shows
        kind = _WORD
    if total:
        slot.unseen = max(0, int(total[1]) - len(slot.values))
    return kind, slot


def _slot(items: list[str]) -> tuple[str, Slot]:
    """The kind of the items in a list or in braces, and their values."""
    bare = [item.strip("'") for item in items]
    names = (_NAME.fullmatch(item) for item in bare)
    kinds = {(name and name.lastgroup) or _WORD for name in names}
    return kinds.pop() if len(kinds) == 1 else _WORD, Slot(dict.fromkeys(bare))


@lru_cache(maxsize=64)
def condense(dag: str, values: int) -> str:
    """The condensed form of a DAG, with at most `values` values in a slot.

    The last ones are kept: each task and answer of an incident asks for the same, and what is too
    long is condensed with fewer and fewer values.
    """
    return _read_lately(dag).text(values)


@lru_cache(maxsize=4)
def _read_lately(dag: str) -> Evidence:
    return read(dag)


def fit(dag: str, values: int, limit: int, count: Callable[[str], int]) -> str | None:
    """The condensed form with as many values, up to `values`, as fit within `limit`.

    `count` returns the size of a text. None if even one value is too much.
    """
    evidence = read(dag)
    for number in range(values, 0, -1):
        text = evidence.text(number)
        if count(text) <= limit:
            return text
    return None
