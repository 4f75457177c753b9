"""What is compared: the ways to have an incident's three tasks answered, and which two are a pair.

Each comparison is of what `generate` does by default and the same but for one thing, so that a
round that has every side once has every pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

PAIRS = 20  # fewer are a first look


@dataclass(frozen=True)
class Side:
    """A way to have an incident answered: which form of its evidence is shown, and with what."""

    name: str
    evidence: Literal["condensed", "lines"] = "condensed"
    grammar: bool = True
    grounded: bool = True
    spans: bool = True
    drafts: bool = False
    side_by_side: bool = True


@dataclass(frozen=True)
class Comparison:
    """Two sides, and what the one has over the other."""

    name: str
    title: str
    without: Side
    having: Side

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.without, self.having


DEFAULT = Side("default")
COMPARISONS = (
    Comparison("evidence", "evidence: condensed against lines", Side("lines", "lines"), DEFAULT),
    Comparison(
        "side-by-side", "side by side: on against off", Side("in turn", side_by_side=False), DEFAULT
    ),
    Comparison(
        "grounded", "grounded: on against off", Side("not grounded", grounded=False), DEFAULT
    ),
    Comparison("spans", "forced spans: on against off", Side("no spans", spans=False), DEFAULT),
    Comparison("drafts", "drafts: on against off", DEFAULT, Side("drafts", drafts=True)),
    Comparison(
        "everything",
        "everything: on against lines alone",
        Side("before", "lines", grammar=False, grounded=False, spans=False),
        DEFAULT,
    ),
)
NAMES = tuple(comparison.name for comparison in COMPARISONS)


def named(names: Sequence[str]) -> tuple[Comparison, ...]:
    """The comparisons of these names, each once, in our order."""
    return tuple(one for one in COMPARISONS if one.name in names)


def needs_lines(comparison: Comparison) -> bool:
    return any(side.evidence == "lines" for side in comparison.sides)


def sides_of(comparisons: Sequence[Comparison]) -> tuple[Side, ...]:
    """Every side of some comparisons, each once."""
    return tuple(dict.fromkeys(side for one in comparisons for side in one.sides))


def in_turn(sides: Sequence[Side], number: int) -> list[Side]:
    """The sides in the order of a round: another one begins each time."""
    first = number % len(sides)
    return [*sides[first:], *sides[:first]]
