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
from immune_data.read.rows import Extract, Rejected, convert, undeclared_models
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

    def for_task(self, task: str) -> Call:
        return Call(tuple(self.order), self.scores)


class _CauseRiskCall(Struct):
    order: list[str]
    cause_scores: dict[str, _CauseScores]
    risk_scores: dict[str, _RiskScores]

    def for_task(self, task: str) -> Call:
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
    """Reads the rows of one judge run, which must be about `known` incidents."""

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

    def extract(self, record: Record, incident_id: str) -> Extract:
        """The content of a row.

        Raises:
            Rejected: it cannot be used.
        """
        verdict = convert(record.value, self._row_type)
        if incident_id not in self._known:
            raise Rejected("unknown_incident", "in neither dataset")
        rejected = _RejectedEntries()
        ranks = self._ranks(verdict.rankings, rejected)
        scores_by_task = {
            task: self._scores(task, verdict.scores_of(task), rejected) for task in self._tasks
        }
        if not any(scores_by_task.values()):
            raise Rejected("no_scores", rejected.text() or "no model has a score")
        rows: list[tuple[str, dict[str, Any]]] = []
        for task, scores in scores_by_task.items():
            key = {"incident_id": incident_id, "task": task, "judge_run": self._file}
            calls = call_rows(
                task,
                {model: values["score"] for _, model, values in scores},
                [call.for_task(task) for call in verdict.calls or ()],
                self._spellings,
            )
            rows += (("judge_calls", {**key, **row}) for row in calls)
            spread_by_model = spreads(task, verdict.spread_of(task), calls, self._spellings)
            for position, model, values in scores:
                ranking = {"row": record.row, "position": position, "rank": ranks.get(model)}
                rows.append(
                    (
                        "judgements",
                        {
                            **key,
                            "model": model,
                            **ranking,
                            **values,
                            **spread_by_model.get(model, {}),
                        },
                    )
                )
            text = getattr(verdict, f"{task}_justification", None) or verdict.justification
            if text and scores:
                rows.append(("justifications", {**key, "text": text}))
        tasks = [task for task, scores in scores_by_task.items() if scores]
        return Extract(rows, rejected.rejects(), judged=tasks)

    def _scores(
        self, task: str, scores: dict[str, Any], rejected: _RejectedEntries
    ) -> list[tuple[int, str, dict[str, float]]]:
        """(position, model, score and sub-scores) of one record, for declared models only."""
        scored: list[tuple[int, str, dict[str, float]]] = []
        keys: dict[str, str] = {}
        for position, (key, entry) in enumerate(scores.items(), start=1):
            name = self._spellings.get(key)
            if name is None:
                rejected.undeclared.add(key)
                continue
            if entry is None:
                continue
            if name in keys:
                rejected.repeated.add(f"{key} after {keys[name]}")
                continue
            keys[name] = key
            values = {"score": entry if task == "summary" else entry.total}
            values |= {name: getattr(entry, name) for name in SUB_SCORES[task]}
            for part, value in values.items():
                maximum = SCORE_MAX[task] if part == "score" else SUB_SCORE_MAX
                if value is not None and not 0 <= value <= maximum:
                    raise Rejected(
                        "score_out_of_range",
                        f"{task} {part} of {key} is {value}, not 0 to {maximum}",
                    )
            scored.append((position, name, values))
        return scored

    def _ranks(self, rankings: dict[str, str | None] | None, rejected: _RejectedEntries) -> dict:
        ranks: dict[str, int] = {}
        for place, key in (rankings or {}).items():
            digits = place.lstrip("0")
            if not (digits.isascii() and digits.isdigit() and len(digits) < 4):
                raise Rejected("wrong_type", f"rankings has the place {place!r}")
            name = self._spellings.get(textfile.composed(key)) if key is not None else None
            if name is None:
                if key is not None:
                    rejected.undeclared.add(key)
                continue
            ranks[name] = min(int(place), ranks.get(name, 1000))
        return ranks


@dataclass
class _RejectedEntries:
    """Entries of one row that are rejected: one reject per reason, for any number of entries."""

    undeclared: set[str] = field(default_factory=set)
    repeated: set[str] = field(default_factory=set)

    def rejects(self) -> list[Rejected]:
        rejects = []
        if self.undeclared:
            rejects.append(undeclared_models(sorted(self.undeclared)))
        if self.repeated:
            rejects.append(Rejected("repeated_model", ", ".join(sorted(self.repeated))))
        return rejects

    def text(self) -> str:
        return "; ".join(f"{reject.reason}: {reject.detail}" for reject in self.rejects())
