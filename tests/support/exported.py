"""A tiny model to export, and records to measure it on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from immune_data import prompts
from immune_data.prompts import Message
from immune_train.export import __main__ as export
from immune_train.random_model import __main__ as random_model

TASKS = ("summary", "cause", "risk")
EVIDENCE = "Source IP: 10.0.0.5 | Events: 3\n• 10:15 - naïve scan of 日本 ports 22, 80 🚀 [HIGH]"
ANSWERS = {
    "summary": "A scan of ports 22 and 80 — from 10.0.0.5.",
    "cause": "\n1. A worm. <|im_end|> is text here.",
    "risk": "Risk: High. Patch café hosts.",
}


# Of a model with the first tokens only: nobody can ask it, but its files are soon quantised.
FEW_TOKENS = {"vocab_size": 512, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}


def model(folder: Path, **changes: Any) -> Path:
    """A tiny random model, with what Qwen2.5's own tokenizer says of its beginnings."""
    random_model.write(folder, "tiny", **changes)
    return as_qwens(folder)


def as_qwens(folder: Path) -> Path:
    """Have a model's tokenizer say what Qwen2.5's own says of its beginnings."""
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "add_bos_token": False}, indent=2), encoding="utf-8")
    return folder


def asked(task: str) -> list[Message]:
    """A prompt of the task, as it was trained."""
    facts = prompts.facts("i-1", "10.0.0.5", "3", "10:15 to 10:20", 7.5, 3)
    return prompts.load(Path(prompts.__file__).parent)[task].render(facts, EVIDENCE)


def conversation(task: str) -> list[Message]:
    return [*asked(task), Message("assistant", ANSWERS[task])]


def write_eval(path: Path) -> Path:
    lines = [
        {
            "messages": [{"role": m.role, "content": m.content} for m in conversation(task)],
            "task": task,
        }
        for task in ("summary", "summary", "cause", "risk")
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def run(model: Path, *more: object) -> int:
    return export.main([str(part) for part in ("--model", model, "--threads", 1, *more)])
