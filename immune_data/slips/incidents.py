"""Write the results: the work database in, `incidents.json` and a Parquet file of events out.

Both are written in one pass over the events, which come incident by incident, so that memory
contains one incident's evidence at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from immune_data.contract import alerts, dag
from immune_data.slips import arrow, sql
from immune_data.slips.work import Work

_MINUTE = 60_000_000  # microseconds
_ROW_GROUP = 1 << 12  # rows of the Parquet file that are written together

_SCHEMA = pa.schema(
    {
        "incident_id": pa.string(),
        "event_id": pa.string(),
        "time": pa.timestamp("us"),
        "severity": pa.string(),
        "threat_level": pa.string(),
        "confidence": pa.float64(),
        "kind": pa.string(),
        "attacker": pa.string(),
        "victim": pa.string(),
        "hostname": pa.string(),
        "port": pa.int32(),
        "protocol": pa.string(),
        "flows": pa.list_(pa.string()),
        "text": pa.string(),
        "file": pa.string(),
        "line": pa.int64(),
    }
)


@dataclass(frozen=True)
class _Incident:
    incident_id: str
    category: str | None
    host: str
    window: int | None
    timeline: str | None
    window_start: int | None
    offset: int
    threat_level: float | None
    event_count: int
    events_missing: int
    capture: str | None
    dialect: str

    def facts(self) -> dag.Facts:
        start = None if self.window_start is None else self.window_start // _MINUTE
        return dag.Facts(
            self.incident_id, self.host, self.window, self.timeline, self.threat_level, start
        )

    def row(self, text: str) -> dict[str, Any]:
        """The incident as an object of `incidents.json`."""
        return {
            "incident_id": self.incident_id,
            "category": self.category,
            "source_ip": self.host,
            "timewindow": None if self.window is None else str(self.window),
            "timeline": self.timeline,
            "threat_level": self.threat_level,
            "event_count": self.event_count,
            "dag_analysis": text,
            "capture": self.capture,
            "dialect": self.dialect,
            "linked_by": "window" if self.dialect == alerts.IDEA0 else "ids",
            "events_missing": self.events_missing,
        }


class _Writer:
    """Writes incidents in the order of their ids, with the evidence that is added."""

    def __init__(self, file: BinaryIO, incidents: Iterator[_Incident], form: str) -> None:
        self._file = file
        self._incidents = incidents
        self._form = form
        self._written = False
        self._open: _Incident | None = None
        self._dag = dag.Dag(form)

    def add(self, incident_id: str, place: int, event: alerts.Event, kind: str) -> None:
        while self._open is None or self._open.incident_id != incident_id:
            self._close()
            self._open = next(self._incidents)
        instant = event.time.instant
        self._dag.add(
            dag.Event(
                event.severity,
                event.threat_level,
                event.victim,
                event.hostname,
                event.port,
                event.text,
                place,
                instant,
                (instant + self._open.offset) // _MINUTE,
            ),
            kind,
        )

    def end(self) -> None:
        """Write the rest: incidents without events, and the end of the array."""
        self._close()
        for incident in self._incidents:
            self._open = incident
            self._close()
        self._file.write(b"\n]\n" if self._written else b"[]\n")

    def _close(self) -> None:
        if self._open is None:
            return
        row = self._open.row(self._dag.text(self._open.facts()))
        self._file.write(b",\n" if self._written else b"[\n")
        self._file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode())
        self._written = True
        self._open, self._dag = None, dag.Dag(self._form)


def write(work: Work, incidents_file: Path, events_file: Path, form: str) -> None:
    """Write the chosen incidents with evidence of `form`, and the events."""
    incidents = (_Incident(*row) for row in work.rows(sql.text("written/incidents.sql")))
    with (
        incidents_file.open("wb") as file,
        pq.ParquetWriter(events_file, _SCHEMA, compression="zstd") as parquet,
    ):
        writer = _Writer(file, incidents, form)
        rows: list[tuple[Any, ...]] = []
        for incident_id, place, name, line, *spool_place in work.rows(
            sql.text("written/events.sql")
        ):
            event = work.spool.get(*spool_place)
            kind = dag.kind_of(event.text, event.threat_level)
            if incident_id is not None:
                writer.add(incident_id, place, event, kind)
            rows.append(_row(incident_id, event, kind, name, line))
            if len(rows) == _ROW_GROUP:
                parquet.write_table(arrow.table(rows, _SCHEMA))
                rows.clear()
        if rows:
            parquet.write_table(arrow.table(rows, _SCHEMA))
        writer.end()


def _row(
    incident_id: str | None, event: alerts.Event, kind: str, file: str, line: int
) -> tuple[Any, ...]:
    """An event as a row of the Parquet file."""
    return (
        incident_id,
        event.event_id,
        event.time.written,
        event.severity,
        event.threat_level,
        event.confidence,
        kind,
        event.attacker,
        event.victim,
        event.hostname,
        event.port,
        event.protocol,
        event.flows,
        event.text,
        file,
        line,
    )
