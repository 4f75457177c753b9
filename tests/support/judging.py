"""Small corpora to be judged by a synthetic judge, and what runs of the command need."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chat_server import ChatServer
from corpus import CAUSE_RISK, MODELS, SUMMARIES, TASKS, Corpus
from labelled import endpoints

IDS = [f"i{number:02}" for number in range(12)]

# What each model's answers are worth, whatever the incident; no answer names its model.
WORTH = {"gpt-4o": 4, "gpt-4o-mini": 6, "qwen2.5-3b": 3, "qwen2.5-1.5b": 5}
_WORDS = dict(zip(MODELS, ("amber", "bronze", "cobalt", "denim"), strict=True))


def text(task: str, incident: str, model: str, more: str = "") -> str:
    """An answer by which the synthetic judge knows what it is worth."""
    level = ": High" if task == "risk" else ""
    filling = "The host scans many ports. " * 30
    return f"{task} of {incident} in {_WORDS[model]}{level}. {filling}{more}"


def model_of(answer: str) -> str:
    return next(model for model, word in _WORDS.items() if f" in {word}" in answer)


def worth(incident: str, task: str, answer: str) -> float:
    """The quality of an answer: that of its model, and 0 of one that nobody wrote."""
    return WORTH[model_of(answer)] if answer else 0.0


def drawn(incident: str, task: str, answer: str) -> float:
    """A quality from 3 to 7 that the text alone decides."""
    digest = hashlib.sha256(f"{incident} {task} {answer}".encode()).digest()
    return 3 + 4 * int.from_bytes(digest[:6]) / 2**48


def corpus(ids: Sequence[str] = IDS, **more: str) -> Corpus:
    """Incidents with such answers; `more` stands at the end of those of a model."""
    made = Corpus()
    for number, incident in enumerate(ids):
        made.incident(
            incident,
            facts={"source_ip": f"10.0.{number // 250}.{number % 250}", "timewindow": str(number)},
            answers={
                model: {task: text(task, incident, model, more.get(model, "")) for task in TASKS}
                for model in MODELS
            },
        )
    return made


def arguments(folder: Path, source: Path, server: ChatServer | Path, *more: object) -> list[str]:
    """Arguments of the command, where `more` does not say otherwise."""
    given: list[object] = ["--incidents", source / CAUSE_RISK, source / SUMMARIES]
    file = server
    if isinstance(server, ChatServer):
        folder.mkdir(exist_ok=True)
        file = endpoints(folder / "e.toml", (server.url, "a-judge"))
    given += ["--endpoints", file]
    for option, value in (
        ("--judges", "summary"),
        ("--store", folder / "asked.sqlite"),
        ("--output", folder / "verdicts.json"),
    ):
        if option not in more:
            given += [option, value]
    return [str(one) for one in (*given, "--yes", *more)]


def nowhere(folder: Path) -> Path:
    """A file of endpoints of a judge that needs no server, as nothing is sent to it."""
    return endpoints(folder / "e.toml", ("http://127.0.0.1:9/v1", "a-judge"))


def verdicts(file: Path) -> dict[str, dict[str, Any]]:
    """The rows of a file of verdicts, by incident."""
    rows = json.loads(file.read_text(encoding="utf-8"))["incidents"]
    return {row["incident_id"]: row for row in rows}


def rejects(file: Path) -> list[dict[str, Any]]:
    lines = file.with_name(f"{file.stem}.rejects.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
