"""The table at the end of `emit`: a manifest in, the funnel, the records and the warnings out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from immune_data.common import table
from immune_data.common.text import counted, one_line
from immune_data.contract.manifest import Manifest, TaskCount, Warnings

_WARNINGS = {
    "eval incident in train": "an evaluation on them is worth nothing",
    "over the context": "longer than the context of {context:,} tokens",
    "whole answer past the context": "losing their whole answer at {context:,} tokens",
    "control token as text": "holding one of Qwen2.5's added tokens as text",
}


def show(folder: Path, content: Manifest, *, current: bool) -> None:
    """Print the numbers in the manifest of `folder`."""
    counts = content.counts
    table.show(
        "the way of the incidents",
        ["step", "incidents", "records", "lost", "why"],
        [
            [row.step, row.incidents, row.records, row.lost or None, row.why]
            for row in counts.funnel
        ],
    )
    table.show("records", ["split", "task", "records", "tokens"], _tasks(counts.tasks))
    if content.synthetic:
        print("synthetic: made from source files that a program made up; not real data")
    context = content.inputs.settings["records"]["max_sequence_tokens"]
    for row in counts.rejects:
        noun = ("row",) if row.scope == "row" else ("entry", "entries")
        print(one_line(f"rejected: {counted(row.rejects, *noun)} of {row.file}: {row.reason}"))
    for side in counts.sides:
        if side.split == "eval" and side.uneven and side.share is not None:
            print(
                f"warning: eval is {100 * side.share:.3g}% of the passing incidents, where the "
                f"recipe asks for {100 * side.share_asked:.3g}%"
            )
    for warning in counts.warnings:
        print(_warning(warning, context))
    if counts.warnings:
        print(f'all of them: `from "{content.recipe}".warnings` in the database')
    print(f"{folder} is current: nothing to do" if current else f"wrote {folder}")


def missing(content: Manifest) -> str | None:
    """Which side of a dataset has no records, and why; None if both have some."""
    sides = [(side.split, side.reason) for side in content.counts.sides if side.reason is not None]
    if not sides:
        return None
    split, reason = sides[0]
    records = "no record" if len(sides) == 2 else f"no {split} record"
    return f"{content.recipe} has {records}: {one_line(reason, 400)}"


def _warning(row: Warnings, context: int) -> str:
    records = counted(row.records, f"{row.split} record")
    if row.warning == "eval incident in train":
        records += f" of {counted(row.incidents, 'eval incident')}"
    return f"warning: {records}: {_WARNINGS[row.warning].format(context=context)}"


def _tasks(rows: list[TaskCount]) -> list[list[Any]]:
    table_rows = []
    for split in ("train", "eval"):
        of_split = {row.task: row for row in rows if row.split == split}
        ordered = [of_split[task] for task in ("summary", "cause", "risk") if task in of_split]
        table_rows += [[split, row.task, row.records, row.tokens] for row in ordered]
        total = [sum(getattr(row, key) for row in ordered) for key in ("records", "tokens")]
        table_rows.append([split, "all", *total])
    return table_rows
