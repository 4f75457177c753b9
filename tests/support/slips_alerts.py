"""Alerts as Slips writes them: what happened in, a line of `alerts.json` of any dialect out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

IDEA0, IDMEF_203, IDMEF_2D = DIALECTS = "IDEA0", "2.0.3", "2.D.V03"

START = datetime.fromisoformat("2026-10-01T23:30:16+03:00")


def number(n: int) -> str:
    """The n-th id."""
    return f"{n:08x}-0000-4000-8000-000000000000"


@dataclass
class Event:
    """An event; `second` counts from the start of its window."""

    n: int
    text: str = "Connecting to private IP: 10.0.0.2 on destination port: 443"
    level: str = "low"
    second: float = 60.0
    host: str = "10.0.0.1"
    window: int = 3
    confidence: float = 0.8
    target: dict[str, Any] = field(default_factory=dict)

    def line(self, dialect: str) -> dict[str, Any]:
        time = (START + timedelta(seconds=self.second)).isoformat()
        word = "Threat" if dialect == IDMEF_2D else "threat"
        text = f"{self.text} {word} level: {self.level}."
        if dialect == IDEA0:
            target = {
                key: [value]
                for key, value in (
                    ("IP4", self.target.get("IP")),
                    ("Hostname", self.target.get("Hostname")),
                    ("Port", self.target.get("Port")),
                )
                if value is not None
            }
            return {
                "Format": "IDEA0",
                "ID": number(self.n),
                "DetectTime": time,
                "EventTime": time,
                "Category": ["Anomaly.Traffic"],
                "Confidence": self.confidence,
                "Source": [{"IP4": [self.host]}],
                **({"Target": [target]} if target else {}),
                "Attach": [{"Content": text, "ContentType": "text/plain"}],
                "ConnCount": 1,
                "uids": [f"C{self.n}"],
                "accumulated_threat_level": 1.5,
                "timewindow": self.window,
            }
        target = dict(self.target)
        if "Port" in target:
            target["Port"] = [target["Port"]]
        severity = "High" if self.level == "critical" else self.level.capitalize()
        note = {"uids": [f"C{self.n}"], "accumulated_threat_level": 1.5, "timewindow": self.window}
        return {
            "Version": dialect,
            "Analyzer": {"IP": "0.0.0.0", "Name": "Slips", "Model": "1.1.9"},
            "Status": "Event",
            "ID": number(self.n),
            "Severity" if dialect == IDMEF_203 else "Priority": severity,
            "StartTime": time,
            "CreateTime": time,
            "Confidence": self.confidence,
            "Description": text,
            "Source": [{"IP": self.host, "Port": [49885]}],
            **({"Target": [target]} if target else {}),
            "Note": json.dumps({**note, "threat_level": self.level}),
        }


@dataclass
class Incident:
    """An incident, written `second` seconds after the start of its window."""

    n: int
    events: Sequence[int] = ()
    second: float = 3000.0
    host: str = "10.0.0.1"
    window: int = 3
    level: float = 15.06

    def line(self, dialect: str) -> dict[str, Any]:
        written = (START + timedelta(seconds=self.second)).isoformat()
        if dialect == IDEA0:
            said = f"{written}: Src IP {self.host}. Generated an alert given enough evidence"
            return {
                "Format": "Json",
                "ID": number(self.n),
                "DetectTime": written,
                "EventTime": written,
                "Category": "Alert",
                "Confidence": 1.0,
                "Source": [{"IP4": [self.host]}],
                "Attach": [{"Content": said, "ContentType": "text/plain"}],
                "uids": [],
                "accumulated_threat_level": self.level,
                "timewindow": self.window,
                "profileid": f"profile_{self.host}",
                "threat_level": self.level,
            }
        note = {
            "accumulated_threat_level": self.level,
            "timewindow": self.window,
            "EndTime": (START + timedelta(hours=1)).isoformat(),
        }
        return {
            "Version": dialect,
            "Source": [{"IP": self.host}],
            "ID": number(self.n),
            "Status": "Incident",
            "StartTime": START.isoformat(),
            "CreateTime": written,
            "CorrelID": [number(n) for n in self.events],
            "Note": json.dumps(note),
        }


def write(path: Path, rows: Iterable[dict[str, Any] | str | bytes]) -> Path:
    """Write rows, or lines as they are, to a file, which comes back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) if isinstance(row, dict) else row for row in rows]
    path.write_bytes(
        b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines)
    )
    return path
