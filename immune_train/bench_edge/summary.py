"""What timings say: timings in, means of each side and the ratio of each pair of sides out.

A ratio is the seconds of an incident with something over those without it, in the same round. Its
interval is a bootstrap of whole rounds, so that it is a paired one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from immune_train.bench_edge.bandwidth import METHOD
from immune_train.bench_edge.results import Results, Run
from immune_train.bench_edge.sides import COMPARISONS, DEFAULT, Comparison, sides_of
from immune_train.bench_edge.timing import Timing
from immune_train.edge.grounded import shared_length
from immune_train.score import intervals


@dataclass(frozen=True)
class Ratio:
    """A ratio with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SideMeans:
    """A side: means of its incidents, and what a step of writing took beside what it must."""

    side: str
    incidents: int
    prompt_tokens: float
    read_tokens: float
    read_per_second: float
    first_token_seconds: float
    written_tokens: float
    written_per_second: float
    read_seconds: float
    write_seconds: float
    seconds: float
    steps: float
    step_seconds: float
    floor_seconds: float
    times_floor: float
    drafted_tokens: float
    accepted_tokens: float
    interventions: float


@dataclass(frozen=True)
class Agreement:
    """How far answers with drafts are those without.

    Attributes:
        equal: answers that are the same, of `answers`.
        equal_tokens: tokens before the first difference, of the `tokens` of the longer one.
    """

    answers: int
    equal: int
    tokens: int
    equal_tokens: int


@dataclass(frozen=True)
class PairedResult:
    """A pair of sides.

    Attributes:
        median: of the pairs' ratios.
        total: of all seconds with over all without.
        ratios: of each pair, in the order of the rounds.
        agreement: None where answers were given.
    """

    name: str
    title: str
    having: str
    without: str
    pairs: int
    median: Ratio
    total: Ratio
    ratios: list[float]
    agreement: Agreement | None


@dataclass(frozen=True)
class Summary:
    """What a run says."""

    run: Run
    bytes_per_second: float
    bandwidth_method: str
    peak_bytes: int
    sides: list[SideMeans]
    comparisons: list[PairedResult]


def summary(results: Results) -> Summary:
    """What the timings of a run say; of a run that was cut off, those that are there."""
    by_side: dict[str, dict[int, Timing]] = {}
    for timing in results.timings:
        by_side.setdefault(timing.side, {})[timing.round] = timing
    bandwidth = median([one.bytes_per_second for one in results.timings] or [0.0])
    floor = results.run.weight_bytes / bandwidth if bandwidth else 0.0
    return Summary(
        run=results.run,
        bytes_per_second=bandwidth,
        bandwidth_method=METHOD,
        peak_bytes=max((one.peak_bytes for one in results.timings), default=0),
        sides=[
            _means(side.name, list(by_side[side.name].values()), floor)
            for side in dict.fromkeys((DEFAULT, *sides_of(COMPARISONS)))
            if side.name in by_side
        ],
        comparisons=[
            compared
            for comparison in COMPARISONS
            if (compared := _compared(comparison, by_side, replay=results.run.replay))
        ],
    )


def _means(side: str, timings: Sequence[Timing], floor: float) -> SideMeans:
    def total(key: str) -> float:
        return sum(getattr(timing, key) for timing in timings)

    def mean(key: str) -> float:
        return total(key) / len(timings)

    step_seconds = total("write_seconds") / max(1, total("steps"))
    return SideMeans(
        side=side,
        incidents=len(timings),
        prompt_tokens=mean("prompt_tokens"),
        read_tokens=mean("read_tokens"),
        read_per_second=total("read_tokens") / total("read_seconds"),
        first_token_seconds=mean("first_token_seconds"),
        written_tokens=mean("written_tokens"),
        written_per_second=total("written_tokens") / total("write_seconds"),
        read_seconds=mean("read_seconds"),
        write_seconds=mean("write_seconds"),
        seconds=mean("seconds"),
        steps=mean("steps"),
        step_seconds=step_seconds,
        floor_seconds=floor,
        times_floor=step_seconds / floor,
        drafted_tokens=mean("drafted_tokens"),
        accepted_tokens=mean("accepted_tokens"),
        interventions=mean("interventions"),
    )


def _compared(
    comparison: Comparison, by_side: Mapping[str, Mapping[int, Timing]], *, replay: bool
) -> PairedResult | None:
    """The rounds that have both sides; None where none has."""
    without, having = (by_side.get(side.name, {}) for side in comparison.sides)
    pairs = [(without[i], having[i]) for i in sorted(without.keys() & having.keys())]
    if not pairs:
        return None
    ratios = [one.seconds / other.seconds for other, one in pairs]
    others, ones = ([timing.seconds for timing in of] for of in zip(*pairs, strict=True))
    alike = comparison.name == "drafts" and not replay
    return PairedResult(
        name=comparison.name,
        title=comparison.title,
        having=comparison.having.name,
        without=comparison.without.name,
        pairs=len(pairs),
        median=Ratio(median(ratios), *intervals.of_median(ratios)),
        total=Ratio(sum(ones) / sum(others), *intervals.of_groups(ones, others)),
        ratios=ratios,
        agreement=_agreement(pairs) if alike else None,
    )


def _agreement(pairs: Sequence[tuple[Timing, Timing]]) -> Agreement:
    answers = [
        (one.answers[task], other.answers[task]) for one, other in pairs for task in one.answers
    ]
    return Agreement(
        answers=len(answers),
        equal=sum(one == other for one, other in answers),
        tokens=sum(max(len(one), len(other)) for one, other in answers),
        equal_tokens=sum(shared_length(one, other) for one, other in answers),
    )
