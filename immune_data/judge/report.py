"""What a judging says of the judge: verdicts and the answers they are on in, numbers out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from immune_data.contract import addressed, agreement
from immune_data.contract.agreement import Agreement, Estimate, Noise, Verdict
from immune_data.judge.again import Earlier
from immune_data.judge.answers import Case
from immune_data.judge.verdicts import Verdicts


@dataclass(frozen=True)
class OfTask:
    """What the verdicts on one task say."""

    task: str
    incidents: int
    means: dict[str, float]  # by candidate
    best: dict[str, int]  # of how many incidents a candidate has the best answer
    places: list[Estimate | None]  # what an answer gains in each, from the first
    noise: Noise | None
    length: Estimate | None
    again: Agreement | None

    @property
    def first(self) -> Estimate | None:
        """What an answer gains in the first place, where there are several."""
        return self.places[0] if len(self.places) > 1 else None


@dataclass
class Judging:
    """All of it; `is_balanced` says that every answer stood in every place equally often."""

    tasks: list[OfTask]
    is_balanced: bool
    answers: int = 0
    addressing: Counter[str] = field(default_factory=Counter)  # answers, by candidate
    evidence_addressing: int = 0  # incidents

    def as_dictionary(self) -> dict[str, Any]:
        return {
            "tasks": [asdict(one) for one in self.tasks],
            "is_balanced": self.is_balanced,
            "answers": self.answers,
            "answers_addressing_a_judge": dict(sorted(self.addressing.items())),
            "evidence_addressing_a_model": self.evidence_addressing,
        }


def make(
    cases: Sequence[Case], made: Verdicts, tasks: Sequence[str], earlier: Earlier | None
) -> Judging:
    """What verdicts, and the answers that they are on, say of the judge."""
    verdicts = agreement.verdicts(made.rows)
    report = Judging(
        [_of_task(task, verdicts.get(task, []), cases, earlier) for task in tasks],
        all(_is_balanced(one) for of in verdicts.values() for one in of),
    )
    for case in cases:
        report.evidence_addressing += addressed.model(case.incident.dag_analysis or "") is not None
        for name, of in case.answers.items():
            report.answers += 1
            report.addressing[name] += any(addressed.judge(of[task]) for task in tasks)
    report.addressing = +report.addressing
    return report


def _of_task(
    task: str, verdicts: Sequence[Verdict], cases: Iterable[Case], earlier: Earlier | None
) -> OfTask:
    lengths = {
        (case.incident.incident_id, name): len(of[task])
        for case in cases
        for name, of in case.answers.items()
    }
    criteria = agreement.CRITERIA[task]
    before = earlier.verdicts.get(task, []) if earlier else []
    return OfTask(
        task=task,
        incidents=len(verdicts),
        means=_means(verdicts),
        best=dict(Counter(one.best for one in verdicts)),
        places=agreement.place_preference(verdicts),
        noise=agreement.noise(verdicts, criteria),
        length=agreement.length_preference(verdicts, lengths),
        again=agreement.agreement(before, verdicts),
    )


def _means(verdicts: Iterable[Verdict]) -> dict[str, float]:
    given: dict[str, list[float]] = {}
    for verdict in verdicts:
        for name, score in verdict.scores.items():
            given.setdefault(name, []).append(score)
    return {name: sum(of) / len(of) for name, of in sorted(given.items())}


def _is_balanced(verdict: Verdict) -> bool:
    """Whether every answer stood in every place equally often."""
    stood: Counter[tuple[str, int]] = Counter(
        (name, place) for call in verdict.calls for place, name in enumerate(call.order)
    )
    return len(set(stood.values())) <= 1 and len(stood) == len({name for name, _ in stood}) * len(
        {place for _, place in stood}
    )
