"""Bradley-Terry strengths: how often candidates beat each other in, a strength for each out.

Strengths are natural logarithms with a mean of zero: a candidate whose strength is greater by 1 is
expected to win 73% of the comparisons between the two. Half a win is added to each side of each
pair, so that a candidate that lost every comparison also has a strength.
"""

from __future__ import annotations

import numpy as np

from immune_train.evaluate.resampling import Floats

_ADDED = 0.5
_STEPS, _CLOSE = 1000, 1e-7


def wins(scores: Floats) -> Floats:
    """Per incident, whether the first of each pair beat the second; a tie is half a win.

    `scores` has a row for each incident; the result has a square matrix for each incident.
    """
    first, second = scores[:, :, None], scores[:, None, :]
    return (first > second) + 0.5 * ((first == second) & ~np.eye(scores.shape[1], dtype=bool))


def strengths(totals: Floats) -> Floats:
    """The strengths for any number of square matrices of wins (Hunter 2004, MM algorithm)."""
    # The matrices lie along the last axis, so that numpy adds long rows and not a few numbers each.
    totals = np.moveaxis(totals, (-2, -1), (0, 1))
    shape = (*totals.shape[:2], *[1] * (totals.ndim - 2))
    off_diagonal = ~np.eye(len(totals), dtype=bool).reshape(shape)
    wins = np.ascontiguousarray(totals + _ADDED * off_diagonal)
    comparisons = (wins + np.swapaxes(wins, 0, 1)) * off_diagonal
    total_wins = wins.sum(axis=1)
    strength = np.ones(total_wins.shape)
    for _ in range(_STEPS):
        sums = strength[:, None] + strength[None, :]
        new = total_wins / np.divide(comparisons, sums, out=sums).sum(axis=1)
        new /= np.exp(np.log(new).mean(axis=0))
        change = float(np.abs(np.log(new / strength)).max())
        strength = new
        if change < _CLOSE:
            break
    return np.moveaxis(np.log(strength), 0, -1)
