"""Incidents that a user keeps for an evaluation of their own: a file in, a relation out.

The file is a JSON array of ids or of objects with an `incident_id`, such as a source file, or text
with one id, or one such object, per line.
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

# Ids are compared ignoring case, and however their letters are composed.
_COMPARED = "lower(nfc_normalize({}))"


@dataclass(frozen=True)
class HeldOut:
    """The number of given ids, and those that no incident has."""

    ids: int
    unknown: list[str]


def read(path: Path) -> list[str]:
    """The incident ids in a file.

    Raises:
        ImmuneError: the file cannot be read, or contains no ids, or anything else.
    """
    ids = []
    for place, entry in _entries(path):
        incident_id = entry.get("incident_id") if isinstance(entry, dict) else entry
        if not isinstance(incident_id, str) or not incident_id.strip():
            problem = "has no incident_id" if isinstance(entry, dict) else "is not an incident id"
            raise ImmuneError(f"{place} of {path} {problem}")
        ids.append(incident_id.strip())
    if not ids:
        raise ImmuneError(f"{path} has no incident id: give one per line, or a JSON array of them")
    return ids


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    """The entries of the file, each with its place in words."""
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


def overlay(connection: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> HeldOut:
    """Create a temporary relation `held_out` of these incidents, hiding the schema's empty one."""
    import polars as pl

    given_ids = list(dict.fromkeys(ids))
    frame = pl.DataFrame({"incident_id": given_ids}, schema={"incident_id": pl.String})
    connection.register("given", frame.with_row_index("place").to_arrow())
    condition = (
        f"{_COMPARED.format('given.incident_id')} = {_COMPARED.format('incidents.incident_id')}"
    )
    connection.execute(
        "create or replace temp table held_out as "
        f"select incident_id from incidents semi join given on {condition}"
    )
    unknown = connection.execute(
        f"select incident_id from given anti join incidents on {condition} order by place"
    ).fetchall()
    result = HeldOut(len(given_ids), [name for (name,) in unknown])
    connection.unregister("given")
    return result
