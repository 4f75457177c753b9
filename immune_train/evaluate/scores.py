"""Statistics of a judge's scores: scores of candidates for the same incidents in, cells out.

A cell is a task and a part of its incidents: all, a category, a tier of event count, or both. In a
cell with fewer than 20 incidents or 10 groups only the wins are counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from immune_data.common.errors import CheckFailed
from immune_train.evaluate import bradley_terry
from immune_train.evaluate.incidents import Facts, parts
from immune_train.evaluate.resampling import Estimate, Floats, Resamples

LEAST_INCIDENTS, LEAST_GROUPS = 20, 10
_ROUNDING = 1e-9


@dataclass(frozen=True)
class JudgedTask:
    """A task's scores, a row for each incident and a column for each candidate.

    `failed` marks failed answers; `doublings` is the length of each answer, as the logarithm of its
    tokens to the base 2.
    """

    task: str
    most: float  # the upper end of the judge's scale
    candidates: tuple[str, ...]
    incidents: tuple[str, ...]
    scores: Floats
    failed: np.ndarray
    doublings: Floats


@dataclass(frozen=True)
class Standing:
    """A candidate in a cell. In a small cell only `wins` and `failed` are set.

    `adjusted` is the mean score at the mean length of all answers.
    """

    candidate: str
    wins: float
    failed: int
    score: Estimate | None = None
    adjusted: Estimate | None = None
    rank: Estimate | None = None
    win_rate: Estimate | None = None
    strength: Estimate | None = None


@dataclass(frozen=True)
class Difference:
    """The difference between two candidates on the same incidents, the first minus the second."""

    first: str
    second: str
    score: Estimate
    win_rate: Estimate


@dataclass(frozen=True)
class Cell:
    """A part of a task's incidents.

    `length_slope` is the effect of doubling an answer's length on its score. The smallest
    detectable differences are those of the pair of candidates that varies most.
    """

    task: str
    part: str
    incidents: int
    groups: int
    standings: tuple[Standing, ...]
    differences: tuple[Difference, ...] = ()
    length_slope: Estimate | None = None
    detectable_score: float | None = None
    detectable_win_rate: float | None = None


def cells(judged: JudgedTask, facts: dict[str, Facts]) -> Iterator[Cell]:
    """The cells of a task that contain an incident."""
    for part, members in parts(judged.incidents, facts):
        yield _cell(judged, part, members, [facts[judged.incidents[i]].group for i in members])


def _cell(judged: JudgedTask, part: str, members: Sequence[int], groups: Sequence[str]) -> Cell:
    scores, failed = judged.scores[members], judged.failed[members]
    # A failed answer ranks behind all others, even those with a score of 0.
    ranked_scores = np.where(failed, -1.0, scores)
    shares = win_shares(ranked_scores)
    number = len(set(groups))
    counts = {
        name: (float(shares[:, i].sum()), int(failed[:, i].sum()))
        for i, name in enumerate(judged.candidates)
    }
    if len(members) < LEAST_INCIDENTS or number < LEAST_GROUPS:
        standings = (Standing(name, *values) for name, values in counts.items())
        return Cell(judged.task, part, len(members), number, tuple(standings))
    resamples = Resamples(groups)
    score, rate = resamples.means(scores), resamples.means(shares)
    check_win_rates([float(value) for value in rate[0]], f"task {judged.task}, {part}")
    rank = resamples.means(ranks(ranked_scores))
    strength = bradley_terry.strengths(resamples.totals(bradley_terry.wins(ranked_scores)))
    slope, adjusted = _without_length(resamples, scores, failed, judged.doublings[members])
    standings = (
        Standing(
            name,
            *counts[name],
            score=resamples.estimate(score[:, i]),
            adjusted=resamples.estimate(adjusted[:, i]),
            rank=resamples.estimate(rank[:, i]),
            win_rate=resamples.share(rate[:, i]),
            strength=resamples.estimate(strength[:, i]),
        )
        for i, name in enumerate(judged.candidates)
    )
    pairs = list(itertools.combinations(range(len(judged.candidates)), 2))
    differences = (
        Difference(
            judged.candidates[i],
            judged.candidates[j],
            *(resamples.estimate(values[:, i] - values[:, j]) for values in (score, rate)),
        )
        for i, j in pairs
    )
    by_pair = (
        [resamples.detectable(values[:, i] - values[:, j]) for i, j in pairs]
        for values in (score, rate)
    )
    detectable = (
        max((value for value in values if value is not None), default=None) for values in by_pair
    )
    return Cell(
        judged.task,
        part,
        len(members),
        number,
        tuple(standings),
        tuple(differences),
        resamples.estimate(slope),
        *detectable,
    )


def win_shares(scores: Floats) -> Floats:
    """Each candidate's share of each incident's win: all of it, or a part if there is a tie."""
    best = scores == scores.max(axis=1, keepdims=True)
    return best / best.sum(axis=1, keepdims=True)


def ranks(scores: Floats) -> Floats:
    """Each candidate's rank on each incident, 1 is the best; ties share the mean of their ranks."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-scores, axis=1), dtype=float)


def check_win_rates(rates: Sequence[float], where: str, rounding: float = _ROUNDING) -> None:
    """Check that each incident has exactly one winner.

    Raises:
        CheckFailed: the sum of the rates differs from one by more than their rounding.
    """
    total = sum(rates)
    if abs(total - 1) > rounding:
        raise CheckFailed(
            f"the win rates of {where} sum to {total:.1%}: they are not from one table, in which "
            "every incident has a winner"
        )


def _without_length(
    resamples: Resamples, scores: Floats, failed: np.ndarray, doublings: Floats
) -> tuple[Floats, Floats]:
    """The effect of doubling the length on a score, and each candidate's mean score without it.

    The slope is estimated within candidates: it compares a candidate's longer answers with its own
    shorter ones. Failed answers have no length.
    """
    present = (~failed).astype(float)
    number = resamples.totals(present)
    at_least_one = np.maximum(number, 1)  # a candidate may have no answer in a draw
    long, score = resamples.totals(present * doublings), resamples.totals(present * scores)
    covariance = resamples.totals(present * doublings * scores) - long * score / at_least_one
    square = resamples.totals(present * doublings**2) - long**2 / at_least_one
    variation = square.sum(axis=1)
    slope = np.divide(
        covariance.sum(axis=1), variation, out=np.zeros(len(variation)), where=variation > 1e-9
    )
    middle = long.sum(axis=1) / np.maximum(number.sum(axis=1), 1)
    distance = np.where(number > 0, long / at_least_one - middle[:, None], 0.0)
    return slope, resamples.means(scores) - slope[:, None] * distance
