"""How far a judge can be trusted: its verdicts in, its agreement, noise and preferences out.

A verdict is about one task of one incident. It has a score for each model's answer and, where the
judge was asked several times, the calls behind it: the answers in the order shown, with the scores
of that call. Names of models are compared as they are.

Every interval is a 95% interval over incidents, since the scores of one incident are correlated.
None stands for a value that the verdicts do not determine, such as a preference for the first place
where an answer always has the same place.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

CONFIDENCE = 0.95

# How many criteria a score of a task is the sum of; each is rounded to a whole number.
CRITERIA = {"summary": 1, "cause": 3, "risk": 3}

_KEYS = {"summary": "scores", "cause": "cause_scores", "risk": "risk_scores"}
_ROUNDING = 1 / 12  # the variance that rounding to whole numbers adds
_EPSILON = 1e-9  # a sum of floats below it is zero
_TOLERANCE = 1e-6  # the same for inverted matrices


@dataclass(frozen=True)
class Call:
    """One call to a judge: the models in the order shown, and their scores."""

    order: tuple[str, ...]
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Verdict:
    """A judge's scores of an incident's answers; the order of the keys decides ties (rule 3)."""

    incident: str
    scores: Mapping[str, float]
    calls: Sequence[Call] = ()

    @property
    def best(self) -> str:
        return max(self.scores, key=self.scores.__getitem__)  # the first of equals


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, and the number of incidents that it is based on."""

    value: float
    low: float
    high: float
    incidents: int


@dataclass(frozen=True)
class Noise:
    """The standard deviation of a score between identical calls, and its degrees of freedom."""

    deviation: Estimate
    freedom: int


@dataclass(frozen=True)
class Agreement:
    """How far two runs agree on the same answers.

    `changed` of `scores` differ; the best answer is the same for `kept` of `incidents`; `shift` is
    by how much the second run's scores are higher on average; `deviation` is the standard deviation
    of one score, estimated from the differences as if both runs had the same noise.
    """

    incidents: int
    scores: int
    changed: int
    kept: int
    correlation: float | None
    shift: float
    deviation: float | None


def verdicts(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Verdict]]:
    """The verdicts in the rows of a file, by task, in either documented format.

    Null entries are not scores. Rows are assumed to be as documented.
    """
    by_task: dict[str, list[Verdict]] = {}
    for row in rows:
        for task, key in _KEYS.items():
            scores = _scores(row.get(key))
            if scores:
                calls = tuple(
                    Call(tuple(call["order"]), _scores(call.get(key)))
                    for call in row.get("calls") or ()
                )
                by_task.setdefault(task, []).append(Verdict(row["incident_id"], scores, calls))
    return by_task


def _scores(entries: Mapping[str, Any] | None) -> dict[str, float]:
    return {
        model: float(entry["total"] if isinstance(entry, Mapping) else entry)
        for model, entry in (entries or {}).items()
        if entry is not None
    }


def agreement(first: Iterable[Verdict], second: Iterable[Verdict]) -> Agreement | None:
    """How far two runs agree on the answers that both judged; None if there are none."""
    earlier_by_incident = {verdict.incident: verdict for verdict in first}
    pairs: list[tuple[float, float]] = []
    incidents = kept = 0
    for later in second:
        earlier = earlier_by_incident.get(later.incident)
        models = [
            model for model in later.scores if earlier is not None and model in earlier.scores
        ]
        if earlier is None or not models:
            continue
        incidents += 1
        pairs += [(earlier.scores[model], later.scores[model]) for model in models]
        kept += _best_of(earlier, models) == _best_of(later, models)
    if not pairs:
        return None
    differences = [later - earlier for earlier, later in pairs]
    shift = math.fsum(differences) / len(pairs)
    squares = math.fsum((difference - shift) ** 2 for difference in differences)
    return Agreement(
        incidents,
        len(pairs),
        sum(abs(difference) > _EPSILON for difference in differences),
        kept,
        _correlation(pairs),
        shift,
        math.sqrt(squares / (len(pairs) - 1) / 2) if len(pairs) > 1 else None,
    )


def _best_of(verdict: Verdict, models: Sequence[str]) -> str:
    scores = {model: score for model, score in verdict.scores.items() if model in models}
    return Verdict(verdict.incident, scores).best


def _correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    try:
        return statistics.correlation(*zip(*pairs, strict=True))
    except statistics.StatisticsError:  # fewer than two, or all the same
        return None


def noise(judged: Iterable[Verdict], criteria: int = 1) -> Noise | None:
    """How much the scores of one answer differ between calls, whatever its place.

    The mean of each answer and that of each place are removed. Where all scores are whole numbers,
    so is the variance that rounding adds: a score is the sum of `criteria` numbers, each of them
    rounded. Where there is little other noise (below 0.3 per criterion), rounding hides some of it,
    and the estimate is too low.
    """
    scores = _Scores(judged)
    if not scores.incidents:
        return None
    fit = scores.place_fit()
    incidents = _distinct(scores.incidents)
    # An incident's degrees of freedom: its scores, less one for the mean of each of its answers.
    _, first_rows = np.unique(_distinct(scores.answers), return_index=True)
    degrees = np.bincount(incidents) - np.bincount(incidents[first_rows])
    freedom = int(degrees.sum()) - fit.rank
    if freedom < 1 or len(degrees) < 2:
        return None
    squares = _totals(incidents, fit.residuals**2)
    variance = float(squares.sum()) / freedom
    factor = 1.0
    if variance <= _EPSILON:
        variance = 0.0
    else:
        deviations = squares - variance * degrees
        error = math.sqrt(
            float(deviations @ deviations) * len(degrees) / (len(degrees) - 1)
        ) / float(degrees.sum())
        factor = math.exp(_quantile(len(degrees) - 1) * error / variance)
    whole = bool((scores.scores == np.rint(scores.scores)).all())
    rounding = criteria * _ROUNDING if whole else 0.0
    value, low, high = (
        math.sqrt(max(0.0, estimate - rounding))
        for estimate in (variance, variance / factor, variance * factor)
    )
    return Noise(Estimate(value, low, high, len(degrees)), freedom)


def place_means(judged: Iterable[Verdict]) -> list[float]:
    """For each place, from the first, how much higher an answer is scored there than on average."""
    scores = _Scores(judged)
    return scores.place_fit().coefficients.tolist() if scores.incidents else []


def spread(calls: Sequence[Call], means: Sequence[float]) -> dict[str, float | None]:
    """The standard deviation of each answer's scores, without the `place_means` of its run.

    None for an answer with fewer than two scores.
    """
    residuals: dict[str, list[float]] = {}
    for call in calls:
        for place, model in enumerate(call.order):
            if model in call.scores:
                residuals.setdefault(model, []).append(call.scores[model] - means[place])
    return {
        model: statistics.stdev(values) if len(values) > 1 else None
        for model, values in residuals.items()
    }


def place_preference(judged: Iterable[Verdict]) -> list[Estimate | None]:
    """For each place, from the first, how much higher an answer is scored there than elsewhere.

    Answers of one call are compared, without the effect of the models, which is fitted too.
    """
    scores = _Scores(judged)
    if not scores.incidents:
        return []
    places, models = _columns(scores.places), _columns(_distinct(scores.models))
    calls = _distinct(scores.calls)
    fit = _fit(
        _centred(scores.scores, calls),
        _centred(np.hstack([places, models]), calls),
        _distinct(scores.incidents),
        len(set(calls)),
    )
    count = places.shape[1]
    contrasts = np.zeros((count, fit.coefficients.size))
    contrasts[:, :count] = (np.eye(count) * count - 1) / max(1, count - 1)
    return [fit.estimate(contrast) for contrast in contrasts]


def length_preference(
    judged: Iterable[Verdict], lengths: Mapping[tuple[str, str], int]
) -> Estimate | None:
    """How much higher an answer is scored if it is twice as long.

    `lengths` are by incident and model. Answers to one incident are compared, without the effect of
    the models, which is fitted too.
    """
    rows = [
        (verdict.incident, model, score, math.log2(lengths[verdict.incident, model]))
        for verdict in judged
        for model, score in verdict.scores.items()
        if lengths.get((verdict.incident, model), 0) > 0
    ]
    if not rows:
        return None
    names, models, scores, doublings = zip(*rows, strict=True)
    incidents = _distinct(names)
    columns = np.hstack([np.array(doublings)[:, None], _columns(_distinct(models))])
    fit = _fit(
        _centred(np.array(scores), incidents),
        _centred(columns, incidents),
        incidents,
        len(set(incidents)),
    )
    return fit.estimate(np.eye(columns.shape[1])[0])


class _Scores:
    """The scores of calls as columns, each with its incident, call, answer, model and place."""

    def __init__(self, verdicts: Iterable[Verdict]) -> None:
        rows = [
            (verdict.incident, number, model, place, call.scores[model])
            for verdict in verdicts
            for number, call in enumerate(verdict.calls)
            for place, model in enumerate(call.order)
            if model in call.scores
        ]
        self.scores = np.array([score for *_, score in rows], dtype=float)
        self.incidents = [incident for incident, *_ in rows]
        self.calls = [(incident, number) for incident, number, *_ in rows]
        self.answers = [(incident, model) for incident, _, model, *_ in rows]
        self.models = [model for *_, model, _, _ in rows]
        self.places = np.array([place for *_, place, _ in rows], dtype=np.int64)

    def place_fit(self) -> _Fit:
        """The effect of the places on the scores, less the mean of each answer."""
        answers = _distinct(self.answers)
        return _fit(
            _centred(self.scores, answers),
            _centred(_columns(self.places), answers),
            _distinct(self.incidents),
            len(set(answers)),
        )


@dataclass(frozen=True)
class _Fit:
    """Least squares: coefficients, which combinations of them are estimable, residuals."""

    coefficients: Floats
    estimable: Floats  # projects onto the combinations of coefficients that the data determine
    covariance: Floats
    residuals: Floats
    rank: int
    freedom: int
    incidents: int

    def estimate(self, contrast: Floats) -> Estimate | None:
        """A combination of the coefficients; None where the data do not determine it."""
        if abs(self.estimable @ contrast - contrast).max() > _TOLERANCE or self.freedom < 1:
            return None
        value = float(contrast @ self.coefficients)
        error = math.sqrt(max(0.0, float(contrast @ self.covariance @ contrast)))
        half = _quantile(self.incidents - 1) * error
        return Estimate(value, value - half, value + half, self.incidents)


def _fit(values: Floats, columns: Floats, incidents: Whole, means: int) -> _Fit:
    """Fit values by columns, after `means` group means were subtracted from both.

    The covariance is clustered by incident (Liang and Zeger 1986), with the usual correction for a
    small number of clusters.
    """
    squares = columns.T @ columns
    inverse = np.linalg.pinv(squares, rcond=_TOLERANCE, hermitian=True)
    estimable = inverse @ squares
    rank = round(float(np.trace(estimable)))
    coefficients = inverse @ (columns.T @ values)
    residuals = values - columns @ coefficients
    freedom = len(values) - means - rank
    count = len(np.unique(incidents))
    covariance = np.zeros_like(squares)
    if freedom > 0 and count > 1:
        influences = np.stack([_totals(incidents, column * residuals) for column in columns.T])
        correction = count / (count - 1) * (len(values) - 1) / max(1, len(values) - rank)
        covariance = correction * inverse @ (influences @ influences.T) @ inverse
    return _Fit(
        coefficients, estimable, covariance, residuals, rank, freedom if count > 1 else 0, count
    )


def _distinct(keys: Sequence[Hashable]) -> Whole:
    """The keys numbered in order of first appearance."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _columns(numbers: Whole) -> Floats:
    """One indicator column for each number."""
    return np.eye(int(numbers.max()) + 1)[numbers]


def _totals(groups: Whole, values: Floats) -> Floats:
    return np.bincount(groups, weights=values).astype(np.float64)


def _centred(values: Floats, groups: Whole) -> Floats:
    """The values, or the columns of them, less the means of their groups."""
    if values.ndim > 1:
        return np.stack([_centred(column, groups) for column in values.T], axis=1)
    return values - (_totals(groups, values) / np.bincount(groups))[groups]


def _quantile(freedom: int) -> float:
    """Half the width of an interval in standard errors, by Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + CONFIDENCE / 2))
