"""An incident to ask about: a JSON object as in the source files, or a DAG's text, in."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec

from immune_data import prompts
from immune_data.common.errors import ImmuneError

_HALF = re.compile("[\\ud800-\\udfff]")  # half of a surrogate pair, which is not a character

# The header that Slips writes over an incident's DAG.
_HEADER_LINES = 12
_HEADER = {
    "incident_id": re.compile(r"^Incident: *(\S+)", re.MULTILINE),
    "source_ip": re.compile(r"^Source IP: *([^|\n]*[^|\s])", re.MULTILINE),
    "timewindow": re.compile(r"\| *Timewindow: *([^|\n]*[^|\s])"),
    "timeline": re.compile(r"^Timeline: *(.*\S)", re.MULTILINE),
    "threat_level": re.compile(r"^Threat Level: *(\d+(?:\.\d+)?)", re.MULTILINE),
    "event_count": re.compile(r"\bEvents: *(\d+)"),
}


class Incident(msgspec.Struct, frozen=True):
    """An incident to ask about: identity fields as in the source files, and its evidence."""

    incident_id: str
    dag_analysis: str
    source_ip: str | None = None
    timewindow: str | int | None = None
    timeline: str | None = None
    threat_level: float | None = None
    event_count: int | float | None = None

    @property
    def facts(self) -> dict[str, Any]:
        facts = {name: getattr(self, name) for name in prompts.FACTS}
        if isinstance(self.event_count, float) and self.event_count.is_integer():
            facts["event_count"] = int(self.event_count)
        return facts


def from_json(text: str | bytes, where: str) -> Incident:
    """The incident in a JSON object as in the source files; further keys are ignored.

    Raises:
        ImmuneError: it is not a JSON object, or something that a prompt needs is missing.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ImmuneError(f"{where} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ImmuneError(f"{where} should contain one JSON object, an incident")
    for key, description in (
        ("incident_id", "its id"),
        ("dag_analysis", "its evidence, the DAG's text"),
    ):
        if not isinstance(value.get(key), str) or not value[key].strip():
            raise ImmuneError(f"the incident in {where} has no `{key}`: give {description} as text")
    try:
        incident = msgspec.convert(value, Incident)
    except msgspec.ValidationError as error:
        raise ImmuneError(f"the incident in {where} cannot be used: {error}") from None
    for name, field in msgspec.structs.asdict(incident).items():
        if isinstance(field, float) and not math.isfinite(field):
            raise ImmuneError(f"the incident in {where} cannot be used: `{name}` is not finite")
        if isinstance(field, str) and _HALF.search(field):
            raise ImmuneError(
                f"the incident in {where} cannot be used: `{name}` holds half of a surrogate pair"
            )
    return incident


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def from_dag(text: str, where: str) -> Incident:
    """The incident of a DAG alone; its facts are those of the header that Slips writes.

    Raises:
        ImmuneError: the text is empty.
    """
    if not text.strip():
        raise ImmuneError(f"{where} is empty: give the text of an incident's DAG")
    header = "\n".join(text.split("\n", _HEADER_LINES)[:_HEADER_LINES])
    matches = {name: pattern.search(header) for name, pattern in _HEADER.items()}
    facts: dict[str, Any] = {name: match[1] if match else None for name, match in matches.items()}
    return Incident(
        incident_id=facts["incident_id"] or "unknown",
        dag_analysis=text,
        source_ip=facts["source_ip"],
        timewindow=facts["timewindow"],
        timeline=facts["timeline"],
        threat_level=float(facts["threat_level"]) if facts["threat_level"] else None,
        event_count=int(facts["event_count"]) if facts["event_count"] else None,
    )
