"""From source files to tables: the files of a folder in, `data/tables/*.parquet` out.

Every row read ends up in the tables or in `rejects`, with its file, place, reason and text. A row
is rejected as a whole if it cannot be used, and by entry if only one model's part cannot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from immune_data.common.processes import Pool, behind, in_order
from immune_data.contract.source_file import Record, Source
from immune_data.contract.tokens import count
from immune_data.read.datasets import FACTS, DatasetReader
from immune_data.read.input_files import InputFile, input_files
from immune_data.read.judges import JudgeReader
from immune_data.read.measures import lengths
from immune_data.read.rows import Batch, Extract, Rejected
from immune_data.read.tables import Writers, validate
from immune_data.recipes import Recipe

if TYPE_CHECKING:
    import pyarrow as pa


def normalise(
    source: Path,
    recipe: Recipe,
    folder: Path,
    pool: Pool | None,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, str]:
    """Read the recipe's sources and write all tables into `folder`.

    Returns the sha256 of each file as it was read.

    Raises:
        ImmuneError: a source file is not valid; the content of `folder` is then useless.
    """
    reading = _Reading(recipe)
    with Writers(folder) as writers, behind() as do:
        batches = reading.batches(input_files(source, recipe), report)
        for tables in in_order(pool, _with_measures, batches):
            for table, rows in tables.items():
                do(writers.write, table, rows)
    return {file["file"]: file["sha256"] for file in reading.files}


def _with_measures(tables: dict[str, list[dict]]) -> dict[str, pa.Table]:
    """Rows as they were read, with the measures of their texts, validated."""
    for row in tables.get("dags", ()):
        row["tokens"] = count(row["text"])
        row["text_sha256"] = hashlib.sha256(row["text"].encode()).hexdigest()
    for row in tables.get("responses", ()):
        row["tokens"] = count(row["text"])
        row.update(lengths(row["task"], row["text"]))
    return {table: validate(table, rows) for table, rows in tables.items()}


class _Reading:
    """The state while files are read: incidents by id, and each file's totals."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._batch = Batch()
        self._incidents: dict[str, dict[str, Any]] = {}
        self._judge_runs: list[dict] = []
        self.files: list[dict] = []

    def batches(
        self, files: list[InputFile], report: Callable[[str], None]
    ) -> Iterator[dict[str, list[dict]]]:
        """The rows of the tables, in batches."""
        datasets = [self._read(file, report) for file in files if file.run is None]
        judges = (self._read(file, report) for file in files if file.run is not None)
        yield from self._full(chain(_in_step(datasets), *judges))
        yield from self._full(self._add_incidents())
        yield {"judge_runs": self._judge_runs, "source_files": self.files}

    def _full(self, steps: Iterator[object]) -> Iterator[dict[str, list[dict]]]:
        """The rows that `steps` add, in batches."""
        for _ in steps:
            if self._batch.full:
                yield self._batch.tables
                self._batch = Batch()
        yield self._batch.tables
        self._batch = Batch()

    def _add_incidents(self) -> Iterator[None]:
        for incident_id in sorted(self._incidents):
            self._batch.add(
                "incidents", {"incident_id": incident_id, **self._incidents[incident_id]}
            )
            yield

    def _read(self, file: InputFile, report: Callable[[str], None]) -> Iterator[float]:
        """Read a file's rows one by one, yielding the share of the file read so far."""
        report(f"reading {file.path}")
        source = Source(file.path)
        seen: set[str] = set()
        rejected = 0
        totals: dict[str, Any] = {"file": file.name, "role": file.role}
        self.files.append(totals)
        runs = self._runs(file)
        self._judge_runs += runs.values()
        reader = (
            DatasetReader(file, self._recipe)
            if file.run is None
            else JudgeReader(file, file.run, self._recipe, self._incidents)
        )
        for record in source:
            incident_id = _incident_id(record.value)
            try:
                checked_id = _check_row(record, incident_id, seen)
                extract = reader.extract(record, checked_id)
            except Rejected as reject:
                rejected += 1
                self._batch.reject(file.name, record, incident_id, reject, "row")
            else:
                seen.add(checked_id)
                self._store(file, record, checked_id, extract)
                for task in extract.judged:
                    runs[task]["incidents"] += 1
            yield source.share
        totals |= {
            "sha256": source.sha256,
            "bytes": source.bytes,
            "synthetic": source.synthetic,
            "rows_read": source.rows,
            "rows_rejected": rejected,
        }

    def _runs(self, file: InputFile) -> dict[str, dict[str, Any]]:
        """The row of `judge_runs` for each task of a judge's file; none for a dataset."""
        run = file.run
        if run is None:
            return {}
        return {
            task: {
                "judge_run": file.name,
                "task": task,
                "precedence": 1 + self._recipe.sources.judge_runs.index(run),
                "judge": run.judge,
                "provider": run.provider,
                "incidents": 0,
            }
            for task in run.tasks
        }

    def _store(self, file: InputFile, record: Record, incident_id: str, extract: Extract) -> None:
        """Put the content of a row into the current batch."""
        for reject in extract.rejects:
            self._batch.reject(file.name, record, incident_id, reject, "entry")
        for table, row in extract.rows:
            self._batch.add(table, row)
        if file.run is None:
            self._remember(incident_id, file.role, extract.facts)

    def _remember(self, incident_id: str, role: str, facts: dict[str, Any]) -> None:
        facts_so_far = self._incidents.setdefault(
            incident_id, {**dict.fromkeys(FACTS), "in_summaries": False, "in_cause_risk": False}
        )
        facts_so_far[f"in_{role}"] = True
        for name, value in facts.items():
            if value is not None and (facts_so_far[name] is None or role == "cause_risk"):
                facts_so_far[name] = value


def _in_step(readings: list[Iterator[float]]) -> Iterator[None]:
    """Advance the reading that is behind, so that all are at the same incidents at the same time.

    The datasets have much the same text on one incident, and a line is counted only once while its
    count is cached.
    """
    shares = dict.fromkeys(readings, 0.0)
    while shares:
        reading = min(shares, key=shares.__getitem__)
        share = next(reading, None)
        if share is None:
            del shares[reading]
        else:
            shares[reading] = share
            yield


def _incident_id(value: dict[str, Any]) -> str | None:
    incident_id = value.get("incident_id")
    return incident_id if isinstance(incident_id, str) and incident_id.strip() else None


def _check_row(record: Record, incident_id: str | None, earlier: set[str]) -> str:
    """The incident of a row.

    Raises:
        Rejected: the row cannot be used.
    """
    if record.repeated_key is not None:
        raise Rejected("repeated_key", f"one of its objects holds {record.repeated_key!r} twice")
    if incident_id is None:
        value = record.value.get("incident_id")
        if value is not None and not isinstance(value, str):
            raise Rejected("wrong_type", "incident_id is not text")
        raise Rejected("no_incident_id", "incident_id is missing or empty")
    if incident_id in earlier:
        raise Rejected("duplicate_incident", "an earlier row of this file has this incident_id")
    return incident_id
