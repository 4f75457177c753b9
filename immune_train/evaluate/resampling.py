"""The bootstrap over groups: each incident's group in, intervals of anything additive out.

Incidents of one group (a source IP and time window) are similar, so whole groups are drawn. All
candidates are measured on the same draws, which makes every difference a paired one. The interval
is the expanded percentile interval (Hesterberg 2015, The American Statistician 69, 371-386): the
percentiles are widened as Student's t is wider than the normal distribution, and by the factor by
which the plain bootstrap is too narrow. Without that, the coverage is 94% with 60 groups, not 95%,
and 92% with 20 groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from immune_train.score.intervals import wilson

Floats = NDArray[np.float64]

DRAWS, SEED = 2000, 42
CONFIDENCE = 0.95
_POWER = 0.80
_NEARLY = 1e-9  # rounding error of a sum of floats

METHOD = (
    f"expanded percentile bootstrap over groups, {DRAWS} draws, seed {SEED}, "
    f"{CONFIDENCE:.0%} intervals"
)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval."""

    value: float
    low: float
    high: float


class Resamples:
    """Draws of whole groups; `groups` names the group of each incident."""

    def __init__(self, groups: Sequence[str], *, draws: int = DRAWS, seed: int = SEED) -> None:
        names, self._member = np.unique(
            np.asarray(groups, dtype=object).astype(str), return_inverse=True
        )
        self.groups = len(names)
        self._weights = _weights(self.groups, draws, seed)
        self._tail = _tail(self.groups)

    def totals(self, values: Floats) -> Floats:
        """The total of `values`, whose first axis is the incidents, in the sample and each draw."""
        sums = np.zeros((self.groups, *values.shape[1:]))
        np.add.at(sums, self._member, values)
        return np.tensordot(self._weights, sums, axes=1)

    def means(self, values: Floats) -> Floats:
        """The mean over the incidents, in the sample and each draw."""
        number = self.totals(np.ones(len(values)))
        return self.totals(values) / number.reshape(-1, *[1] * (values.ndim - 1))

    def estimate(self, statistic: Floats) -> Estimate:
        """The value and interval of a statistic, from its values in the sample and each draw."""
        low, high = np.quantile(statistic[1:], [self._tail, 1 - self._tail])
        return Estimate(float(statistic[0]), float(low), float(high))

    def share(self, statistic: Floats) -> Estimate:
        """The value and interval of a share, whose true value is not 0 because a sample has none.

        If the sample has none or all, the other end is Wilson's, with each group counted once.
        """
        estimate = self.estimate(statistic)
        low, high = estimate.low, estimate.high
        if estimate.value <= _NEARLY:
            high = max(high, wilson(0, self.groups)[1])
        if estimate.value >= 1 - _NEARLY:
            low = min(low, wilson(self.groups, self.groups)[0])
        return Estimate(estimate.value, low, high)

    def detectable(self, statistic: Floats) -> float | None:
        """The smallest detectable true difference: 80% power, 5% two-sided.

        `statistic` is a difference, in the sample and each draw. None if it is the same for all
        incidents, because its spread is then unknown.
        """
        from scipy.stats import norm

        spread = float(np.std(statistic[1:])) * math.sqrt(self.groups / max(1, self.groups - 1))
        if spread <= _NEARLY:
            return None
        return spread * float(norm.ppf(0.5 + CONFIDENCE / 2) + norm.ppf(_POWER))


@lru_cache(maxsize=4)  # each takes 16 MB for a thousand groups
def _weights(groups: int, draws: int, seed: int) -> Floats:
    """How often each group is in the sample and in each draw, read-only.

    Parts of an evaluation often have equally many groups.
    """
    uniform = np.full(groups, 1 / groups)
    weights = np.random.default_rng(seed).multinomial(groups, uniform, size=draws)
    # The first "draw" is the sample itself, so a statistic's first value is its own.
    with_sample = np.vstack([np.ones(groups), weights])
    with_sample.flags.writeable = False
    return with_sample


@cache
def _tail(groups: int) -> float:
    """The share of draws below the interval, and of those above it."""
    from scipy.stats import norm, t

    if groups < 2:
        return 0.0
    quantile = t.ppf(0.5 + CONFIDENCE / 2, groups - 1)
    return float(norm.cdf(-quantile * math.sqrt(groups / (groups - 1))))
