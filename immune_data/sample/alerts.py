"""The sample corpus as alerts: incidents in, the `alerts.json` that Slips would have written out.

An incident's DAG text is parsed into its events: each event is an alert in one of Slips' dialects,
with a time in the minutes that the text gives, and a text of its own if the DAG only counts
variations. The alerts say that they are synthetic.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from immune_data.common import files
from immune_data.common.errors import ImmuneError
from immune_data.contract.alerts import DIALECTS, IDEA0, IDMEF_2D, IDMEF_203
from immune_data.sample import incidents, plan
from immune_data.sample.incidents import Incident

NAME = "alerts.json"
_MARK = "immune sample corpus"  # the writer of the alerts, in place of Slips

_TIME = r"(\d\d):(\d\d)"
_BULLET = re.compile(
    rf"• {_TIME}(?:-{_TIME})? - (?:Event|(\d+) events) to (.+) \[([A-Z]+)\]", re.ASCII
)
_MORE = re.compile(r"  - \.\.\. and \d+ more variations", re.ASCII)
_DETAIL = re.compile(r"  - (.+?)(?: \(x(\d+)\))?", re.ASCII)
_TARGET = re.compile(r"((?:\d{1,3}\.){3}\d{1,3}|\S+\.\S+?)(?::(\d+))?", re.ASCII)
_ADDRESS = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}", re.ASCII)
_IPV6 = re.compile(r"2001:db8::[0-9a-f]+", re.ASCII)  # of the addresses that hosts contact
_NUMBER = re.compile(r"(?<![\d.:])\d+(?![\d.:])", re.ASCII)
_DAY = 24 * 60  # minutes
# When Slips ran, which is the only time in IDEA0.
_RAN = datetime.fromisoformat("2026-10-02T12:00:00+00:00")


@dataclass(frozen=True)
class _Event:
    """An event to write as a line; `time` is that of the traffic."""

    event_id: str
    time: datetime
    level: str
    text: str
    target: str


def dialect(text: str) -> str:
    """A dialect from an argument, in upper or lower case."""
    return next((name for name in DIALECTS if name.lower() == text.lower()), text)


def write(out: Path, dialect: str, *, seed: int, scale: int, force: bool) -> tuple[int, int]:
    """Write the corpus's alerts to `out` and return the numbers of incidents and bytes.

    Raises:
        ImmuneError: `out` cannot be written to, or already contains alerts: with `force` those of a
            sample corpus are replaced, and no others.
    """
    file = out / NAME
    if file.exists() and not _is_ours(file):
        raise ImmuneError(
            f"{file} exists and does not belong to a sample corpus: "
            "move it away or name another folder with --output"
        )
    if file.exists() and not force:
        raise ImmuneError(
            f"{file} already exists: name another folder with --output, "
            "or replace the sample corpus with --force"
        )
    number = 0
    with files.locked(out), files.staging(out) as hidden:
        staged = hidden / NAME
        with staged.open("w", encoding="utf-8") as stream:
            for block in range(scale):
                for incident in incidents.incidents(seed, plan.plan_block(seed, block)):
                    number += 1
                    for line in lines(incident, dialect, seed, number):
                        stream.write(json.dumps(line) + "\n")
        size = staged.stat().st_size
        files.move(staged, file)
    return number, size


def _is_ours(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return _MARK.encode() in stream.readline(1 << 16)
    except OSError:
        return False


def lines(incident: Incident, dialect: str, seed: int, number: int) -> Iterator[dict[str, Any]]:
    """The alerts of incident number `number` of the corpus, in `dialect`."""
    events = list(_events(incident, seed))
    written = _RAN + timedelta(minutes=number)
    for i, event in enumerate(events):
        created = written - timedelta(milliseconds=len(events) - i)
        yield (
            _idea0(incident, event, created)
            if dialect == IDEA0
            else _idmef(incident, event, created, dialect)
        )
    yield (
        _idea0_alert(incident, written)
        if dialect == IDEA0
        else _idmef_alert(incident, events, written, dialect)
    )


def _events(incident: Incident, seed: int) -> Iterator[_Event]:
    rng = plan.stream(seed, incident.role.incident_id, "alerts")
    start, _ = _limits(incident)
    for bullet, texts in _blocks(incident.risk_dag):
        times = [int(bullet[1]) * 60 + int(bullet[2])]
        if bullet[3]:
            times.append(int(bullet[3]) * 60 + int(bullet[4]))
        # Counted from the window's start, so that a window over midnight is right.
        minutes = [(time - start.hour * 60 - start.minute) % _DAY for time in times]
        first, last = min(minutes), max(minutes)
        total, target, severity = int(bullet[5] or 1), bullet[6], bullet[7]
        for i, text in enumerate(_texts(texts, total)):
            minute = first + (last - first) * i // max(1, total - 1)
            second = start.second + (60 - start.second) * rng.random()
            if minute == 60:  # the window's last
                second *= start.second / 60
            start_of_minute = start.replace(second=0) + timedelta(minutes=minute)
            yield _Event(
                event_id=str(uuid.UUID(int=rng.getrandbits(128), version=4)),
                time=start_of_minute + timedelta(microseconds=int(second * 1_000_000)),
                level=severity.lower(),
                text=text,
                target=target,
            )


def _blocks(dag: str) -> Iterator[tuple[re.Match[str], list[tuple[str, int]]]]:
    """Each bullet of a DAG with its texts and the number of each."""
    bullet: re.Match[str] | None = None
    texts: list[tuple[str, int]] = []
    for line in dag.split("\n"):
        if match := _BULLET.fullmatch(line):
            if bullet:
                yield bullet, texts
            bullet, texts = match, []
        elif bullet and not _MORE.fullmatch(line) and (detail := _DETAIL.fullmatch(line)):
            text, times = detail.groups()
            texts.append((text, int(times or 1)))
    if bullet:
        yield bullet, texts


def _texts(shown: list[tuple[str, int]], total: int) -> Iterator[str]:
    """The text of each event: those shown, then variations of them, each with another number."""
    number = 0
    for text, times in shown:
        for _ in range(times):
            number += 1
            yield text
    for i in range(total - number):
        text, _ = shown[i % len(shown)]
        numbers = list(_NUMBER.finditer(text))
        if numbers:
            last = numbers[-1]
            text = f"{text[: last.start()]}{int(last[0]) + 1 + i}{text[last.end() :]}"
        yield text


def _limits(incident: Incident) -> tuple[datetime, datetime]:
    start = incident.window.start.replace(tzinfo=UTC)
    return start, start + timedelta(hours=1)


def _target(event: _Event) -> dict[str, Any]:
    """The target in IDMEFv2; empty if the DAG has only the text's first word."""
    if (address := _IPV6.search(event.text)) and event.target.startswith(address[0]):
        port = event.target[len(address[0]) + 1 :]
        return {"IP": address[0], **({"Port": [int(port)]} if port else {})}
    match = _TARGET.fullmatch(event.target)
    if match is None or event.text.split(" ", 1)[0] == event.target:
        return {}
    key = "IP" if _ADDRESS.fullmatch(match[1]) else "Hostname"
    return {key: match[1], **({"Port": [int(match[2])]} if match[2] else {})}


def _head(dialect: str) -> dict[str, Any]:
    return {"Version": dialect, "Analyzer": {"IP": "0.0.0.0", "Name": _MARK, "Category": ["NIDS"]}}


def _idmef(incident: Incident, event: _Event, written: datetime, dialect: str) -> dict[str, Any]:
    severity = "High" if event.level == "critical" else event.level.capitalize()
    text = event.text
    if dialect == IDMEF_2D:
        text = text.replace(" threat level: ", " Threat level: ")
    target = _target(event)
    return {
        **_head(dialect),
        "Status": "Event",
        "ID": event.event_id,
        "Severity" if dialect == IDMEF_203 else "Priority": severity,
        "StartTime": event.time.isoformat(),
        "CreateTime": written.isoformat(),
        "Confidence": 0.8,
        "Description": text,
        "Source": [{"IP": incident.source_ip}],
        **({"Target": [target]} if target else {}),
        "Note": json.dumps(
            {
                "uids": [f"C{event.event_id[:8]}"],
                "accumulated_threat_level": 0.0,
                "threat_level": event.level,
                "timewindow": int(incident.timewindow),
            }
        ),
    }


def _idmef_alert(
    incident: Incident, events: list[_Event], written: datetime, dialect: str
) -> dict[str, Any]:
    start, end = _limits(incident)
    return {
        **_head(dialect),
        "Source": [{"IP": incident.source_ip}],
        "ID": incident.role.incident_id,
        "Status": "Incident",
        "StartTime": start.isoformat(),
        "CreateTime": written.isoformat(),
        "CorrelID": [event.event_id for event in events],
        "Note": json.dumps(
            {
                "accumulated_threat_level": incident.threat_level,
                "timewindow": int(incident.timewindow),
                **({} if incident.window.is_open else {"EndTime": end.isoformat()}),
            }
        ),
    }


def _version(address: str) -> str:
    return "IP6" if ":" in address else "IP4"


def _idea0(incident: Incident, event: _Event, written: datetime) -> dict[str, Any]:
    target = _target(event)
    ends = {_version(target.get("IP", "")): target.get("IP"), "Hostname": target.get("Hostname")}
    endpoint = {key: [value] for key, value in ends.items() if value}
    if "Port" in target:
        endpoint["Port"] = target["Port"]
    return {
        "Format": "IDEA0",
        "ID": event.event_id,
        "DetectTime": written.isoformat(),
        "EventTime": written.isoformat(),
        "Category": ["Anomaly.Traffic"],
        "Confidence": 0.8,
        "Source": [{_version(incident.source_ip): [incident.source_ip]}],
        **({"Target": [endpoint]} if endpoint else {}),
        "Attach": [{"Content": event.text, "ContentType": "text/plain"}],
        "Node": [{"Name": _MARK}],
        "uids": [f"C{event.event_id[:8]}"],
        "accumulated_threat_level": 0.0,
        "timewindow": int(incident.timewindow),
    }


def _idea0_alert(incident: Incident, written: datetime) -> dict[str, Any]:
    content = f"Src IP {incident.source_ip}. Generated an alert given enough evidence on timewindow"
    return {
        "Format": "Json",
        "ID": incident.role.incident_id,
        "DetectTime": written.isoformat(),
        "EventTime": written.isoformat(),
        "Category": "Alert",
        "Confidence": 1.0,
        "Source": [{_version(incident.source_ip): [incident.source_ip]}],
        "Attach": [
            {"Content": f"{content} {incident.timewindow}.", "ContentType": "text/plain"},
        ],
        "Node": [{"Name": _MARK}],
        "uids": [],
        "accumulated_threat_level": incident.threat_level,
        "timewindow": int(incident.timewindow),
        "profileid": f"profile_{incident.source_ip}",
        "threat_level": incident.threat_level,
    }
