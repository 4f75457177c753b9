"""A 95% interval covers what is true 95% of the time, at the size of our evaluations.

`make campaigns` does this for 2,000 seeds; the tests do a short version. Judges give whole numbers
with ties, incidents differ in how hard they are, and half of them share their group with another.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from immune_train.evaluate import scores
from immune_train.evaluate.incidents import Facts
from immune_train.evaluate.scores import JudgedTask

INCIDENTS = 60
CANDIDATES = ("reference", "tuned", "base")
QUALITY = np.array([7.2, 6.6, 4.5])
LOW, HIGH = 0.935, 0.965  # of a campaign


def draw(rng: np.random.Generator, groups: int) -> tuple[np.ndarray, list[str]]:
    """The scores of incidents in groups of one and of two, in turn, and the groups' names."""
    size = np.where(np.arange(groups) % 3 == 0, 2, 1)
    of = np.repeat(np.arange(groups), size)
    width = len(CANDIDATES)
    hard = rng.normal(0, 1.0, groups)[of, None]  # shared by all candidates
    liked = rng.normal(0, 0.8, (groups, width))[of]  # a candidate's way with such incidents
    noise = rng.normal(0, 1.2, (len(of), width))
    table = np.clip(np.round(QUALITY + hard + liked + noise), 0, 10)
    return table, [str(group) for group in of]


@cache
def truth() -> tuple[np.ndarray, np.ndarray]:
    """The mean scores and win rates of all incidents that there are."""
    table, _ = draw(np.random.default_rng(0), 600_000)
    return table.mean(axis=0), scores.win_shares(table).mean(axis=0)


def covered(seed: int) -> dict[str, bool]:
    """Whether each interval of one evaluation covers what is true."""
    table, groups = draw(np.random.default_rng([seed, 1]), 45)
    assert len(table) == INCIDENTS
    names = tuple(f"e{i}" for i in range(INCIDENTS))
    facts = {name: Facts(group, None, None) for name, group in zip(names, groups, strict=True)}
    nobody = np.zeros(table.shape, dtype=bool)
    judged = JudgedTask("summary", 10.0, CANDIDATES, names, table, nobody, np.ones(table.shape))
    [cell] = scores.cells(judged, facts)
    mean, rate = truth()
    place = {name: i for i, name in enumerate(CANDIDATES)}
    found = {}
    for one in cell.differences:
        i, j = place[one.first], place[one.second]
        for what, of, true in (
            ("score", one.score, mean[i] - mean[j]),
            ("win rate", one.win_rate, rate[i] - rate[j]),
        ):
            found[f"{what}, {one.first} and {one.second}"] = bool(of.low <= true <= of.high)
    return found


def test_intervals_cover_the_true_difference(request: pytest.FixtureRequest) -> None:
    seeds = request.config.getoption("--seeds")
    first = 10_000 * request.config.getoption("--seed")
    found = [covered(seed) for seed in range(first, first + seeds)]
    shares = {what: sum(one[what] for one in found) / seeds for what in found[0]}
    for what, share in shares.items():
        print(f"{what}: {share:.2%} of {seeds:,}")
    whole = sum(shares.values()) / len(shares)
    # What chance alone does to a short campaign is allowed for.
    chance = 0 if seeds >= 2000 else 3 * math.sqrt(0.05 * 0.95 / seeds)
    assert LOW - chance <= whole <= HIGH + chance
    for what, share in shares.items():
        assert LOW - chance <= share <= HIGH + chance, what
