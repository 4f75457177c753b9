"""From source files to tables: the files of a folder in, `data/tables/*.parquet` out.

Every row read ends in the tables or in `rejects`, with its file, place, reason and text. A row
is rejected whole where it cannot be used, and by entry where only one model's part cannot.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from immune_data.common import textfile
from immune_data.common.processes import behind, in_order
from immune_data.contract.tokens import count
from immune_data.read.measures import lengths
from immune_data.read.sources import InputFile, Record, Source, input_files
from immune_data.read.tables import Writers, validated
from immune_data.read.tables import check as check_tables
from immune_data.recipes import SCORE_MAX, SUB_SCORE_MAX, Model, Recipe

if TYPE_CHECKING:
    import pyarrow as pa

# tiktoken gives up on runs of about a million white-space characters.
_LONGEST_BLANK = 100_000
_BLANK = re.compile(rf"\s{{{_LONGEST_BLANK}}}")

_BATCH_CHARS = 1 << 23
_BATCH_ROWS = 1 << 13


class _SummaryAnswer(Struct):
    summary: str | None = None
    behavior_analysis: str | None = None


class _CauseRiskAnswer(Struct):
    cause_analysis: str | None = None
    risk_assessment: str | None = None


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


class _Dataset(Struct):
    incident_id: str | None = None
    category: str | None = None
    source_ip: str | None = None
    timewindow: str | None = None
    timeline: str | None = None
    threat_level: float | None = None
    event_count: int | float | None = None
    dag_analysis: str | None = None


class _SummaryVerdict(Struct):
    incident_id: str | None = None
    scores: dict[str, float | None] = {}
    rankings: dict[str, str | None] | None = None
    justification: str | None = None


class _CauseRiskVerdict(Struct):
    incident_id: str | None = None
    cause_scores: dict[str, _CauseScores | None] = {}
    risk_scores: dict[str, _RiskScores | None] = {}
    rankings: dict[str, str | None] | None = None
    justification: str | None = None
    cause_justification: str | None = None
    risk_justification: str | None = None


_FACTS = ("category", "source_ip", "timewindow", "timeline", "threat_level", "event_count")
_SUB_SCORES = {
    "summary": (),
    "cause": ("evidence_grounding", "cause_specificity", "alternative_hypotheses"),
    "risk": ("risk_calibration", "actionability", "business_impact"),
}
# The keys that tell an object of answers from any other unknown field.
_ANSWER_KEYS = {
    "summaries": {"summary", "behavior_analysis"},
    "cause_risk": {"cause_analysis", "risk_assessment"},
}


class _Rejected(Exception):
    """This row cannot be used."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass
class _Rows:
    """Rows on their way to the tables."""

    tables: dict[str, list[dict]] = field(default_factory=dict)
    chars: int = 0

    def add(self, table: str, **row: Any) -> None:
        self.tables.setdefault(table, []).append(row)
        self.chars += len(row.get("text", ""))

    def reject(
        self, file: str, record: Record, incident_id: str | None, rejected: _Rejected, scope: str
    ) -> None:
        self.chars += len(record.text)
        self.add(
            "rejects",
            file=file,
            row=record.row,
            reason=rejected.reason,
            scope=scope,
            incident_id=incident_id,
            detail=rejected.detail,
            json=record.text,
        )

    @property
    def full(self) -> bool:
        return self.chars >= _BATCH_CHARS or sum(map(len, self.tables.values())) >= _BATCH_ROWS


def normalise(
    source: Path, recipe: Recipe, folder: Path, pool: Executor | None, report=lambda line: None
) -> dict[str, str]:
    """Read the recipe's sources and write all tables into `folder`.

    What comes back is the sha256 of each file as it was read.

    Raises:
        ImmuneError: a source file is not what it should be; `folder` is then to be thrown away.
    """
    reading = _Reading(recipe)
    with Writers(folder) as writers, behind() as do:
        batches = reading.batches(input_files(source, recipe), report)
        for tables in in_order(pool, _measured, batches):
            for table, rows in tables.items():
                do(writers.write, table, rows)
    check_tables(folder, set(recipe.models))
    return {file["file"]: file["sha256"] for file in reading.files}


def _measured(tables: dict[str, list[dict]]) -> dict[str, pa.Table]:
    """Rows as they were read, with the measures of their texts, as the tables' contracts ask."""
    for row in tables.get("dags", ()):
        row["tokens"] = count(row["text"])
        row["text_sha256"] = hashlib.sha256(row["text"].encode()).hexdigest()
    for row in tables.get("responses", ()):
        row["tokens"] = count(row["text"])
        row.update(lengths(row["task"], row["text"]))
    return {table: validated(table, rows) for table, rows in tables.items()}


class _Reading:
    """What must be remembered while files are read: incidents by id, and each file's totals."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._rows = _Rows()
        self._incidents: dict[str, dict[str, Any]] = {}
        self._spellings = {
            spelling: name for name, model in recipe.models.items() for spelling in model.spellings
        }
        self.files: list[dict] = []
        self.judge_runs: list[dict] = []

    def batches(
        self, files: list[InputFile], report: Callable[[str], None]
    ) -> Iterator[dict[str, list[dict]]]:
        """The rows of the tables, some at a time."""
        datasets = [self._read(file, report) for file in files if file.run is None]
        judges = (self._read(file, report) for file in files if file.run is not None)
        for _ in chain(_side_by_side(datasets), *judges):
            if self._rows.full:
                yield self._rows.tables
                self._rows = _Rows()
        yield self._rows.tables
        yield {
            "incidents": [
                {"incident_id": incident_id, **self._incidents[incident_id]}
                for incident_id in sorted(self._incidents)
            ],
            "judge_runs": self.judge_runs,
            "source_files": self.files,
        }

    def _read(self, file: InputFile, report: Callable[[str], None]) -> Iterator[float]:
        """Take a file's rows one by one; what comes is the share of the file that was read."""
        report(f"reading {file.path}")
        source = Source(file.path)
        taken: set[str] = set()
        totals = {"file": file.name, "role": file.role, "rows_rejected": 0}
        self.files.append(totals)
        take = self._dataset_taker(file) if file.run is None else self._judge_taker(file)
        for record in source:
            incident_id = _incident_id(record.value)
            try:
                _accept(record, incident_id, taken)
                take(record, incident_id)
                taken.add(incident_id)
            except _Rejected as reject:
                totals["rows_rejected"] += 1
                self._rows.reject(file.name, record, incident_id, reject, "row")
            yield source.share
        totals |= {
            "sha256": source.sha256,
            "bytes": source.bytes,
            "synthetic": source.synthetic,
            "rows_read": source.rows,
        }

    def _dataset_taker(self, file: InputFile):
        """A function that takes one row of a dataset into the tables."""
        fields = {getattr(model, file.role): name for name, model in self._recipe.models.items()}
        row_type = _row_type(file.role, self._recipe.models)
        answer_keys = _ANSWER_KEYS[file.role]

        def take(record: Record, incident_id: str) -> None:
            row = _convert(record.value, row_type)
            facts = {name: getattr(row, name) for name in _FACTS}
            facts["event_count"] = _whole(row.event_count, "event_count")
            if facts["threat_level"] is not None and not math.isfinite(facts["threat_level"]):
                raise _Rejected("wrong_type", "threat_level is not finite")
            answers = [
                (task, name, text)
                for i, name in enumerate(fields.values())
                for task, text in _answers(getattr(row, f"model_{i}"), file.role)
                if text and not text.isspace()
            ]
            dag = row.dag_analysis
            has_dag = dag is not None and dag != "" and not dag.isspace()
            for text in ([dag] if has_dag else []) + [text for _, _, text in answers]:
                if len(text) > _LONGEST_BLANK and _BLANK.search(text):
                    raise _Rejected(
                        "not_countable", f"a run of over {_LONGEST_BLANK} white-space characters"
                    )
            self._remember(incident_id, file.role, facts)
            undeclared = sorted(
                key
                for key, value in record.value.items()
                if key not in fields and isinstance(value, dict) and answer_keys & value.keys()
            )
            if undeclared:
                self._rows.reject(file.name, record, incident_id, _undeclared(undeclared), "entry")
            if has_dag:
                self._rows.add("dags", incident_id=incident_id, dataset=file.role, text=dag)
            for task, name, text in answers:
                self._rows.add(
                    "responses", incident_id=incident_id, task=task, model=name, text=text
                )

        return take

    def _remember(self, incident_id: str, role: str, facts: dict[str, Any]) -> None:
        known = self._incidents.setdefault(
            incident_id, {**dict.fromkeys(_FACTS), "in_summaries": False, "in_cause_risk": False}
        )
        known[f"in_{role}"] = True
        for name, value in facts.items():
            if value is not None and (known[name] is None or role == "cause_risk"):
                known[name] = value

    def _judge_taker(self, file: InputFile):
        """A function that takes one row of a judge run into the tables."""
        run = file.run
        runs = [
            {
                "judge_run": file.name,
                "task": task,
                "precedence": 1 + self._recipe.sources.judge_runs.index(run),
                "judge": run.judge,
                "provider": run.provider,
                "incidents": 0,
            }
            for task in run.tasks
        ]
        self.judge_runs += runs
        row_type = _SummaryVerdict if run.judges == "summary" else _CauseRiskVerdict

        def take(record: Record, incident_id: str) -> None:
            verdict = _convert(record.value, row_type)
            if incident_id not in self._incidents:
                raise _Rejected("unknown_incident", "in neither dataset")
            complaints = _Complaints()
            ranks = self._ranks(verdict.rankings, complaints)
            judged = {}
            for task in run.tasks:
                scores = verdict.scores if task == "summary" else getattr(verdict, f"{task}_scores")
                judged[task] = self._scores(task, scores, complaints)
            if not any(judged.values()):
                raise _Rejected("no_scores", complaints.all() or "no model has a score")
            for reject in complaints.rejects():
                self._rows.reject(file.name, record, incident_id, reject, "entry")
            for runs_row in runs:
                task = runs_row["task"]
                runs_row["incidents"] += bool(judged[task])
                for position, name, values in judged[task]:
                    self._rows.add(
                        "judgements",
                        incident_id=incident_id,
                        task=task,
                        model=name,
                        judge_run=file.name,
                        row=record.row,
                        position=position,
                        rank=ranks.get(name),
                        **values,
                    )
                own = getattr(verdict, f"{task}_justification", None)
                text = own or verdict.justification
                if text and judged[task]:
                    self._rows.add(
                        "justifications",
                        incident_id=incident_id,
                        task=task,
                        judge_run=file.name,
                        text=text,
                    )

        return take

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
            values |= {name: getattr(entry, name) for name in _SUB_SCORES[task]}
            for part, value in values.items():
                most = SCORE_MAX[task] if part == "score" else SUB_SCORE_MAX
                if value is not None and not 0 <= value <= most:
                    raise _Rejected(
                        "score_out_of_range", f"{task} {part} of {key} is {value}, not 0 to {most}"
                    )
            judged.append((position, name, values))
        return judged

    def _ranks(self, rankings: dict[str, str | None] | None, complaints: _Complaints) -> dict:
        ranks: dict[str, int] = {}
        for place, key in (rankings or {}).items():
            digits = place.lstrip("0")
            if not (digits.isascii() and digits.isdigit() and len(digits) < 4):
                raise _Rejected("wrong_type", f"rankings has the place {place!r}")
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

    def rejects(self) -> list[_Rejected]:
        found = []
        if self.undeclared:
            found.append(_undeclared(sorted(self.undeclared)))
        if self.repeated:
            found.append(_Rejected("repeated_model", ", ".join(sorted(self.repeated))))
        return found

    def all(self) -> str:
        return "; ".join(f"{reject.reason}: {reject.detail}" for reject in self.rejects())


def _undeclared(names: list[str]) -> _Rejected:
    return _Rejected("undeclared_model", ", ".join(names))


def _side_by_side(readings: list[Iterator[float]]) -> Iterator[None]:
    """Step the reading that is behind, so that all are at the same incidents at the same time.

    What the datasets hold of one incident is much alike, and a line is counted once while it is
    remembered.
    """
    shares = dict.fromkeys(readings, 0.0)
    while shares:
        least = min(shares, key=shares.__getitem__)
        share = next(least, None)
        if share is None:
            del shares[least]
        else:
            shares[least] = share
            yield


def _incident_id(value: dict[str, Any]) -> str | None:
    incident_id = value.get("incident_id")
    return incident_id if isinstance(incident_id, str) and incident_id.strip() else None


def _accept(record: Record, incident_id: str | None, taken: set[str]) -> None:
    if record.repeated_key is not None:
        raise _Rejected("repeated_key", f"one of its objects holds {record.repeated_key!r} twice")
    if incident_id is None:
        found = record.value.get("incident_id")
        if found is not None and not isinstance(found, str):
            raise _Rejected("wrong_type", "incident_id is not text")
        raise _Rejected("no_incident_id", "incident_id is missing or empty")
    if incident_id in taken:
        raise _Rejected("duplicate_incident", "an earlier row of this file has this incident_id")


def _row_type(role: str, models: dict[str, Model]) -> type[_Dataset]:
    """`_Dataset` with one field a model: an answer object, or the real data's other forms."""
    answer = (_SummaryAnswer if role == "summaries" else _CauseRiskAnswer) | str | None
    names = [f"model_{i}" for i in range(len(models))]
    return msgspec.defstruct(
        f"{role}_row",
        [(name, answer, None) for name in names],
        bases=(_Dataset,),
        rename=dict(zip(names, (getattr(model, role) for model in models.values()), strict=True)),
    )


def _answers(answer: Struct | str | None, role: str) -> Iterator[tuple[str, str | None]]:
    match answer:
        case str() if role == "summaries":
            yield "summary", answer
        case _SummaryAnswer():
            yield "summary", answer.summary
        case _CauseRiskAnswer():
            yield "cause", answer.cause_analysis
            yield "risk", answer.risk_assessment


def _convert(value: dict[str, Any], row_type: type[Struct]) -> Any:
    try:
        return msgspec.convert(value, row_type)
    except msgspec.ValidationError as error:
        raise _Rejected("wrong_type", str(error).replace("`", "")) from None


def _whole(number: int | float | None, name: str) -> int | None:
    """A count that may be written `15.0`."""
    if number is None:
        return None
    whole = isinstance(number, int) or number.is_integer()
    if not whole or not 0 <= number < 2**63:
        raise _Rejected("wrong_type", f"{name} is {number}, not a whole number from 0")
    return int(number)
