"""What verdicts say of their judge: verdicts and the answers they are about in, numbers out."""

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
class TaskReport:
    """What the verdicts on one task say of the judge."""

    task: str
    incidents: int
    means: dict[str, float]  # by candidate
    best: dict[str, int]  # by candidate, the incidents where its answer is the best
    places: list[Estimate | None]  # an answer's gain in each place, from the first
    noise: Noise | None
    length: Estimate | None
    again: Agreement | None

    @property
    def first(self) -> Estimate | None:
        """An answer's gain in the first place, where there are several places."""
        return self.places[0] if len(self.places) > 1 else None


@dataclass
class Judging:
    """All of it; `is_balanced`: every answer was in every place equally often."""

    tasks: list[TaskReport]
    is_balanced: bool
    answers: int = 0
    addressing: Counter[str] = field(default_factory=Counter)  # answers, by candidate
    evidence_addressing: int = 0  # incidents

    def as_dictionary(self) -> dict[str, Any]:
        return {
            "tasks": [asdict(task) for task in self.tasks],
            "is_balanced": self.is_balanced,
            "answers": self.answers,
            "answers_addressing_a_judge": dict(sorted(self.addressing.items())),
            "evidence_addressing_a_model": self.evidence_addressing,
        }


def make(
    cases: Sequence[Case], verdicts: Verdicts, tasks: Sequence[str], earlier: Earlier | None
) -> Judging:
    """What verdicts, and the answers that they are about, say of the judge."""
    by_task = agreement.verdicts(verdicts.rows)
    report = Judging(
        [_of_task(task, by_task.get(task, []), cases, earlier) for task in tasks],
        all(_is_balanced(verdict) for of_task in by_task.values() for verdict in of_task),
    )
    for case in cases:
        report.evidence_addressing += addressed.model(case.incident.dag_analysis or "") is not None
        for name, answers in case.answers.items():
            report.answers += 1
            report.addressing[name] += any(addressed.judge(answers[task]) for task in tasks)
    report.addressing = +report.addressing
    return report


def _of_task(
    task: str, verdicts: Sequence[Verdict], cases: Iterable[Case], earlier: Earlier | None
) -> TaskReport:
    lengths = {
        (case.incident.incident_id, name): len(answers[task])
        for case in cases
        for name, answers in case.answers.items()
    }
    criteria = agreement.CRITERIA[task]
    before = earlier.verdicts.get(task, []) if earlier else []
    return TaskReport(
        task=task,
        incidents=len(verdicts),
        means=_means(verdicts),
        best=dict(Counter(verdict.best for verdict in verdicts)),
        places=agreement.place_preference(verdicts),
        noise=agreement.noise(verdicts, criteria),
        length=agreement.length_preference(verdicts, lengths),
        again=agreement.agreement(before, verdicts),
    )


def _means(verdicts: Iterable[Verdict]) -> dict[str, float]:
    by_name: dict[str, list[float]] = {}
    for verdict in verdicts:
        for name, score in verdict.scores.items():
            by_name.setdefault(name, []).append(score)
    return {name: sum(scores) / len(scores) for name, scores in sorted(by_name.items())}


def _is_balanced(verdict: Verdict) -> bool:
    """Whether every answer was in every place equally often."""
    counts: Counter[tuple[str, int]] = Counter(
        (name, place) for call in verdict.calls for place, name in enumerate(call.order)
    )
    names, places = {name for name, _ in counts}, {place for _, place in counts}
    return len(set(counts.values())) <= 1 and len(counts) == len(names) * len(places)
