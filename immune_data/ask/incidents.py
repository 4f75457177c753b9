"""Incidents to ask models about: files in, in any documented form, each incident once out.

A row is read as strictly as a source file's. Of an incident in several files, the first file that
says a fact counts: the file of causes and risks, whose evidence the documents use, goes first.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from immune_data import prompts
from immune_data.common.errors import ImmuneError
from immune_data.contract.source_file import Record, Source


class Incident(Struct, frozen=True, kw_only=True):
    """An incident; the fields stand in the order of a source file's keys."""

    incident_id: str
    category: str | None = None
    source_ip: str | None = None
    timewindow: str | int | None = None
    timeline: str | None = None
    threat_level: float | None = None
    event_count: int | float | None = None
    dag_analysis: str | None = None

    @property
    def facts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in prompts.FACTS}


class Reject(Struct, frozen=True, kw_only=True):
    """A row of no use, or an answer that is missing; the fields stand in the order of its keys."""

    incident_id: str | None = None
    task: str | None = None
    model: str | None = None
    file: str | None = None
    row: int | None = None
    reason: str
    text: str | None = None  # of a reply that is not an answer, its beginning


@dataclass
class Incidents:
    """All incidents in the order of their ids, whether any are synthetic, and rows of no use."""

    incidents: list[Incident] = field(default_factory=list)
    synthetic: bool = False
    rejects: list[Reject] = field(default_factory=list)


def read(
    files: Sequence[Path], take: Callable[[str, dict[str, Any]], None] = lambda incident, row: None
) -> Incidents:
    """The incidents of some files; each row of use is given to `take`, with its incident's id.

    Raises:
        ImmuneError: a file cannot be read, or there is no incident with evidence.
    """
    made = Incidents()
    by_id: dict[str, Incident] = {}
    for file in files:
        source = Source(file)
        seen: set[str] = set()
        for record in source:
            found = _incident(record, seen)
            if isinstance(found, str):
                said = record.value.get("incident_id")
                made.rejects.append(
                    Reject(
                        incident_id=said if isinstance(said, str) else None,
                        file=file.name,
                        row=record.row,
                        reason=found,
                    )
                )
                continue
            seen.add(found.incident_id)
            take(found.incident_id, record.value)
            known = by_id.get(found.incident_id)
            by_id[found.incident_id] = found if known is None else _completed(known, found)
        made.synthetic |= source.synthetic
    for incident_id in sorted(by_id):
        incident = by_id[incident_id]
        if incident.dag_analysis is None or not incident.dag_analysis.strip():
            made.rejects.append(Reject(incident_id=incident_id, reason="no_evidence"))
        else:
            made.incidents.append(incident)
    if not made.incidents:
        names = ", ".join(str(file) for file in files)
        raise ImmuneError(f"no incident with evidence in {names}: give a file of incidents")
    return made


def _incident(record: Record, seen: Iterable[str]) -> Incident | str:
    """The incident of a row, or why it is none."""
    if record.repeated_key is not None:
        return "repeated_key"
    try:
        found = msgspec.convert(record.value, Incident)
    except msgspec.ValidationError:
        said = record.value.get("incident_id")
        return "no_incident_id" if said is None else "wrong_type"
    if not found.incident_id.strip():
        return "no_incident_id"
    if found.incident_id in seen:
        return "duplicate_incident"
    count = found.event_count
    for number in (found.threat_level, count):
        if number is not None and not math.isfinite(number):
            return "wrong_type"
    if count is not None and (count != int(count) or not 0 <= count < 2**63):
        return "wrong_type"
    return msgspec.structs.replace(
        found,
        timewindow=None if found.timewindow is None else str(found.timewindow),
        event_count=None if count is None else int(count),
    )


def _completed(known: Incident, more: Incident) -> Incident:
    """An incident, what it lacks taken from what another file says of it."""
    said = msgspec.structs.asdict(more)
    lacks = {
        name: said[name] for name, value in msgspec.structs.asdict(known).items() if value is None
    }
    return msgspec.structs.replace(known, **lacks)


def of_shard(incidents: Iterable[Incident], shard: tuple[int, int] | None) -> list[Incident]:
    """The incidents of shard i of n, counted from 1: an incident's id decides which it is in."""
    if shard is None:
        return list(incidents)
    number, of = shard
    return [
        incident
        for incident in incidents
        if int(hashlib.sha256(incident.incident_id.encode()).hexdigest()[:13], 16) % of
        == number - 1
    ]
