"""Incidents to ask models about: files in, in any documented form, each incident once out.

Rows are read as strictly as those of a source file. For an incident in several files, each fact is
taken from the first file that has it: so name the file of causes and risks first, whose evidence
the documents use.
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
    """An incident; the fields are in the order of a source file's keys."""

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
    """A row that cannot be used, or a missing answer; the fields are in the order of its keys."""

    incident_id: str | None = None
    task: str | None = None
    model: str | None = None
    file: str | None = None
    row: int | None = None
    reason: str
    text: str | None = None  # the beginning of a reply that is not an answer


@dataclass
class Incidents:
    """All incidents in the order of their ids, whether any is synthetic, and rejected rows."""

    incidents: list[Incident] = field(default_factory=list)
    synthetic: bool = False
    rejects: list[Reject] = field(default_factory=list)


def read(
    files: Sequence[Path], take: Callable[[str, dict[str, Any]], None] = lambda incident, row: None
) -> Incidents:
    """The incidents of some files; `take` gets each usable row, with its incident's id.

    Raises:
        ImmuneError: a file cannot be read, or there is no incident with evidence.
    """
    result = Incidents()
    by_id: dict[str, Incident] = {}
    for file in files:
        source = Source(file)
        seen: set[str] = set()
        for record in source:
            incident = _incident(record, seen)
            if isinstance(incident, str):
                incident_id = record.value.get("incident_id")
                result.rejects.append(
                    Reject(
                        incident_id=incident_id if isinstance(incident_id, str) else None,
                        file=file.name,
                        row=record.row,
                        reason=incident,
                    )
                )
                continue
            seen.add(incident.incident_id)
            take(incident.incident_id, record.value)
            earlier = by_id.get(incident.incident_id)
            by_id[incident.incident_id] = (
                incident if earlier is None else _completed(earlier, incident)
            )
        result.synthetic |= source.synthetic
    for incident_id in sorted(by_id):
        evidence = by_id[incident_id].dag_analysis
        if evidence is None or not evidence.strip():
            result.rejects.append(Reject(incident_id=incident_id, reason="no_evidence"))
        else:
            result.incidents.append(by_id[incident_id])
    if not result.incidents:
        names = ", ".join(str(file) for file in files)
        raise ImmuneError(f"no incident with evidence in {names}: give a file of incidents")
    return result


def _incident(record: Record, seen: Iterable[str]) -> Incident | str:
    """The incident of a row, or the reason why it cannot be used."""
    if record.repeated_key is not None:
        return "repeated_key"
    try:
        incident = msgspec.convert(record.value, Incident)
    except msgspec.ValidationError:
        has_id = record.value.get("incident_id") is not None
        return "wrong_type" if has_id else "no_incident_id"
    if not incident.incident_id.strip():
        return "no_incident_id"
    if incident.incident_id in seen:
        return "duplicate_incident"
    count = incident.event_count
    for number in (incident.threat_level, count):
        if number is not None and not math.isfinite(number):
            return "wrong_type"
    if count is not None and (count != int(count) or not 0 <= count < 2**63):
        return "wrong_type"
    return msgspec.structs.replace(
        incident,
        timewindow=None if incident.timewindow is None else str(incident.timewindow),
        event_count=None if count is None else int(count),
    )


def _completed(incident: Incident, other: Incident) -> Incident:
    """An incident, with missing fields taken from another file's row of it."""
    fields = msgspec.structs.asdict(other)
    missing = {
        name: fields[name]
        for name, value in msgspec.structs.asdict(incident).items()
        if value is None
    }
    return msgspec.structs.replace(incident, **missing)


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
