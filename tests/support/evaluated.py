"""A made-up evaluation: records, a run that has not seen them, answers and verdicts, on disk."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from answers import CAUSE, RISK, SUMMARY

from immune_data.common.digests import sha256

TASKS = {"summary": SUMMARY, "cause": CAUSE, "risk": RISK}
JUDGE = {"judge": "a judge", "rubric": "0" * 64, "orders": "balanced"}


def evidence(incident: str, address: str, window: str, events: int) -> str:
    return "\n".join(
        [
            "=" * 60,
            f"Incident: {incident}",
            f"Source IP: {address} | Timewindow: {window}",
            "Timeline: 2024-01-01 10:00:00 to 2024-01-01 11:00:00",
            f"Threat Level: 12.5 | Events: {events}",
            "",
            f"• 10:20 - {events - 1} events [LOW] Contact with 192.0.2.7.",
            "• 10:00 - 1 event [HIGH] Scan of port 8080/TCP.",
            "",
            f"Total Evidence: {events} events",
            f"Severity breakdown: High: 1, Low: {events - 1}",
        ]
    )


def risk(level: str, likelihood: str = "Medium") -> str:
    return RISK.replace("**Risk Level:** High", f"**Risk Level:** {level}").replace(
        "Activity:** Medium", f"Activity:** {likelihood}"
    )


@dataclass
class World:
    """`incidents` evaluated ones, two to a group where `grouped`; every third is Normal.

    A folder that has them already stays as it is.
    """

    folder: Path
    incidents: int = 60
    grouped: bool = False
    seed: int = 1
    files: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.random = random.Random(self.seed)
        self.names = [f"e{number:03}" for number in range(self.incidents)]
        if (self.folder / "data").exists():  # another test wrote it
            return
        self.write("data/eval.jsonl", self.records(self.names, "10.0.0"))
        trained = [f"t{number:03}" for number in range(12)]
        self.write("data/train.jsonl", self.records(trained, "10.9.9"))
        self.run("run", dict.fromkeys(trained, "train"))

    def window(self, name: str, network: str) -> tuple[str, str]:
        number = int(name[1:]) // (2 if self.grouped else 1)
        return f"{network}.{number}", f"{number}"

    def category(self, name: str) -> str:
        return "Normal" if int(name[1:]) % 3 == 0 else "Malware"

    def events(self, name: str) -> int:
        return 40 if int(name[1:]) % 2 else 1500

    def records(self, names: Iterable[str], network: str) -> list[dict[str, Any]]:
        return [
            {
                "messages": [
                    {
                        "role": "user",
                        "content": evidence(name, *self.window(name, network), self.events(name)),
                    },
                    {"role": "assistant", "content": said},
                ],
                "incident_id": name,
                "task": task,
            }
            for name in names
            for task, said in TASKS.items()
        ]

    def run(self, name: str, incidents: Mapping[str, str], **more: Any) -> Path:
        """A finished run, trained on the incidents whose side is train."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        rows = [
            {"incident_id": incident, "split": split, "group": incident}
            for incident, split in incidents.items()
        ]
        (folder / "incidents.json").write_text(json.dumps(rows))
        digest = sha256(self.folder / "data" / "train.jsonl")
        dataset = {"outputs": {"train.jsonl": {"sha256": digest}}}
        (folder / "dataset.json").write_text(json.dumps(dataset))
        summary = {
            "name": name,
            "recipe": "unified-clean",
            "synthetic": True,
            "baseline": {"loss": 2.5, "summary": 1.0},
            "eval": {"loss": 1.5, "summary": 0.5},
            **more,
        }
        (folder / "run.json").write_text(json.dumps(summary))
        return folder

    def write(self, name: str, rows: Iterable[dict[str, Any]]) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return path

    def answers(
        self, name: str, said: Callable[[str, str], str | None], tasks: Iterable[str] = TASKS
    ) -> Path:
        """A file of answers; None is one that failed."""
        rows = []
        for incident in self.names:
            for task in tasks:
                answer = said(incident, task)
                finish = "error" if answer is None else "stop"
                rows.append(
                    {"incident_id": incident, "task": task, "answer": answer, "finish": finish}
                )
        self.files[name] = self.write(f"{name}.jsonl", rows)
        return self.files[name]

    def summary_verdicts(
        self, score: Callable[[str, str], float], candidates: Iterable[str], **head: Any
    ) -> list[dict[str, Any]]:
        """Rows of verdicts; `score` is given an incident and a candidate."""
        rows = []
        for incident in self.names:
            scores = {name: score(incident, name) for name in candidates}
            ordered = sorted(scores, key=lambda name: -scores[name])
            rows.append(
                {
                    "incident_id": incident,
                    "category": self.category(incident),
                    "event_count": self.events(incident),
                    "rankings": {str(i + 1): name for i, name in enumerate(ordered)},
                    "scores": scores,
                    **head,
                }
            )
        return rows

    def verdicts(self, name: str, rows: list[dict[str, Any]], **head: Any) -> Path:
        path = self.folder / name
        path.write_text(json.dumps({**JUDGE, **head, "incidents": rows}))
        return path

    def arguments(self, *more: object, output: str = "out") -> list[str]:
        given = [f"{name}={path}" for name, path in self.files.items()]
        return [
            *("--reference", str(self.folder / "data" / "eval.jsonl")),
            *("--trained", str(self.folder / "run")),
            *map(str, more),
            *("--output", str(self.folder / output)),
            *given,
        ]
