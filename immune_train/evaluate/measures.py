"""The measures of `score`, compared between candidates: answers in, values and McNemar's tests out.

A failed answer fails every share, and is left out of means, for which it has no value.
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
    """A metric of a candidate's answers to a task; a share is `k` of `n`.

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
class Measurements:
    measures: tuple[Measure, ...]
    tests: tuple[Test, ...]
    detectable: dict[str, float]  # the smallest detectable difference of shares, by task


def measure(candidates: Sequence[Candidate], facts: dict[str, Facts]) -> Measurements:
    """Every metric of every candidate, and the tests between models and the reference."""
    measures: list[Measure] = []
    tests: list[Test] = []
    detectable: dict[str, float] = {}
    for task in TASKS:
        task_candidates = [candidate for candidate in candidates if task in candidate.tasks()]
        task_tests: list[Test] = []
        for metric in METRICS:
            if task not in metric.tasks:
                continue
            values = {
                candidate.name: _values(candidate, task, metric)
                for candidate in task_candidates
                if metric.of_reference or candidate.kind != "reference"
            }
            measures += [
                _measure(task, name, metric, [*of.values()]) for name, of in values.items()
            ]
            if metric.is_share:
                share_values = {
                    candidate.name: values[candidate.name]
                    for candidate in task_candidates
                    if candidate.kind != "baseline" and candidate.name in values
                }
                for first, second in itertools.combinations(share_values, 2):
                    pair = _test(task, metric, first, second, share_values)
                    task_tests.append(pair)
                    if pair.p is None:
                        continue
                    least = _detectable(share_values[first], share_values[second], facts)
                    if least is not None:
                        detectable[task] = max(detectable.get(task, 0.0), least)
        tests += _holm(task_tests)
    return Measurements(tuple(measures), tuple(tests), detectable)


def _values(candidate: Candidate, task: str, metric: Metric) -> Values:
    values: Values = {}
    for (incident, answer_task), case in candidate.answers.items():
        if answer_task != task:
            continue
        value = (0.0 if metric.is_share else None) if case.failed else metric.of(case)
        if value is not None:
            values[incident] = value
    return values


def _measure(task: str, name: str, metric: Metric, values: list[float]) -> Measure:
    n = len(values)
    k = round(sum(values)) if metric.is_share else None
    estimate = None
    if n >= LEAST_INCIDENTS:
        interval = wilson(k, n) if k is not None else bootstrap(values)
        estimate = Estimate(sum(values) / n, *interval)
    return Measure(task, name, metric.name, metric.title, n, k, estimate)


def _test(task: str, metric: Metric, first: str, second: str, values: dict[str, Values]) -> Test:
    first_values, second_values = values[first], values[second]
    common = [incident for incident in first_values if incident in second_values]
    only_first = sum(first_values[incident] > second_values[incident] for incident in common)
    only_second = sum(first_values[incident] < second_values[incident] for incident in common)
    p = mcnemar(only_first, only_second) if len(common) >= LEAST_INCIDENTS else None
    return Test(
        task,
        metric.name,
        metric.title,
        first,
        second,
        len(common),
        only_first,
        only_second,
        p,
        None,
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p of McNemar's test: each discordant pair is the toss of a fair coin."""
    from scipy.stats import binomtest

    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)


def _holm(tests: Sequence[Test]) -> Iterator[Test]:
    """The tests with p adjusted for their number, stepping down from the smallest."""
    p_values = sorted((test.p, i) for i, test in enumerate(tests) if test.p is not None)
    p_holm: dict[int, float] = {}
    highest = 0.0
    for place, (p, i) in enumerate(p_values):
        highest = min(1.0, max(highest, p * (len(p_values) - place)))
        p_holm[i] = highest
    for i, test in enumerate(tests):
        fields = {key: getattr(test, key) for key in test.__dataclass_fields__}
        yield Test(**{**fields, "p_holm": p_holm.get(i)})


def _detectable(first: Values, second: Values, facts: dict[str, Facts]) -> float | None:
    common = [incident for incident in first if incident in second]
    resamples = Resamples([facts[incident].group for incident in common])
    differences = np.array([first[incident] - second[incident] for incident in common])
    return resamples.detectable(resamples.means(differences))
