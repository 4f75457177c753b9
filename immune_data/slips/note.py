"""The closing note: an output in, the outcome of every line out, for a reader or as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import PurePath

from immune_data.common.table import show as show_table
from immune_data.common.text import counted, one_line
from immune_data.slips.build import Output

_COLUMNS = {
    "incidents": "incidents",
    "events": "events",
    "linked": "in incidents",
    "alone": "in none",
    "missing": "missing",
    "repeated": "repeated",
    "rejected": "rejected",
}


def show(output: Output, *, as_json: bool) -> None:
    """Print the note."""
    if as_json:
        content = {"files": output.accounts, "rejects": output.reasons, "taken": output.strata}
        print(json.dumps(content, indent=2))
        return
    folder, names = _within([account["file"] for account in output.accounts])
    rows = [
        [names[account["file"]], *(account[name] for name in _COLUMNS)]
        for account in output.accounts
    ]
    if len(rows) > 1:
        rows.append(["all", *(sum(row[i + 1] for row in rows) for i in range(len(_COLUMNS)))])
    show_table(f"alerts in {folder}", ["file", *_COLUMNS.values()], rows)
    if output.reasons:
        rows = [[names[row["file"]], row["reason"], row["lines"]] for row in output.reasons]
        show_table("rejected lines", ["file", "reason", "lines"], rows)
    if output.selection.narrows:
        rows = [
            [
                row["capture"],
                row["category"],
                _tier(row["tier"], output.selection.tiers),
                row["incidents"],
                row["events"],
            ]
            for row in output.strata
        ]
        show_table("taken", ["capture", "category", "tier", "incidents", "events"], rows)
    for account in output.accounts:
        if not account["incidents"]:
            print(one_line(f"no incident in {account['file']}"))
    number = sum(row["incidents"] for row in output.strata)
    print(one_line(f"wrote {counted(number, 'incident')} to {output.incidents}"))


def _within(files: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The common folder of the files, and the name of each relative to it."""
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
