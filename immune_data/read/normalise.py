"""From source files to tables: the files of a folder in, `data/tables/*.parquet` out.

Every row read ends in the tables or in `rejects`, with its file, place, reason and text. A row
is rejected whole where it cannot be used, and by entry where only one model's part cannot.
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
from immune_data.read.rows import Batch, Rejected, Taken
from immune_data.read.tables import Writers, validated
from immune_data.read.tables import check as check_tables
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
        self._batch = Batch()
        self._incidents: dict[str, dict[str, Any]] = {}
        self._judge_runs: list[dict] = []
        self.files: list[dict] = []

    def batches(
        self, files: list[InputFile], report: Callable[[str], None]
    ) -> Iterator[dict[str, list[dict]]]:
        """The rows of the tables, some at a time."""
        datasets = [self._read(file, report) for file in files if file.run is None]
        judges = (self._read(file, report) for file in files if file.run is not None)
        yield from self._full(chain(_side_by_side(datasets), *judges))
        yield from self._full(self._add_incidents())
        yield {"judge_runs": self._judge_runs, "source_files": self.files}

    def _full(self, adding: Iterator[object]) -> Iterator[dict[str, list[dict]]]:
        """The rows that are added, batch by batch."""
        for _ in adding:
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
        """Take a file's rows one by one; what comes is the share of the file that was read."""
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
                accepted = _accepted(record, incident_id, seen)
                taken = reader.take(record, accepted)
            except Rejected as reject:
                rejected += 1
                self._batch.reject(file.name, record, incident_id, reject, "row")
            else:
                seen.add(accepted)
                self._keep(file, record, accepted, taken)
                for task in taken.judged:
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
        """By task the row of `judge_runs` of a judge's file; none of a dataset."""
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

    def _keep(self, file: InputFile, record: Record, incident_id: str, taken: Taken) -> None:
        """Put what a row gives where it belongs."""
        for reject in taken.rejects:
            self._batch.reject(file.name, record, incident_id, reject, "entry")
        for table, row in taken.rows:
            self._batch.add(table, row)
        if file.run is None:
            self._remember(incident_id, file.role, taken.facts)

    def _remember(self, incident_id: str, role: str, facts: dict[str, Any]) -> None:
        known = self._incidents.setdefault(
            incident_id, {**dict.fromkeys(FACTS), "in_summaries": False, "in_cause_risk": False}
        )
        known[f"in_{role}"] = True
        for name, value in facts.items():
            if value is not None and (known[name] is None or role == "cause_risk"):
                known[name] = value


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


def _accepted(record: Record, incident_id: str | None, taken: set[str]) -> str:
    """The incident of a row that can be read.

    Raises:
        Rejected: it cannot be.
    """
    if record.repeated_key is not None:
        raise Rejected("repeated_key", f"one of its objects holds {record.repeated_key!r} twice")
    if incident_id is None:
        found = record.value.get("incident_id")
        if found is not None and not isinstance(found, str):
            raise Rejected("wrong_type", "incident_id is not text")
        raise Rejected("no_incident_id", "incident_id is missing or empty")
    if incident_id in taken:
        raise Rejected("duplicate_incident", "an earlier row of this file has this incident_id")
    return incident_id
