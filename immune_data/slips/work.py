"""The alerts that were read, in a temporary database: lines in, the relations of `sql/` out.

Memory contains one batch of rows and what DuckDB may use, whatever the size of the files; the rest
is on disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from immune_data.common import duck
from immune_data.common.errors import ImmuneError
from immune_data.contract import alerts
from immune_data.slips import arrow, sql
from immune_data.slips.alert_files import AlertFile, Line
from immune_data.slips.spool import Spool

_MEMORY, _MAX_MEMORY = 64, 1 << 14  # MB that DuckDB may use at first, and if it needs more
_ROWS = 1 << 12  # of a batch
_SHOWN = 1_000  # characters of a rejected line

_FILES = pa.schema({"file": pa.int32(), "name": pa.string(), "capture": pa.string()})
_LINE = {
    "n": pa.int64(),
    "file": pa.int32(),
    "line": pa.int64(),
    "digest": pa.binary(),
    "dialect": pa.string(),
}
_EVENTS = pa.schema(
    {
        **_LINE,
        "event_id": pa.string(),
        "instant": pa.int64(),
        "window_number": pa.int64(),
        "attacker": pa.string(),
        "spool_begin": pa.int64(),
        "spool_length": pa.int64(),
    }
)
_INCIDENTS = pa.schema(
    {
        **_LINE,
        "incident_id": pa.string(),
        "capture": pa.string(),
        "category": pa.string(),
        "host": pa.string(),
        "window_number": pa.int64(),
        "linked_window": pa.int64(),
        "timeline": pa.string(),
        "window_start": pa.int64(),
        "utc_offset": pa.int64(),
        "threat_level": pa.float64(),
        "written_instant": pa.int64(),
        "events_named": pa.int64(),
    }
)
_LINKS = pa.schema({"n": pa.int64(), "event_id": pa.string(), "place": pa.int64()})
_REJECTS = pa.schema(
    {
        "file": pa.int32(),
        "line": pa.int64(),
        "reason": pa.string(),
        "detail": pa.string(),
        "text": pa.string(),
    }
)
_SETTINGS = pa.schema(
    {
        "since": pa.int64(),
        "sample": pa.int64(),
        "seed": pa.int64(),
        "per_capture": pa.int64(),
        "per_host": pa.int64(),
        "tiers": pa.list_(pa.int64()),
    }
)
_UUIDS = ("event_id", "incident_id")


class Work:
    """The temporary database, and the batches of lines for it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, spool: Spool) -> None:
        self.connection = connection
        self.spool = spool
        self._batches = {
            "files": _Batch(_FILES),
            "read_events": _Batch(_EVENTS),
            "read_incidents": _Batch(_INCIDENTS),
            "links": _Batch(_LINKS),
            "read_rejects": _Batch(_REJECTS),
            "settings": _Batch(_SETTINGS),
        }
        self._number = 0
        self._memory = _MEMORY
        for name, batch in self._batches.items():
            connection.register("batch", batch.take())
            columns = ", ".join(_column(column) for column in batch.schema.names)
            connection.execute(f"create table {name} as select {columns} from batch")

    def add_file(self, number: int, file: AlertFile) -> None:
        self._add("files", (number, file.name, file.capture))

    def set(self, **settings: Any) -> None:
        """Set which incidents to write."""
        self._add("settings", tuple(settings[name] for name in _SETTINGS.names))

    def reject(self, file: int, line: Line, reason: str, detail: str) -> None:
        text = line.content
        shown = None if text is None else text[:_SHOWN].decode("utf-8", "backslashreplace")
        self._add("read_rejects", (file, line.number, reason, detail, shown))

    def add(
        self,
        file: int,
        line: Line,
        alert: alerts.Event | alerts.Incident,
        capture: str | None,
        category: str | None,
    ) -> None:
        self._number += 1
        digest = blake2b((line.content or b"").strip(), digest_size=16).digest()
        key = self._number, file, line.number, digest, alert.dialect
        if isinstance(alert, alerts.Event):
            # Only IDEA0 is linked by host and window.
            is_linked = alert.dialect == alerts.IDEA0
            window, attacker = (alert.window, alert.attacker) if is_linked else (None, None)
            spool_place = self.spool.add(alert)
            row = (*key, alert.event_id, alert.time.instant, window, attacker, *spool_place)
            self._add("read_events", row)
            return
        event_ids = dict.fromkeys(alert.events or ())
        clock = alert.start or alert.written
        self._add(
            "read_incidents",
            (
                *key,
                alert.incident_id,
                capture,
                category,
                alert.host,
                alert.window,
                alert.linked_window,
                alert.start and f"{alert.start} to {alert.end}",
                alert.start and alert.start.written,
                clock.offset,
                alert.threat_level,
                alert.written.instant,
                len(event_ids),
            ),
        )
        for place, event_id in enumerate(event_ids):
            if alerts.is_id(event_id):
                self._add("links", (self._number, event_id, place))

    def relate(self) -> None:
        """Make the relations of `sql/` from the lines that were read."""
        for name in self._batches:
            self._flush(name)
        self.spool.flush()
        for name, query in sql.relations():
            self._execute(f"create table {name} as {query}")

    def rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query with an order, read in batches."""
        number = 0
        while True:
            try:
                for row in islice(self._rows(query), number, None):
                    yield row
                    number += 1
                return
            except duckdb.OutOfMemoryException:
                self._allow_more()

    def _rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            for batch in cursor.sql(query).to_arrow_reader(_ROWS):
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    def _execute(self, statement: str) -> None:
        while True:
            try:
                self.connection.execute(statement)
                return
            except duckdb.OutOfMemoryException:
                self._allow_more()

    def _allow_more(self) -> None:
        """Let DuckDB use twice the memory: it can spill much, but not everything."""
        self._memory *= 2
        if self._memory > _MAX_MEMORY:
            raise ImmuneError("there is too little memory for these alerts: read fewer at once")
        self.connection.execute(f"set memory_limit = '{self._memory}MB'")

    def dictionaries(self, query: str) -> list[dict[str, Any]]:
        """The rows of a short query, each by the names of its columns."""
        return duck.rows(self.connection, query)

    def _add(self, name: str, row: tuple[Any, ...]) -> None:
        batch = self._batches[name]
        batch.rows.append(row)
        if len(batch.rows) >= _ROWS:
            self._flush(name)

    def _flush(self, name: str) -> None:
        batch = self._batches[name]
        if batch.rows:
            self.connection.register("batch", batch.take())
            columns = ", ".join(_column(column) for column in batch.schema.names)
            self._execute(f"insert into {name} select {columns} from batch")


class _Batch:
    """Rows that will be written together."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.rows: list[tuple[Any, ...]] = []

    def take(self) -> pa.Table:
        table = arrow.table(self.rows, self.schema)
        self.rows = []
        return table


def _column(name: str) -> str:
    return f"{name}::uuid as {name}" if name in _UUIDS else name


@contextmanager
def opened(folder: Path) -> Iterator[Work]:
    """A temporary database that spills into `folder`, for as long as the context lasts."""
    connection = duck.connect(
        ":memory:",
        memory=f"{_MEMORY}MB",
        spill=duck.path(folder / "spilled"),
        preserve_insertion_order=False,
        threads=1,
    )
    try:
        with Spool(folder / "spool") as spool:
            yield Work(connection, spool)
    finally:
        connection.close()
