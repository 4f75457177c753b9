"""The closing note of a labelling, for a reader or as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from immune_data.ask.asking import Report
from immune_data.ask.note import print_sent
from immune_data.common.table import show as show_table
from immune_data.common.text import one_line
from immune_data.label import dataset_files
from immune_data.label.dataset_files import Written
from immune_data.prompts import TASKS


def show(report: Report, written: Written, folder: Path, *, as_json: bool) -> None:
    """Print what was written."""
    reasons = list(dataset_files.reasons(written))
    if as_json:
        answers = [
            {"model": model, "task": task, "answers": number}
            for (model, task), number in sorted(written.answers.items())
        ]
        rejects = [
            {"model": model, "task": task, "reason": reason, "rejects": number}
            for model, task, reason, number in reasons
        ]
        content = {
            "asked": asdict(report),
            "answers": answers,
            "rejects": rejects,
            "rejected_rows": dict(written.rows),
            "still_open": written.open,
            "output": str(folder),
        }
        print(json.dumps(content, indent=2))
        return
    models = sorted({model for model, _ in written.answers})
    if models:
        show_table(
            "answers",
            ["model", *TASKS],
            [[model, *(written.answers[model, task] for task in TASKS)] for model in models],
        )
    if reasons:
        show_table("no answer", ["model", "task", "reason", "answers"], reasons)
    if written.rows:
        show_table("rejected rows", ["reason", "rows"], sorted(written.rows.items()))
    print_sent(report)
    print(one_line(f"wrote {folder}"))
