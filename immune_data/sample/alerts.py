"""The sample corpus as alerts: incidents in, the `alerts.json` that Slips would have written out.

What an incident's DAG text says of its events is taken apart again: each event is an alert of one
of Slips' dialects, with a time in the minutes that the text gives and a text of its own where it
only counts variations. The alerts say of themselves that they are synthetic.
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
_MARK = "immune sample corpus"  # who wrote the alerts; Slips would say its own name

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
# When Slips ran, which is all that IDEA0 says.
_RAN = datetime.fromisoformat("2026-10-02T12:00:00+00:00")


@dataclass(frozen=True)
class _Event:
    """An event on its way to a line; `time` is that of the traffic."""

    event_id: str
    time: datetime
    level: str
    text: str
    target: str


def dialect(text: str) -> str:
    """A dialect as an argument names it, in any letters."""
    return next((name for name in DIALECTS if name.lower() == text.lower()), text)


def write(out: Path, dialect: str, *, seed: int, scale: int, force: bool) -> tuple[int, int]:
    """Write the corpus's alerts to `out`; how many incidents and bytes they are.

    Raises:
        ImmuneError: `out` cannot be written to, or holds alerts already: with `force` those of a
            sample corpus are replaced, and no others.
    """
    file = out / NAME
    if file.exists() and not _is_ours(file):
        raise ImmuneError(
            f"{file} is there and is not of a sample corpus: "
            "move it away or name another folder with --output"
        )
    if file.exists() and not force:
        raise ImmuneError(
            f"{file} is already there: name another folder with --output, "
            "or replace the sample corpus with --force"
        )
    number = 0
    with files.locked(out), files.staging(out) as hidden:
        staged = hidden / NAME
        with staged.open("w", encoding="utf-8") as written:
            for block in range(scale):
                for incident in incidents.incidents(seed, plan.plan_block(seed, block)):
                    number += 1
                    for line in lines(incident, dialect, seed, number):
                        written.write(json.dumps(line) + "\n")
        size = staged.stat().st_size
        files.move(staged, file)
    return number, size


def _is_ours(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return _MARK.encode() in opened.readline(1 << 16)
    except OSError:
        return False


def lines(incident: Incident, dialect: str, seed: int, number: int) -> Iterator[dict[str, Any]]:
    """The alerts of an incident, which is the corpus's `number`-th, as `dialect` has them."""
    events = list(_events(incident, seed))
    written = _RAN + timedelta(minutes=number)
    for i, event in enumerate(events):
        at = written - timedelta(milliseconds=len(events) - i)
        yield (
            _idea0(incident, event, at)
            if dialect == IDEA0
            else _idmef(incident, event, at, dialect)
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
        # From the window's start on, which is not the clock's order where it goes over midnight.
        minutes = [(time - start.hour * 60 - start.minute) % _DAY for time in times]
        first, last = min(minutes), max(minutes)
        total, target, severity = int(bullet[5] or 1), bullet[6], bullet[7]
        for i, text in enumerate(_texts(texts, total)):
            minute = first + (last - first) * i // max(1, total - 1)
            second = start.second + (60 - start.second) * rng.random()
            if minute == 60:  # the window's last
                second *= start.second / 60
            at = start.replace(second=0) + timedelta(minutes=minute)
            yield _Event(
                event_id=str(uuid.UUID(int=rng.getrandbits(128), version=4)),
                time=at + timedelta(microseconds=int(second * 1_000_000)),
                level=severity.lower(),
                text=text,
                target=target,
            )


def _blocks(dag: str) -> Iterator[tuple[re.Match[str], list[tuple[str, int]]]]:
    """Each bullet of a DAG with its texts and how often each occurs."""
    bullet: re.Match[str] | None = None
    texts: list[tuple[str, int]] = []
    for line in dag.split("\n"):
        if found := _BULLET.fullmatch(line):
            if bullet:
                yield bullet, texts
            bullet, texts = found, []
        elif bullet and not _MORE.fullmatch(line) and (detail := _DETAIL.fullmatch(line)):
            text, times = detail.groups()
            texts.append((text, int(times or 1)))
    if bullet:
        yield bullet, texts


def _texts(shown: list[tuple[str, int]], total: int) -> Iterator[str]:
    """The text of each event: those shown, then variations of them, another number in each."""
    number = 0
    for text, times in shown:
        for _ in range(times):
            number += 1
            yield text
    for i in range(total - number):
        text, _ = shown[i % len(shown)]
        found = list(_NUMBER.finditer(text))
        if found:
            last = found[-1]
            text = f"{text[: last.start()]}{int(last[0]) + 1 + i}{text[last.end() :]}"
        yield text


def _limits(incident: Incident) -> tuple[datetime, datetime]:
    start = incident.window.began.replace(tzinfo=UTC)
    return start, start + timedelta(hours=1)


def _aimed(event: _Event) -> dict[str, Any]:
    """The target as IDMEFv2 has it; none where the DAG has only the text's first word."""
    if (address := _IPV6.search(event.text)) and event.target.startswith(address[0]):
        port = event.target[len(address[0]) + 1 :]
        return {"IP": address[0], **({"Port": [int(port)]} if port else {})}
    found = _TARGET.fullmatch(event.target)
    if found is None or event.text.split(" ", 1)[0] == event.target:
        return {}
    key = "IP" if _ADDRESS.fullmatch(found[1]) else "Hostname"
    return {key: found[1], **({"Port": [int(found[2])]} if found[2] else {})}


def _head(dialect: str) -> dict[str, Any]:
    return {"Version": dialect, "Analyzer": {"IP": "0.0.0.0", "Name": _MARK, "Category": ["NIDS"]}}


def _idmef(incident: Incident, event: _Event, written: datetime, dialect: str) -> dict[str, Any]:
    severity = "High" if event.level == "critical" else event.level.capitalize()
    text = event.text
    if dialect == IDMEF_2D:
        text = text.replace(" threat level: ", " Threat level: ")
    target = _aimed(event)
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
    target = _aimed(event)
    ends = {_version(target.get("IP", "")): target.get("IP"), "Hostname": target.get("Hostname")}
    aimed = {key: [value] for key, value in ends.items() if value}
    if "Port" in target:
        aimed["Port"] = target["Port"]
    return {
        "Format": "IDEA0",
        "ID": event.event_id,
        "DetectTime": written.isoformat(),
        "EventTime": written.isoformat(),
        "Category": ["Anomaly.Traffic"],
        "Confidence": 0.8,
        "Source": [{_version(incident.source_ip): [incident.source_ip]}],
        **({"Target": [aimed]} if aimed else {}),
        "Attach": [{"Content": event.text, "ContentType": "text/plain"}],
        "Node": [{"Name": _MARK}],
        "uids": [f"C{event.event_id[:8]}"],
        "accumulated_threat_level": 0.0,
        "timewindow": int(incident.timewindow),
    }


def _idea0_alert(incident: Incident, written: datetime) -> dict[str, Any]:
    said = f"Src IP {incident.source_ip}. Generated an alert given enough evidence on timewindow"
    return {
        "Format": "Json",
        "ID": incident.role.incident_id,
        "DetectTime": written.isoformat(),
        "EventTime": written.isoformat(),
        "Category": "Alert",
        "Confidence": 1.0,
        "Source": [{_version(incident.source_ip): [incident.source_ip]}],
        "Attach": [
            {"Content": f"{said} {incident.timewindow}.", "ContentType": "text/plain"},
        ],
        "Node": [{"Name": _MARK}],
        "uids": [],
        "accumulated_threat_level": incident.threat_level,
        "timewindow": int(incident.timewindow),
        "profileid": f"profile_{incident.source_ip}",
        "threat_level": incident.threat_level,
    }
