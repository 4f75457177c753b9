"""The closing note: what became of every line of every file, for a reader or as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import PurePath

from immune_data.common.table import show as show_table
from immune_data.common.text import counted, one_line
from immune_data.slips.build import Made

_COLUMNS = {
    "incidents": "incidents",
    "events": "events",
    "linked": "in incidents",
    "alone": "in none",
    "missing": "missing",
    "repeated": "repeated",
    "rejected": "rejected",
}


def show(made: Made, *, as_json: bool) -> None:
    """Print it."""
    if as_json:
        said = {"files": made.accounts, "rejects": made.reasons, "taken": made.strata}
        print(json.dumps(said, indent=2))
        return
    folder, names = _within([account["file"] for account in made.accounts])
    rows = [
        [names[account["file"]], *(account[name] for name in _COLUMNS)] for account in made.accounts
    ]
    if len(rows) > 1:
        rows.append(["all", *(sum(row[i + 1] for row in rows) for i in range(len(_COLUMNS)))])
    show_table(f"alerts in {folder}", ["file", *_COLUMNS.values()], rows)
    if made.reasons:
        rows = [[names[row["file"]], row["reason"], row["lines"]] for row in made.reasons]
        show_table("rejected lines", ["file", "reason", "lines"], rows)
    if made.selection.narrows:
        rows = [
            [
                row["capture"],
                row["category"],
                _tier(row["tier"], made.selection.tiers),
                row["incidents"],
                row["events"],
            ]
            for row in made.strata
        ]
        show_table("taken", ["capture", "category", "tier", "incidents", "events"], rows)
    for account in made.accounts:
        if not account["incidents"]:
            print(one_line(f"no incident in {account['file']}"))
    written = sum(row["incidents"] for row in made.strata)
    print(one_line(f"wrote {counted(written, 'incident')} to {made.incidents}"))


def _within(files: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The folder around all of the files, and what each is called in it."""
    parents = [os.path.dirname(file) for file in files]  # noqa: PTH120
    folder = os.path.commonpath(parents) if all(map(os.path.isabs, files)) else ""
    if not folder and len(set(parents)) == 1:
        folder = parents[0]
    names = {file: str(PurePath(file).relative_to(folder)) for file in files}
    return folder or ".", names


def _tier(tier: int, tiers: Sequence[int]) -> str:
    """The numbers of events of a tier."""
    if not tiers:
        return "all"
    if tier == 0:
        return f"to {tiers[0]:,}"
    if tier == len(tiers):
        return f"over {tiers[-1]:,}"
    return f"{tiers[tier - 1] + 1:,} to {tiers[tier]:,}"
