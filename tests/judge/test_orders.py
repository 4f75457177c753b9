"""Orders: what a round shows to a judge, whatever the seed, the incident and the candidates."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immune_data.judge import orders

names = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=9, unique=True)
incidents = st.text(min_size=1, max_size=40)
seeds = st.integers(0, 2**32)


@given(names, incidents, seeds, st.integers(0, 5))
def test_a_balanced_round_shows_everything_equally_often(
    candidates: list[str], incident: str, seed: int, number: int
) -> None:
    how = {"mode": "all", "orders": "balanced", "seed": seed, "number": number}
    found = orders.of_round(candidates, incident, **how)
    many = len(candidates)
    assert len(found) == (1 if many == 1 else many if many % 2 == 0 else 2 * many)
    assert all(sorted(order) == sorted(candidates) for order in found)
    stood = Counter((name, place) for order in found for place, name in enumerate(order))
    assert set(stood) == {(name, place) for name in candidates for place in range(many)}
    assert len(set(stood.values())) == 1
    before = Counter(pair for order in found for pair in combinations(order, 2))
    follow = Counter(pair for order in found for pair in pairwise(order))
    for pairs in (before, follow):
        assert set(pairs) == set(permutations(candidates, 2))
        assert len(set(pairs.values())) <= 1


@given(names, incidents, seeds)
def test_pairs_are_shown_in_both_orders_and_single_ones_once(
    candidates: list[str], incident: str, seed: int
) -> None:
    how = {"orders": "balanced", "seed": seed, "number": 0}
    pairs = orders.of_round(candidates, incident, mode="pairs", **how)
    assert sorted(pairs) == sorted(permutations(candidates, 2))
    single = orders.of_round(candidates, incident, mode="single", **how)
    assert sorted(single) == sorted((name,) for name in candidates)


@given(names, incidents, seeds)
def test_neither_the_order_of_models_nor_anything_else_decides(
    candidates: list[str], incident: str, seed: int
) -> None:
    for mode, kind in (("all", "balanced"), ("all", "seeded"), ("pairs", ""), ("single", "")):
        how = {"mode": mode, "orders": kind, "seed": seed, "number": 1}
        found = orders.of_round(candidates, incident, **how)
        assert orders.of_round(candidates[::-1], incident, **how) == found
    keys = orders.of_keys(candidates, incident, seed=seed)
    assert orders.of_keys(candidates[::-1], incident, seed=seed) == keys


@pytest.mark.parametrize("what", ["keys", "seeded"])
def test_no_model_is_favoured(what: str) -> None:
    """Of 2,400 incidents each order of three comes 400 times, give or take."""
    found: Counter[tuple[str, ...]] = Counter()
    for number in range(2400):
        if what == "keys":
            found[tuple(orders.of_keys("abc", f"i{number}", seed=7))] += 1
        else:
            how = {"mode": "all", "orders": "seeded", "seed": 7, "number": 0}
            found[orders.of_round("abc", f"i{number}", **how)[0]] += 1
    assert len(found) == 6
    assert max(abs(times - 400) for times in found.values()) < 80  # 4.4 standard deviations


def test_rounds_seeds_and_ties_are_drawn_apart() -> None:
    def drawn(seed: int, number: int) -> list[tuple[str, ...]]:
        how = {"mode": "all", "orders": "seeded", "seed": seed, "number": number}
        return [orders.of_round("abcd", f"i{i}", **how)[0] for i in range(200)]

    keys = [tuple(orders.of_keys("abcd", f"i{i}", seed=1)) for i in range(200)]
    different = [drawn(1, 0), drawn(1, 1), drawn(2, 0), keys]
    for one, other in combinations(different, 2):
        alike = sum(a == b for a, b in zip(one, other, strict=True))
        assert alike < 30  # 8 by chance
