"""The numbers behind an evaluation, against laws, known values and simpler ways to them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from immune_data.common.errors import CheckFailed
from immune_train.evaluate import bradley_terry, measures, scores
from immune_train.evaluate.incidents import Facts, Groups
from immune_train.evaluate.resampling import Resamples
from immune_train.evaluate.scores import JudgedTask

TABLES = st.integers(2, 5).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(0, 4), min_size=width, max_size=width), min_size=1, max_size=12
    )
)


@given(TABLES)
@examples(100)
def test_every_incident_has_one_win_and_all_ranks(rows: list[list[int]]) -> None:
    table = np.array(rows, dtype=float)
    number = table.shape[1]
    shares, ranks = scores.win_shares(table), scores.ranks(table)
    assert np.allclose(shares.sum(axis=1), 1)
    assert np.allclose(ranks.sum(axis=1), number * (number + 1) / 2)
    for row, share, rank in zip(table, shares, ranks, strict=True):
        assert ((share > 0) == (row == row.max())).all()
        assert (rank[row == row.max()] == rank.min()).all()


def test_win_rates_that_do_not_sum_to_one_are_refused() -> None:
    scores.check_win_rates([0.5, 0.25, 0.25], "a table")
    with pytest.raises(CheckFailed, match=r"a table sum to 97\.9%"):
        scores.check_win_rates([0.426, 0.298, 0.085, 0.170, 0.0], "a table", 0.0025)


@given(st.lists(st.floats(0, 10), min_size=3, max_size=12))
@examples(30)
def test_members_that_are_alike_say_no_more_than_one(values: list[float]) -> None:
    """What a group repeats does not narrow the interval."""
    names = [str(i) for i in range(len(values))]
    one = Resamples(names, draws=200)
    thrice = Resamples(names * 3, draws=200)
    alone = one.estimate(one.means(np.array(values)))
    repeated = thrice.estimate(thrice.means(np.array(values * 3)))
    for name in ("value", "low", "high"):
        assert getattr(alone, name) == pytest.approx(getattr(repeated, name))


def test_an_interval_is_as_wide_as_students() -> None:
    rng = np.random.default_rng(3)
    from scipy.stats import t

    for number in (12, 60):
        values = rng.normal(5, 2, number)
        drawn = Resamples([str(i) for i in range(number)])
        of = drawn.estimate(drawn.means(values))
        half = t.ppf(0.975, number - 1) * values.std(ddof=1) / math.sqrt(number)
        assert (of.high - of.low) / 2 == pytest.approx(half, rel=0.08)
        assert of.value == pytest.approx(values.mean())


def test_the_smallest_detectable_difference_is_the_textbooks() -> None:
    values = np.random.default_rng(3).normal(0, 2, 100)
    drawn = Resamples([str(i) for i in range(100)])
    expected = 2.8016 * values.std(ddof=1) / 10
    assert drawn.detectable(drawn.means(values)) == pytest.approx(expected, rel=0.05)


def test_none_of_sixty_is_not_none_at_all() -> None:
    table = np.tile([1.0, 0.0], (60, 1))
    [cell] = scores.cells(judged(table, table), facts(60))
    first, second = (one.win_rate for one in cell.standings)
    assert first is not None
    assert second is not None
    assert (second.low, round(second.high, 3)) == (0, 0.06)
    assert (round(first.low, 3), first.high) == (0.94, 1)
    # Nobody knows what would be found where no incident differs from another.
    assert cell.detectable_score is cell.detectable_win_rate is None


@given(st.integers(0, 40), st.integers(0, 40))
@examples(50)
def test_two_candidates_have_the_strengths_of_their_odds(won: int, lost: int) -> None:
    of = bradley_terry.strengths(np.array([[0, won], [lost, 0]], dtype=float))
    assert of[0] - of[1] == pytest.approx(math.log((won + 0.5) / (lost + 0.5)), abs=1e-5)
    assert of.sum() == pytest.approx(0, abs=1e-9)


def test_strengths_are_those_that_made_the_wins() -> None:
    true = np.array([1.2, 0.3, -0.5, -1.0])
    odds = np.exp(true)
    expected = 1e5 * odds[:, None] / (odds[:, None] + odds[None, :])
    np.fill_diagonal(expected, 0)
    assert bradley_terry.strengths(expected) == pytest.approx(true, abs=1e-3)
    order = [2, 0, 3, 1]
    turned = expected[np.ix_(order, order)]
    assert bradley_terry.strengths(turned) == pytest.approx(true[order], abs=1e-3)


def test_a_candidate_without_a_win_has_a_strength() -> None:
    wins = bradley_terry.wins(np.array([[3.0, 2.0, 1.0]] * 30)).sum(axis=0)
    assert np.isfinite(bradley_terry.strengths(wins)).all()


def test_mcnemar_is_exact() -> None:
    assert measures.mcnemar(0, 6) == pytest.approx(2 * 0.5**6)
    assert measures.mcnemar(6, 0) == measures.mcnemar(0, 6)
    assert measures.mcnemar(5, 5) == measures.mcnemar(0, 0) == 1


def facts(number: int, group: int = 1) -> dict[str, Facts]:
    return {f"e{i}": Facts(str(i // group), None, None) for i in range(number)}


def judged(
    table: np.ndarray, doublings: np.ndarray, failed: np.ndarray | None = None
) -> JudgedTask:
    names = tuple("abcdefgh"[: table.shape[1]])
    incidents = tuple(f"e{i}" for i in range(len(table)))
    lost = np.zeros(table.shape, dtype=bool) if failed is None else failed
    return JudgedTask("summary", 10.0, names, incidents, table, lost, doublings)


def test_what_length_alone_gives_is_taken_out() -> None:
    """Two that differ in nothing but length are equal at equal length."""
    rng = np.random.default_rng(5)
    doublings = np.stack([rng.normal(6, 0.5, 60), rng.normal(7, 0.5, 60)], axis=1)
    [cell] = scores.cells(judged(1.5 * doublings - 6, doublings), facts(60))
    assert cell.length_slope is not None
    assert cell.length_slope.value == pytest.approx(1.5)
    short, long = (one.adjusted for one in cell.standings)
    assert short is not None
    assert long is not None
    assert short.value == pytest.approx(long.value)
    assert cell.standings[1].score.value - cell.standings[0].score.value > 1  # type: ignore[union-attr]


def test_a_failed_answer_has_no_length() -> None:
    rng = np.random.default_rng(5)
    doublings = rng.normal(6, 0.5, (60, 2))
    table = 1.5 * doublings - 6
    failed = np.zeros((60, 2), dtype=bool)
    failed[::6, 1] = True
    table[failed] = doublings[failed] = 0
    [cell] = scores.cells(judged(table, doublings, failed), facts(60))
    assert cell.length_slope is not None
    assert cell.length_slope.value == pytest.approx(1.5)
    assert cell.standings[1].failed == 10


def test_a_failed_answer_is_behind_one_that_got_nothing() -> None:
    table, failed = np.zeros((60, 2)), np.zeros((60, 2), dtype=bool)
    failed[:, 1] = True
    [cell] = scores.cells(judged(table, table, failed), facts(60))
    assert [one.wins for one in cell.standings] == [60, 0]
    assert cell.standings[1].rank is not None
    assert cell.standings[1].rank.value == 2


def test_few_groups_are_few_incidents() -> None:
    table = np.random.default_rng(1).normal(5, 1, (60, 2))
    [cell] = scores.cells(judged(table, table), facts(60, group=10))
    assert cell.groups == 6
    assert cell.differences == ()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20))
@examples(60)
def test_groups_are_the_components_whatever_the_order(
    pairs: list[tuple[int, int]],
) -> None:
    names = [f"n{i}" for i in range(10)]
    made = []
    for turn in range(2):
        groups = Groups()
        for first, second in reversed(pairs) if turn else pairs:
            groups.join(f"incident n{first}", f"incident n{second}")
        made.append(groups.of(names))
    assert made[0] == made[1]
    reached = {name: {name} for name in names}
    for _ in names:
        for first, second in pairs:
            both = reached[f"n{first}"] | reached[f"n{second}"]
            for name in both:
                reached[name] = reached[name] | both
    for one in names:
        for other in names:
            assert (made[0][one] == made[0][other]) == (other in reached[one])
