"""How far a judge can be trusted: its verdicts in, its agreement, noise and preferences out.

A verdict is on one task of one incident. It has a score for each model's answer, and where the
judge was asked several times, the calls behind it: the answers in the order shown, with the scores
of that call. Names of models are compared as they are.

Every interval is one of 95 %, over incidents: what is said of one incident hangs together. None
stands for what the verdicts cannot tell, such as a preference for the first place where an answer
always has the same place.
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

# The criteria that a score of a task is the sum of: each is rounded to a whole number.
CRITERIA = {"summary": 1, "cause": 3, "risk": 3}

_KEYS = {"summary": "scores", "cause": "cause_scores", "risk": "risk_scores"}
_ROUNDING = 1 / 12  # the variance that rounding to whole numbers adds
_NEARLY = 1e-9  # what additions of floats leave of nothing
_TOLD = 1e-6  # the same of inverted matrices


@dataclass(frozen=True)
class Call:
    """What a judge said when it was asked once: models in the order shown, and their scores."""

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
    """A value with its interval, and the number of incidents that it rests on."""

    value: float
    low: float
    high: float
    incidents: int


@dataclass(frozen=True)
class Noise:
    """The standard deviation of a score when the same is asked again; degrees of freedom of it."""

    deviation: Estimate
    freedom: int


@dataclass(frozen=True)
class Agreement:
    """What two runs say of the same answers.

    `changed` of `scores` differ; the best answer is the same for `kept` of `incidents`; `shift` is
    by how much the second run's scores are higher in the mean; `deviation` the standard deviation
    of one score that the differences tell, had both runs the same noise and one score each.
    """

    incidents: int
    scores: int
    changed: int
    kept: int
    correlation: float | None
    shift: float
    deviation: float | None


def verdicts(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Verdict]]:
    """By task the verdicts of the rows of a file, in either documented format.

    Null entries are not scores. Rows are taken to be as documented.
    """
    found: dict[str, list[Verdict]] = {}
    for row in rows:
        for task, key in _KEYS.items():
            scores = _scores(row.get(key))
            if scores:
                calls = tuple(
                    Call(tuple(call["order"]), _scores(call.get(key)))
                    for call in row.get("calls") or ()
                )
                found.setdefault(task, []).append(Verdict(row["incident_id"], scores, calls))
    return found


def _scores(entries: Mapping[str, Any] | None) -> dict[str, float]:
    return {
        model: float(entry["total"] if isinstance(entry, Mapping) else entry)
        for model, entry in (entries or {}).items()
        if entry is not None
    }


def agreement(first: Iterable[Verdict], second: Iterable[Verdict]) -> Agreement | None:
    """What two runs say of the answers that both judged; None if there is none."""
    before = {verdict.incident: verdict for verdict in first}
    pairs: list[tuple[float, float]] = []
    incidents = kept = 0
    for again in second:
        once = before.get(again.incident)
        common = [model for model in again.scores if once is not None and model in once.scores]
        if once is None or not common:
            continue
        incidents += 1
        pairs += [(once.scores[model], again.scores[model]) for model in common]
        kept += _best_of(once, common) == _best_of(again, common)
    if not pairs:
        return None
    differences = [later - earlier for earlier, later in pairs]
    shift = math.fsum(differences) / len(pairs)
    squares = math.fsum((one - shift) ** 2 for one in differences)
    return Agreement(
        incidents,
        len(pairs),
        sum(abs(one) > _NEARLY for one in differences),
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
    """How much the scores of one answer differ between calls, wherever it stands.

    The mean of each answer and that of each place are taken out; and where all scores are whole,
    what rounding adds: a score is the sum of so many `criteria`, each of them rounded. Where that
    is all there is (below 0.3 a criterion), rounding hides some of the noise, and less is told.
    """
    given = _Given(judged)
    if not given.incidents:
        return None
    fit = given.of_places()
    incidents = _distinct(given.incidents)
    # What an incident has to tell: its scores, less the mean of each of its answers.
    _, firsts = np.unique(_distinct(given.answers), return_index=True)
    free = np.bincount(incidents) - np.bincount(incidents[firsts])
    freedom = int(free.sum()) - fit.rank
    if freedom < 1 or len(free) < 2:
        return None
    squares = _totals(incidents, fit.left**2)
    variance = float(squares.sum()) / freedom
    wide = 1.0
    if variance <= _NEARLY:
        variance = 0.0
    else:
        off = squares - variance * free
        error = math.sqrt(float(off @ off) * len(free) / (len(free) - 1)) / float(free.sum())
        wide = math.exp(_quantile(len(free) - 1) * error / variance)
    whole = bool((given.scores == np.rint(given.scores)).all())
    added = criteria * _ROUNDING if whole else 0.0
    value, low, high = (
        math.sqrt(max(0.0, one - added)) for one in (variance, variance / wide, variance * wide)
    )
    return Noise(Estimate(value, low, high, len(free)), freedom)


def place_means(judged: Iterable[Verdict]) -> list[float]:
    """By place from the first, how much higher an answer is scored there than it is in the mean."""
    given = _Given(judged)
    return given.of_places().coefficients.tolist() if given.incidents else []


def spread(calls: Sequence[Call], means: Sequence[float]) -> dict[str, float | None]:
    """The standard deviation of each answer's scores, the `place_means` of its run taken out.

    None for an answer with fewer than two.
    """
    left: dict[str, list[float]] = {}
    for call in calls:
        for place, model in enumerate(call.order):
            if model in call.scores:
                left.setdefault(model, []).append(call.scores[model] - means[place])
    return {
        model: statistics.stdev(values) if len(values) > 1 else None
        for model, values in left.items()
    }


def place_preference(judged: Iterable[Verdict]) -> list[Estimate | None]:
    """By place from the first, how much higher an answer is scored there than in the others.

    Answers of one call are compared, what a model is worth in all of them taken out.
    """
    given = _Given(judged)
    if not given.incidents:
        return []
    places, models = _columns(given.places), _columns(_distinct(given.models))
    calls = _distinct(given.calls)
    fit = _fit(
        _centred(given.scores, calls),
        _centred(np.hstack([places, models]), calls),
        _distinct(given.incidents),
        len(set(calls)),
    )
    number = places.shape[1]
    contrasts = np.zeros((number, fit.coefficients.size))
    contrasts[:, :number] = (np.eye(number) * number - 1) / max(1, number - 1)
    return [fit.estimate(contrast) for contrast in contrasts]


def length_preference(
    judged: Iterable[Verdict], lengths: Mapping[tuple[str, str], int]
) -> Estimate | None:
    """How much higher an answer is scored that is twice as long.

    `lengths` are by incident and model. Answers to one incident are compared, what a model is worth
    in all of them taken out.
    """
    known = [
        (verdict.incident, model, score, math.log2(lengths[verdict.incident, model]))
        for verdict in judged
        for model, score in verdict.scores.items()
        if lengths.get((verdict.incident, model), 0) > 0
    ]
    if not known:
        return None
    names, models, scores, doublings = zip(*known, strict=True)
    incidents = _distinct(names)
    columns = np.hstack([np.array(doublings)[:, None], _columns(_distinct(models))])
    fit = _fit(
        _centred(np.array(scores), incidents),
        _centred(columns, incidents),
        incidents,
        len(set(incidents)),
    )
    return fit.estimate(np.eye(columns.shape[1])[0])


class _Given:
    """The scores of calls as columns, each with its incident, call, answer, model and place."""

    def __init__(self, judged: Iterable[Verdict]) -> None:
        rows = [
            (verdict.incident, number, model, place, call.scores[model])
            for verdict in judged
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

    def of_places(self) -> _Fit:
        """What the places tell of scores of which each answer's mean is taken out."""
        answers = _distinct(self.answers)
        return _fit(
            _centred(self.scores, answers),
            _centred(_columns(self.places), answers),
            _distinct(self.incidents),
            len(set(answers)),
        )


@dataclass(frozen=True)
class _Fit:
    """Least squares: the coefficients, what of them can be told and how surely, what is left."""

    coefficients: Floats
    told: Floats  # projects onto the combinations of coefficients that the data tell
    covariance: Floats
    left: Floats
    rank: int
    freedom: int
    incidents: int

    def estimate(self, contrast: Floats) -> Estimate | None:
        """A combination of the coefficients; None where the data do not tell it."""
        if abs(self.told @ contrast - contrast).max() > _TOLD or self.freedom < 1:
            return None
        value = float(contrast @ self.coefficients)
        error = math.sqrt(max(0.0, float(contrast @ self.covariance @ contrast)))
        half = _quantile(self.incidents - 1) * error
        return Estimate(value, value - half, value + half, self.incidents)


def _fit(values: Floats, columns: Floats, incidents: Whole, means: int) -> _Fit:
    """Fit values by columns, of both of which so many means were taken out.

    The covariance is that of whole incidents (Liang and Zeger 1986), with the usual correction for
    few of them.
    """
    squares = columns.T @ columns
    inverse = np.linalg.pinv(squares, rcond=_TOLD, hermitian=True)
    told = inverse @ squares
    rank = round(float(np.trace(told)))
    coefficients = inverse @ (columns.T @ values)
    left = values - columns @ coefficients
    freedom = len(values) - means - rank
    number = len(np.unique(incidents))
    covariance = np.zeros_like(squares)
    if freedom > 0 and number > 1:
        pulls = np.stack([_totals(incidents, one * left) for one in columns.T])
        few = number / (number - 1) * (len(values) - 1) / max(1, len(values) - rank)
        covariance = few * inverse @ (pulls @ pulls.T) @ inverse
    return _Fit(coefficients, told, covariance, left, rank, freedom if number > 1 else 0, number)


def _distinct(keys: Sequence[Hashable]) -> Whole:
    """The keys numbered in order of first appearance."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _columns(numbers: Whole) -> Floats:
    """A column for each number, which is 1 where it stands."""
    return np.eye(int(numbers.max()) + 1)[numbers]


def _totals(groups: Whole, values: Floats) -> Floats:
    return np.bincount(groups, weights=values).astype(np.float64)


def _centred(values: Floats, groups: Whole) -> Floats:
    """The values, or the columns of them, less the means of their groups."""
    if values.ndim > 1:
        return np.stack([_centred(one, groups) for one in values.T], axis=1)
    return values - (_totals(groups, values) / np.bincount(groups))[groups]


def _quantile(freedom: int) -> float:
    """How many standard errors an interval reaches to either side, by Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + CONFIDENCE / 2))
