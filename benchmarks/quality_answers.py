"""The answers of a cell as `immune_train.generate --eval` writes them: a cell in, a file out."""

from __future__ import annotations

from pathlib import Path

import msgspec
from quality_cell import Cell

from immune_data.common import files

FOLDER = "answers"


def write(output: Path, cell: Cell) -> Path:
    """Write `answers/RECIPE-SEED.jsonl`, one answer a line, and say where it is."""
    path = output / FOLDER / f"{cell.recipe}-{cell.seed}.jsonl"
    rows = (
        {
            "incident_id": one.incident_id,
            "task": one.task,
            "answer": one.answer,
            "finish": one.finish,
        }
        for one in cell.measured
    )
    with files.replacing(path) as beside:
        beside.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return path
