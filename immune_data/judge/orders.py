"""In which order a judge is shown answers: candidates in, the orders of one round of calls out.

A round is the least that a verdict needs. In the mode `all` that is one call with every answer in a
seeded order, or a Williams square of calls, in which every answer is in every place equally often
and follows every other one equally often; in `pairs` every two answers in both orders; in `single`
every answer by itself. The order depends on the seed, the incident and the round, and not on the
merit or model of an answer: they are sorted by digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import combinations

MODES = ("all", "pairs", "single")
ORDERS = ("balanced", "seeded")

Order = tuple[str, ...]  # candidates, the one in the first place first


def of_round(
    candidates: Sequence[str], incident: str, *, mode: str, orders: str, seed: int, number: int
) -> list[Order]:
    """The orders of the calls of the round with this number."""
    drawn = sorted(candidates, key=lambda name: _digest(seed, incident, str(number), name))
    if mode == "single":
        return [(name,) for name in drawn]
    if mode == "pairs":
        return [order for a, b in combinations(drawn, 2) for order in ((a, b), (b, a))]
    if orders == "seeded":
        return [tuple(drawn)]
    return [tuple(drawn[place] for place in row) for row in williams(len(drawn))]


def of_keys(candidates: Sequence[str], incident: str, *, seed: int) -> list[str]:
    """The order of a verdict's keys, by which rule 3 decides between equals."""
    return sorted(candidates, key=lambda name: _digest(seed, incident, name))


def williams(number: int) -> list[list[int]]:
    """A Williams square: as many rows as there are things, twice as many if that is odd."""
    first = [0]
    for step in range(1, number):
        first.append((first[-1] + (step if step % 2 else -step)) % number)
    rows = [[(place + row) % number for place in first] for row in range(number)]
    return rows if number % 2 == 0 or number == 1 else rows + [row[::-1] for row in rows]


def _digest(seed: int, *parts: str) -> str:
    return hashlib.sha256("\n".join((str(seed), *parts)).encode()).hexdigest()
