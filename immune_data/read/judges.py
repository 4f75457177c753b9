"""Read a judge run: a row of its file in, scores, ranks and justifications of an incident out."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from immune_data.common import textfile
from immune_data.contract.agreement import Call
from immune_data.contract.scales import SUB_SCORES
from immune_data.contract.source_file import Record
from immune_data.read.calls import call_rows, spreads
from immune_data.read.input_files import InputFile
from immune_data.read.rows import Rejected, Taken, converted, undeclared
from immune_data.recipes import SCORE_MAX, SUB_SCORE_MAX, JudgeRun, Recipe


class _CauseScores(Struct):
    total: float
    evidence_grounding: float | None = None
    cause_specificity: float | None = None
    alternative_hypotheses: float | None = None


class _RiskScores(Struct):
    total: float
    risk_calibration: float | None = None
    actionability: float | None = None
    business_impact: float | None = None


class _SummaryCall(Struct):
    order: list[str]
    scores: dict[str, float]

    def of(self, task: str) -> Call:
        return Call(tuple(self.order), self.scores)


class _CauseRiskCall(Struct):
    order: list[str]
    cause_scores: dict[str, _CauseScores]
    risk_scores: dict[str, _RiskScores]

    def of(self, task: str) -> Call:
        scores = self.cause_scores if task == "cause" else self.risk_scores
        return Call(tuple(self.order), {name: entry.total for name, entry in scores.items()})


class _SummaryVerdict(Struct):
    incident_id: str | None = None
    scores: dict[str, float | None] = {}
    rankings: dict[str, str | None] | None = None
    justification: str | None = None
    calls: list[_SummaryCall] | None = None
    spread: dict[str, float | None] | None = None

    def scores_of(self, task: str) -> dict[str, Any]:
        return self.scores

    def spread_of(self, task: str) -> dict[str, float | None]:
        return self.spread or {}


class _Spread(Struct):
    cause: dict[str, float | None] = {}
    risk: dict[str, float | None] = {}


class _CauseRiskVerdict(Struct):
    incident_id: str | None = None
    cause_scores: dict[str, _CauseScores | None] = {}
    risk_scores: dict[str, _RiskScores | None] = {}
    rankings: dict[str, str | None] | None = None
    justification: str | None = None
    cause_justification: str | None = None
    risk_justification: str | None = None
    calls: list[_CauseRiskCall] | None = None
    spread: _Spread | None = None

    def scores_of(self, task: str) -> dict[str, Any]:
        return self.cause_scores if task == "cause" else self.risk_scores

    def spread_of(self, task: str) -> dict[str, float | None]:
        return getattr(self.spread or _Spread(), task)


class JudgeReader:
    """Takes the rows of one judge run, which are of `known` incidents."""

    def __init__(
        self, file: InputFile, run: JudgeRun, recipe: Recipe, known: Container[str]
    ) -> None:
        self._file = file.name
        self._tasks = run.tasks
        self._row_type = _SummaryVerdict if run.judges == "summary" else _CauseRiskVerdict
        self._known = known
        self._spellings = {
            spelling: name for name, model in recipe.models.items() for spelling in model.spellings
        }

    def take(self, record: Record, incident_id: str) -> Taken:
        """What a row gives.

        Raises:
            Rejected: it cannot be used.
        """
        verdict = converted(record.value, self._row_type)
        if incident_id not in self._known:
            raise Rejected("unknown_incident", "in neither dataset")
        complaints = _Complaints()
        ranks = self._ranks(verdict.rankings, complaints)
        judged = {
            task: self._scores(task, verdict.scores_of(task), complaints) for task in self._tasks
        }
        if not any(judged.values()):
            raise Rejected("no_scores", complaints.all() or "no model has a score")
        rows: list[tuple[str, dict[str, Any]]] = []
        for task, found in judged.items():
            key = {"incident_id": incident_id, "task": task, "judge_run": self._file}
            calls = call_rows(
                task,
                {model: values["score"] for _, model, values in found},
                [call.of(task) for call in verdict.calls or ()],
                self._spellings,
            )
            rows += (("judge_calls", {**key, **row}) for row in calls)
            noted = spreads(task, verdict.spread_of(task), calls, self._spellings)
            for position, model, values in found:
                place = {"row": record.row, "position": position, "rank": ranks.get(model)}
                rows.append(
                    (
                        "judgements",
                        {**key, "model": model, **place, **values, **noted.get(model, {})},
                    )
                )
            text = getattr(verdict, f"{task}_justification", None) or verdict.justification
            if text and found:
                rows.append(("justifications", {**key, "text": text}))
        tasks = [task for task, found in judged.items() if found]
        return Taken(rows, complaints.rejects(), judged=tasks)

    def _scores(
        self, task: str, scores: dict[str, Any], complaints: _Complaints
    ) -> list[tuple[int, str, dict[str, float]]]:
        """(position, model, score and sub-scores) of one record, keys that count only."""
        judged: list[tuple[int, str, dict[str, float]]] = []
        seen: dict[str, str] = {}
        for position, (key, entry) in enumerate(scores.items(), start=1):
            name = self._spellings.get(key)
            if name is None:
                complaints.undeclared.add(key)
                continue
            if entry is None:
                continue
            if name in seen:
                complaints.repeated.add(f"{key} after {seen[name]}")
                continue
            seen[name] = key
            values = {"score": entry if task == "summary" else entry.total}
            values |= {name: getattr(entry, name) for name in SUB_SCORES[task]}
            for part, value in values.items():
                most = SCORE_MAX[task] if part == "score" else SUB_SCORE_MAX
                if value is not None and not 0 <= value <= most:
                    raise Rejected(
                        "score_out_of_range", f"{task} {part} of {key} is {value}, not 0 to {most}"
                    )
            judged.append((position, name, values))
        return judged

    def _ranks(self, rankings: dict[str, str | None] | None, complaints: _Complaints) -> dict:
        ranks: dict[str, int] = {}
        for place, key in (rankings or {}).items():
            digits = place.lstrip("0")
            if not (digits.isascii() and digits.isdigit() and len(digits) < 4):
                raise Rejected("wrong_type", f"rankings has the place {place!r}")
            name = self._spellings.get(textfile.composed(key)) if key is not None else None
            if name is None:
                if key is not None:
                    complaints.undeclared.add(key)
                continue
            ranks[name] = min(int(place), ranks.get(name, 1000))
        return ranks


@dataclass
class _Complaints:
    """Entries of one row that are not taken: one reject a reason, however many entries."""

    undeclared: set[str] = field(default_factory=set)
    repeated: set[str] = field(default_factory=set)

    def rejects(self) -> list[Rejected]:
        found = []
        if self.undeclared:
            found.append(undeclared(sorted(self.undeclared)))
        if self.repeated:
            found.append(Rejected("repeated_model", ", ".join(sorted(self.repeated))))
        return found

    def all(self) -> str:
        return "; ".join(f"{reject.reason}: {reject.detail}" for reject in self.rejects())
