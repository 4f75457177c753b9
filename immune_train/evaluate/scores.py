"""What a judge's scores say: scores of candidates for the same incidents in, a table's cells out.

A cell is a task and a part of its incidents: all, a category, a tier of event count, or both. Of a
cell under 20 incidents, or under 10 groups of them, only the wins are counted, and nothing else is
said.
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
class Judged:
    """A task's scores, a row for each incident and a column for each candidate.

    `failed` are the answers that there were none of; `doublings` is the length of each answer, as
    the logarithm of its tokens to the base 2.
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
    """A candidate in a cell. Without a claim, only `wins` and `failed` are said.

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
    """Between two candidates on the same incidents, the first less the second."""

    first: str
    second: str
    score: Estimate
    win_rate: Estimate


@dataclass(frozen=True)
class Cell:
    """A part of a task's incidents.

    `length_slope` is what twice the length of an answer adds to its score. The smallest
    differences that would be found are those of the pair of candidates that varies most.
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


def cells(judged: Judged, facts: dict[str, Facts]) -> Iterator[Cell]:
    """The cells of a task that hold an incident."""
    for part, members in parts(judged.incidents, facts):
        yield _cell(judged, part, members, [facts[judged.incidents[i]].group for i in members])


def _cell(judged: Judged, part: str, members: Sequence[int], groups: Sequence[str]) -> Cell:
    scores, failed = judged.scores[members], judged.failed[members]
    # Behind every answer stands the one that failed, even if a judge gives an answer nothing.
    placed = np.where(failed, -1.0, scores)
    won = win_shares(placed)
    number = len(set(groups))
    counted = {
        name: (float(won[:, i].sum()), int(failed[:, i].sum()))
        for i, name in enumerate(judged.candidates)
    }
    if len(members) < LEAST_INCIDENTS or number < LEAST_GROUPS:
        standings = (Standing(name, *of) for name, of in counted.items())
        return Cell(judged.task, part, len(members), number, tuple(standings))
    drawn = Resamples(groups)
    score, rate = drawn.means(scores), drawn.means(won)
    check_win_rates([float(one) for one in rate[0]], f"task {judged.task}, {part}")
    rank = drawn.means(ranks(placed))
    strength = bradley_terry.strengths(drawn.totals(bradley_terry.wins(placed)))
    slope, adjusted = _without_length(drawn, scores, failed, judged.doublings[members])
    standings = (
        Standing(
            name,
            *counted[name],
            score=drawn.estimate(score[:, i]),
            adjusted=drawn.estimate(adjusted[:, i]),
            rank=drawn.estimate(rank[:, i]),
            win_rate=drawn.share(rate[:, i]),
            strength=drawn.estimate(strength[:, i]),
        )
        for i, name in enumerate(judged.candidates)
    )
    pairs = list(itertools.combinations(range(len(judged.candidates)), 2))
    differences = (
        Difference(
            judged.candidates[i],
            judged.candidates[j],
            *(drawn.estimate(of[:, i] - of[:, j]) for of in (score, rate)),
        )
        for i, j in pairs
    )
    found = ([drawn.detectable(of[:, i] - of[:, j]) for i, j in pairs] for of in (score, rate))
    detectable = (max((one for one in of if one is not None), default=None) for of in found)
    return Cell(
        judged.task,
        part,
        len(members),
        number,
        tuple(standings),
        tuple(differences),
        drawn.estimate(slope),
        *detectable,
    )


def win_shares(placed: Floats) -> Floats:
    """Each candidate's share of each incident's win: all of it, or a part where there is a tie."""
    best = placed == placed.max(axis=1, keepdims=True)
    return best / best.sum(axis=1, keepdims=True)


def ranks(placed: Floats) -> Floats:
    """Each candidate's rank on each incident, 1 the best; equals have the mean of their ranks."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-placed, axis=1), dtype=float)


def check_win_rates(rates: Sequence[float], where: str, rounding: float = _ROUNDING) -> None:
    """See that each incident has a winner, and one only.

    Raises:
        CheckFailed: the rates do not sum to one, by more than their rounding.
    """
    total = sum(rates)
    if abs(total - 1) > rounding:
        raise CheckFailed(
            f"the win rates of {where} sum to {total:.1%}: they are not of one table, where every "
            "incident has a winner"
        )


def _without_length(
    drawn: Resamples, scores: Floats, failed: np.ndarray, doublings: Floats
) -> tuple[Floats, Floats]:
    """What twice the length adds to a score, and each candidate's mean score without that.

    The slope is that within the candidates: how a candidate's longer answers compare with its own
    shorter ones. Answers that failed have no length.
    """
    there = (~failed).astype(float)
    number = drawn.totals(there)
    of = np.maximum(number, 1)  # a candidate may have no answer in a draw
    long, score = drawn.totals(there * doublings), drawn.totals(there * scores)
    both = drawn.totals(there * doublings * scores) - long * score / of
    square = drawn.totals(there * doublings**2) - long**2 / of
    variation = square.sum(axis=1)
    slope = np.divide(
        both.sum(axis=1), variation, out=np.zeros(len(variation)), where=variation > 1e-9
    )
    middle = long.sum(axis=1) / np.maximum(number.sum(axis=1), 1)
    apart = np.where(number > 0, long / of - middle[:, None], 0.0)
    return slope, drawn.means(scores) - slope[:, None] * apart
