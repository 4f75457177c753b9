"""The measures of `score`, candidates side by side: answers in, values and McNemar's tests out.

An answer that failed counts as one that does not have what a share counts, and is left out of
means, of which it has no value.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from immune_data.prompts import TASKS
from immune_train.evaluate.candidates import Candidate
from immune_train.evaluate.incidents import Facts
from immune_train.evaluate.resampling import Estimate, Resamples
from immune_train.evaluate.scores import LEAST_INCIDENTS
from immune_train.score.intervals import bootstrap, wilson
from immune_train.score.metrics import METRICS, Metric

Values = dict[str, float]  # by incident


@dataclass(frozen=True)
class Measure:
    """A metric of a candidate's answers to a task; `k` is what a share counts, of `n`.

    Below 20 answers there is no estimate.
    """

    task: str
    candidate: str
    metric: str
    title: str
    n: int
    k: int | None
    estimate: Estimate | None


@dataclass(frozen=True)
class Test:
    """McNemar's exact test of a share: incidents where only one of two candidates has it.

    `p_holm` is adjusted for all tests of the task (Holm 1979). Below 20 incidents there is no p.
    """

    task: str
    metric: str
    title: str
    first: str
    second: str
    n: int
    only_first: int
    only_second: int
    p: float | None
    p_holm: float | None


@dataclass(frozen=True)
class Measured:
    measures: tuple[Measure, ...]
    tests: tuple[Test, ...]
    detectable: dict[str, float]  # the smallest difference of shares that would be found, by task


def measure(candidates: Sequence[Candidate], facts: dict[str, Facts]) -> Measured:
    """Every metric of every candidate, and the tests between models and the reference."""
    measures: list[Measure] = []
    tests: list[Test] = []
    detectable: dict[str, float] = {}
    for task in TASKS:
        of_task = [one for one in candidates if task in one.tasks()]
        compared: list[Test] = []
        for metric in METRICS:
            if task not in metric.tasks:
                continue
            values = {
                one.name: _values(one, task, metric)
                for one in of_task
                if metric.of_reference or one.kind != "reference"
            }
            measures += [
                _measure(task, name, metric, [*of.values()]) for name, of in values.items()
            ]
            if metric.is_share:
                tested = {
                    one.name: values[one.name]
                    for one in of_task
                    if one.kind != "baseline" and one.name in values
                }
                for first, second in itertools.combinations(tested, 2):
                    pair = _test(task, metric, first, second, tested)
                    compared.append(pair)
                    if pair.p is None:
                        continue
                    least = _detectable(tested[first], tested[second], facts)
                    if least is not None:
                        detectable[task] = max(detectable.get(task, 0.0), least)
        tests += _holm(compared)
    return Measured(tuple(measures), tuple(tests), detectable)


def _values(candidate: Candidate, task: str, metric: Metric) -> Values:
    found: Values = {}
    for (incident, of), case in candidate.answers.items():
        if of != task:
            continue
        value = (0.0 if metric.is_share else None) if case.failed else metric.of(case)
        if value is not None:
            found[incident] = value
    return found


def _measure(task: str, name: str, metric: Metric, values: list[float]) -> Measure:
    n = len(values)
    k = round(sum(values)) if metric.is_share else None
    estimate = None
    if n >= LEAST_INCIDENTS:
        interval = wilson(k, n) if k is not None else bootstrap(values)
        estimate = Estimate(sum(values) / n, *interval)
    return Measure(task, name, metric.name, metric.title, n, k, estimate)


def _test(task: str, metric: Metric, first: str, second: str, values: dict[str, Values]) -> Test:
    one, other = values[first], values[second]
    both = [incident for incident in one if incident in other]
    only_first = sum(one[incident] > other[incident] for incident in both)
    only_second = sum(one[incident] < other[incident] for incident in both)
    p = mcnemar(only_first, only_second) if len(both) >= LEAST_INCIDENTS else None
    return Test(
        task, metric.name, metric.title, first, second, len(both), only_first, only_second, p, None
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p of McNemar's test: each discordant pair is a fair coin's throw."""
    from scipy.stats import binomtest

    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)


def _holm(tests: Sequence[Test]) -> Iterator[Test]:
    """The tests with p adjusted for their number, step down from the smallest."""
    ordered = sorted((one.p, i) for i, one in enumerate(tests) if one.p is not None)
    adjusted: dict[int, float] = {}
    highest = 0.0
    for place, (p, i) in enumerate(ordered):
        highest = min(1.0, max(highest, p * (len(ordered) - place)))
        adjusted[i] = highest
    for i, one in enumerate(tests):
        fields = {key: getattr(one, key) for key in one.__dataclass_fields__}
        yield Test(**{**fields, "p_holm": adjusted.get(i)})


def _detectable(one: Values, other: Values, facts: dict[str, Facts]) -> float | None:
    both = [incident for incident in one if incident in other]
    drawn = Resamples([facts[incident].group for incident in both])
    apart = np.array([one[incident] - other[incident] for incident in both])
    return drawn.detectable(drawn.means(apart))
