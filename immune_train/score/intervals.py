"""95% intervals: counts or measurements in, the lowest and the highest likely value out.

Shares have Wilson's interval (Wilson 1927; Brown, Cai and DasGupta 2001 recommend it for samples as
small as ours), means a percentile bootstrap (Efron and Tibshirani 1993) with a fixed seed. Values
in groups of similar members are resampled by whole groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_Z = 1.959963984540054  # the normal distribution's 97.5th percentile
_RESAMPLES, _SEED = 2000, 42

METHODS = {
    "confidence": 0.95,
    "shares": "Wilson",
    "means": f"percentile bootstrap, {_RESAMPLES} resamples, seed {_SEED}",
}


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share."""
    share, z2 = successes / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At the ends the interval is exactly 0 or 1, which rounding would miss.
    return (
        0.0 if successes == 0 else max(0.0, middle - half),
        1.0 if successes == n else min(1.0, middle + half),
    )


def bootstrap(values: Sequence[float]) -> tuple[float, float]:
    """The 95% percentile bootstrap interval of a mean; the same values give the same interval."""
    data = np.sort(np.asarray(values, dtype=float))
    indices = np.random.default_rng(_SEED).integers(len(data), size=(_RESAMPLES, len(data)))
    low, high = np.percentile(data[indices].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def of_median(values: Sequence[float]) -> tuple[float, float]:
    """The same of a median."""
    of = np.sort(np.asarray(values, dtype=float))
    indices = np.random.default_rng(_SEED).integers(len(of), size=(_RESAMPLES, len(of)))
    return _percentiles(np.median(of[indices], axis=1))


def of_groups(totals: Sequence[float], numbers: Sequence[float]) -> tuple[float, float]:
    """The bootstrap interval of a mean whose members are drawn by whole groups.

    Each group is given by the total and the number of its members.
    """
    return _percentiles(_resample(totals, numbers))


def of_difference(
    totals: Sequence[float],
    numbers: Sequence[float],
    other_totals: Sequence[float],
    other_numbers: Sequence[float],
) -> tuple[float, float]:
    """The same for the difference of two means over the same groups, drawn together."""
    return _percentiles(_resample(totals, numbers) - _resample(other_totals, other_numbers))


def _resample(totals: Sequence[float], numbers: Sequence[float]) -> np.ndarray:
    """The mean in each resample of the groups; NaN if none of them has a member."""
    indices = np.random.default_rng(_SEED).integers(len(totals), size=(_RESAMPLES, len(totals)))
    sums, members = (
        np.asarray(sequence, dtype=float)[indices].sum(axis=1) for sequence in (totals, numbers)
    )
    return np.divide(sums, members, out=np.full(_RESAMPLES, np.nan), where=members > 0)


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)
