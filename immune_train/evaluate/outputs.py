"""The files of an evaluation: their names, and how they are written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from immune_data.common import files
from immune_train.evaluate.candidates import Candidate

if TYPE_CHECKING:
    from immune_data.common.drawing import Drawing

FOLDER = "evaluation"  # of a run, where `publish` looks
NUMBERS, PAGE = "evaluation.json", "evaluation.html"
RESULTS, CARD = "results.csv", "card_section.md"
FIGURES, BASELINES = "figures", "baselines"


def write(
    folder: Path, texts: dict[str, str], drawings: Sequence[Drawing], baselines: Sequence[Candidate]
) -> None:
    """Write an evaluation over an existing one, each file or folder atomically.

    Raises:
        ImmuneError: the folder cannot be written.
    """
    with files.locked(folder), files.staging(folder) as hidden:
        for name in (FIGURES, BASELINES):
            (hidden / name).mkdir()
        for name, text in texts.items():
            (hidden / name).write_text(text, encoding="utf-8")
        for figure in drawings:
            (hidden / FIGURES / f"{figure.name}.svg").write_text(figure.svg, encoding="utf-8")
            (hidden / FIGURES / f"{figure.name}.png").write_bytes(figure.png)
        for candidate in baselines:
            path = hidden / BASELINES / f"{candidate.name}.jsonl"
            path.write_text("".join(_lines(candidate)), encoding="utf-8")
        for path in sorted(hidden.iterdir()):
            files.move(path, folder / path.name)


def _lines(candidate: Candidate) -> Iterator[str]:
    """A candidate's answers as `generate` writes them."""
    for (incident, task), case in candidate.answers.items():
        row = {
            "incident_id": incident,
            "task": task,
            "model": candidate.name,
            "answer": case.answer,
            "finish": case.finish,
        }
        yield json.dumps(row, ensure_ascii=False) + "\n"
