"""What is told of judges: planted noise and preferences are found, and none that is not there."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immune_data.contract import agreement
from immune_data.contract.agreement import Call, Verdict

MODELS = ("a", "b", "c", "d")
ROTATED = tuple(MODELS[shift:] + MODELS[:shift] for shift in range(4))

Judge = Callable[[float, int, random.Random], float]  # quality, place from 0 → score


def asked(
    judge: Judge,
    incidents: int,
    orders: Callable[[random.Random], list[tuple[str, ...]]],
    seed: int = 1,
) -> list[Verdict]:
    """What a judge says of answers of four models, the later the better, in the orders drawn."""
    chance = random.Random(seed)
    actual = []
    for number in range(incidents):
        quality = {model: chance.uniform(3, 6) + 0.3 * i for i, model in enumerate(MODELS)}
        calls = [
            Call(order, {name: judge(quality[name], i, chance) for i, name in enumerate(order)})
            for order in orders(chance)
        ]
        means = {name: sum(call.scores[name] for call in calls) / len(calls) for name in MODELS}
        actual.append(Verdict(f"incident {number}", means, calls))
    return actual


def balanced(_: random.Random) -> list[tuple[str, ...]]:
    return list(ROTATED)


def seeded(chance: random.Random) -> list[tuple[str, ...]]:
    return [tuple(chance.sample(MODELS, 4))]


def noisy(quality: float, _: int, chance: random.Random) -> float:
    return round(quality + chance.gauss(0, 1))


def of_first(quality: float, place: int, chance: random.Random) -> float:
    return round(quality + chance.gauss(0, 1)) + (place == 0)


def test_noise_of_one_is_found_within_a_tenth_and_its_interval() -> None:
    result = agreement.noise(asked(noisy, 100, balanced))
    assert result is not None
    assert result.freedom == 100 * (16 - 4) - 3 >= 1000
    assert result.deviation.value == pytest.approx(1, rel=0.1)
    assert result.deviation.low < 1 < result.deviation.high
    assert result.deviation.high - result.deviation.low < 0.15


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    noise = preference = 0
    for seed in range(200):
        judged = asked(of_first, 25, balanced, seed)
        deviation = agreement.noise(judged).deviation
        noise += deviation.low <= 1 <= deviation.high
        first = agreement.place_preference(judged)[0]
        preference += first.low <= 1 <= first.high
    assert noise >= 180
    assert preference >= 182


@pytest.mark.parametrize(("orders", "wide"), [(balanced, 0.35), (seeded, 1.0)])
def test_a_preference_for_the_first_place_is_found(orders: Callable, wide: float) -> None:
    first, *others = agreement.place_preference(asked(of_first, 100, orders))
    assert 0 < first.low < 1 < first.high < first.low + wide
    # To each of the others, the first is one of three.
    assert [place.value for place in others] == pytest.approx([-1 / 3] * 3, abs=wide / 2)


@pytest.mark.parametrize("orders", [balanced, seeded])
def test_no_preference_is_found_where_there_is_none(orders: Callable) -> None:
    assert all(
        place.low < 0 < place.high
        for place in agreement.place_preference(asked(noisy, 100, orders, seed=5))
    )


def test_an_answer_that_always_has_one_place_tells_nothing_of_places() -> None:
    fixed = asked(of_first, 50, lambda _: [MODELS])
    assert agreement.place_preference(fixed) == [None] * 4
    assert agreement.noise(fixed) is None
    again = asked(noisy, 50, lambda _: [MODELS] * 3)
    assert agreement.place_preference(again) == [None] * 4
    assert agreement.noise(again).deviation.value == pytest.approx(1, rel=0.15)


def test_a_judge_that_knows_what_it_thinks_has_no_noise_and_exact_preferences() -> None:
    judged = asked(lambda quality, place, _: quality + 2 * (place == 3), 10, balanced)
    assert agreement.noise(judged).deviation.value == 0
    last = agreement.place_preference(judged)[3]
    assert (last.low, last.value, last.high) == pytest.approx((2, 2, 2))
    assert agreement.place_means(judged) == pytest.approx([-0.5, -0.5, -0.5, 1.5])


def test_what_rounding_adds_is_taken_out_of_whole_scores_alone() -> None:
    def coarse(quality: float, _: int, chance: random.Random) -> float:
        return sum(round(quality + chance.gauss(0, 0.5)) for _ in range(3))

    judged = asked(coarse, 400, balanced)
    three = agreement.noise(judged, agreement.CRITERIA["cause"])
    assert three.deviation.low < 0.75**0.5 < three.deviation.high
    assert agreement.noise(judged).deviation.low > 0.75**0.5
    halves = [
        Verdict(one.incident, one.scores, [Call(c.order, {m: s / 2 for m, s in c.scores.items()})
                                           for c in one.calls])
        for one in judged
    ]  # fmt: skip
    free = agreement.noise(halves, 3).deviation.value
    assert free == pytest.approx((0.75 + 3 / 12) ** 0.5 / 2, rel=0.05)


def test_pairs_tell_of_two_places_and_single_answers_of_none() -> None:
    chance = random.Random(3)

    def call(*order: str) -> Call:
        return Call(order, {m: of_first(4, place, chance) for place, m in enumerate(order)})

    pairs = [
        Verdict(f"{i}", {}, [call(*order) for order in itertools.permutations(MODELS, 2)])
        for i in range(60)
    ]
    first, second = agreement.place_preference(pairs)
    assert first.low < 1 < first.high
    assert second.value == pytest.approx(-first.value)
    assert agreement.noise(pairs).deviation.value == pytest.approx(1, rel=0.1)
    single = [Verdict(f"{i}", {}, [call(name) for name in MODELS * 2]) for i in range(60)]
    assert agreement.place_preference(single) == [None]
    assert agreement.noise(single).deviation.value == pytest.approx(1, rel=0.15)


def test_spread_is_what_places_leave() -> None:
    calls = [Call(("a", "b"), {"a": 7, "b": 4}), Call(("b", "a"), {"b": 6, "a": 5})]
    assert agreement.spread(calls, [1.0, -1.0]) == {"a": 0, "b": pytest.approx(0)}
    assert agreement.spread(calls, [0.0, 0.0]) == {
        "a": pytest.approx(2**0.5),
        "b": pytest.approx(2**0.5),
    }
    assert agreement.spread(calls[:1], [1.0, -1.0]) == {"a": None, "b": None}


def test_preference_for_length_is_of_answers_to_one_incident() -> None:
    chance = random.Random(2)
    judged, lengths = [], {}
    for number in range(80):
        level = chance.uniform(0, 3)  # of the incident: long ones are not better for that
        scores = {}
        for worth, model in enumerate(MODELS):
            doublings = level + worth + chance.uniform(0, 4)
            lengths[str(number), model] = round(100 * 2**doublings)
            scores[model] = 0.5 * doublings - level + 2 * worth + chance.gauss(0, 0.2)
        judged.append(Verdict(str(number), scores))
    result = agreement.length_preference(judged, lengths)
    assert 0.4 < result.low < 0.5 < result.high < 0.6
    assert agreement.length_preference(judged, dict.fromkeys(lengths, 70)) is None
    assert agreement.length_preference(judged, {}) is None


def test_two_runs_of_known_agreement() -> None:
    first = [
        Verdict("x", {"a": 7, "b": 7, "c": 2}),  # equals: the first key wins
        Verdict("y", {"a": 4, "b": 6}),
        Verdict("only here", {"a": 1}),
    ]
    second = [Verdict("y", {"b": 6, "a": 8}), Verdict("x", {"b": 7, "a": 7, "d": 9})]
    result = agreement.agreement(first, second)
    assert (result.incidents, result.scores, result.changed, result.kept) == (2, 4, 1, 0)
    assert result.shift == 1
    assert result.deviation == pytest.approx((12 / 3 / 2) ** 0.5)
    assert agreement.agreement(first[:1], second[:1]) is None


def test_rows_of_either_format_and_of_no_calls() -> None:
    total = {"evidence_grounding": 3, "total": 12}
    result = agreement.verdicts(
        [
            {
                "incident_id": "x",
                "cause_scores": {"a": {**total, "total": 11.5}, "b": None},
                "risk_scores": {"a": {"total": 9}},
                "calls": [
                    {"order": ["a"], "cause_scores": {"a": total}, "risk_scores": {"a": total}},
                    {"order": ["a"], "cause_scores": {"a": {"total": 11}}, "risk_scores": {}},
                ],
            },
            {"incident_id": "y", "scores": {"b": 4, "a": 4}},
        ]
    )
    assert result["cause"] == [
        Verdict("x", {"a": 11.5}, (Call(("a",), {"a": 12.0}), Call(("a",), {"a": 11.0})))
    ]
    assert result["risk"][0].calls[1] == Call(("a",), {})
    assert result["summary"][0].best == "b"


SCORES = st.dictionaries(
    st.sampled_from("vwxyz"),
    st.dictionaries(st.sampled_from(MODELS), st.integers(0, 10), min_size=1),
    min_size=1,
)


def run(scores: dict[str, dict[str, int]]) -> list[Verdict]:
    return [Verdict(incident, of) for incident, of in scores.items()]


@given(SCORES, SCORES)
def test_agreement_is_whole_with_oneself_and_the_same_either_way(
    first: dict[str, dict[str, int]], second: dict[str, dict[str, int]]
) -> None:
    same = agreement.agreement(run(first), run(first))
    assert (same.changed, same.kept, same.shift) == (0, same.incidents, 0)
    assert same.incidents == len(first)
    there, back = (
        agreement.agreement(run(first), run(second)),
        agreement.agreement(run(second), run(first)),
    )
    assert (there is None) == (back is None)
    if there is not None:
        assert (there.changed, there.scores) == (back.changed, back.scores)
        assert there.shift == pytest.approx(-back.shift)


@given(
    st.lists(
        st.lists(
            st.tuples(st.permutations(MODELS), st.lists(st.integers(0, 9), min_size=4, max_size=4)),
            max_size=5,
        ),
        max_size=6,
    ),
    st.integers(-3, 3),
    st.permutations(MODELS),
)
def test_a_generous_judge_and_other_names_change_neither_noise_nor_preference(
    incidents: list[list[tuple[list[str], list[int]]]], shift: int, renamed: list[str]
) -> None:
    names = dict(zip(MODELS, renamed, strict=True))

    def judged(shift: int, names: dict[str, str]) -> list[Verdict]:
        return [
            Verdict(
                str(number),
                {},
                [
                    Call(
                        tuple(names[m] for m in order),
                        {names[m]: s + shift for m, s in zip(order, scores, strict=True)},
                    )
                    for order, scores in calls
                ],
            )
            for number, calls in enumerate(incidents)
        ]

    plain, other = judged(0, {m: m for m in MODELS}), judged(shift, names)
    assert figures(plain) == pytest.approx(figures(other), abs=1e-6, rel=1e-6)


def figures(judged: list[Verdict]) -> list[float]:
    """All that is told, what is not told as -1."""
    noise = agreement.noise(judged)
    estimates = [noise and noise.deviation, *agreement.place_preference(judged)]
    return [
        value
        for one in estimates
        for value in ((one.value, one.low, one.high) if one else (-1.0, -1.0, -1.0))
    ]
