"""Incidents that somebody keeps for an evaluation of their own: a file in, a relation out.

The file is a JSON array of ids or of objects with an `incident_id`, such a source file, or text
with an id, or such an object, on each line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from immune_data.common import textfile
from immune_data.common.errors import ImmuneError

if TYPE_CHECKING:
    import duckdb

CHECK = "held_out_in_train"  # the check that reads the relation

# Ids are the same in upper and in lower case, and whichever way their letters are composed.
_SAME = "lower(nfc_normalize({}))"


@dataclass(frozen=True)
class HeldOut:
    """How many ids were given, and those of them that no incident has."""

    ids: int
    unknown: list[str]


def read(path: Path) -> list[str]:
    """The incident ids in a file.

    Raises:
        ImmuneError: the file cannot be read, holds no id, or something else than ids.
    """
    ids = []
    for where, entry in _entries(path):
        found = entry.get("incident_id") if isinstance(entry, dict) else entry
        if not isinstance(found, str) or not found.strip():
            what = "has no incident_id" if isinstance(entry, dict) else "is not an incident id"
            raise ImmuneError(f"{where} of {path} {what}")
        ids.append(found.strip())
    if not ids:
        raise ImmuneError(f"{path} holds no incident id: give one a line, or a JSON array of them")
    return ids


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    """What the file holds, each with its place in words."""
    text = textfile.read(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict):
        content = content.get("incidents", [content])
    if isinstance(content, list):
        yield from ((f"entry {number}", entry) for number, entry in enumerate(content, start=1))
        return
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if line.startswith(("{", "[", '"')):
            try:
                yield f"line {number}", json.loads(line)
            except (ValueError, RecursionError):
                raise ImmuneError(f"line {number} of {path} is not JSON") from None
        elif line:
            yield f"line {number}", line


def lay(connection: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> HeldOut:
    """Lay a temporary relation `held_out` of these incidents over the empty one of the schema."""
    import polars as pl

    given = list(dict.fromkeys(ids))
    frame = pl.DataFrame({"incident_id": given}, schema={"incident_id": pl.String})
    connection.register("given", frame.with_row_index("place").to_arrow())
    same = f"{_SAME.format('given.incident_id')} = {_SAME.format('incidents.incident_id')}"
    connection.execute(
        "create or replace temp table held_out as "
        f"select incident_id from incidents semi join given on {same}"
    )
    unknown = connection.execute(
        f"select incident_id from given anti join incidents on {same} order by place"
    ).fetchall()
    found = HeldOut(len(given), [name for (name,) in unknown])
    connection.unregister("given")
    return found
