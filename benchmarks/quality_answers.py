"""The answers of a cell as `immune_train.generate --eval` writes them: a cell in, a file out."""

from __future__ import annotations

from pathlib import Path

import msgspec
from quality_cell import Cell

from immune_data.common import files

FOLDER = "answers"


def write(output: Path, cell: Cell) -> Path:
    """Write `answers/RECIPE-SEED.jsonl`, one answer per line, and return its path."""
    path = output / FOLDER / f"{cell.recipe}-{cell.seed}.jsonl"
    rows = (
        {
            "incident_id": answer.incident_id,
            "task": answer.task,
            "answer": answer.answer,
            "finish": answer.finish,
        }
        for answer in cell.measured
    )
    with files.replacing(path) as temporary:
        temporary.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return path
