"""The way of all incidents: a recipe's connection in, the losses of each step and outcomes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from immune_data.common import duck, table
from immune_data.select import steps

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]


def gather(connection: duckdb.DuckDBPyConnection) -> dict[str, list[Row]]:
    """The steps, the accounts and the rejects."""
    return {
        "funnel": duck.rows(connection, "select step, incidents, records, lost, why from funnel"),
        "accounts": duck.rows(connection, steps.text("report/accounts.sql")),
        "rejects": duck.rows(connection, steps.text("emit/rejects.sql")),
    }


def show(tables: dict[str, list[Row]]) -> None:
    """Print them as tables."""
    accounts, rejects = tables["accounts"], tables["rejects"]
    table.show(
        "the way of the incidents",
        ["step", "incidents", "records", "lost", "why"],
        [[*list(row.values())[:3], row["lost"] or None, row["why"]] for row in tables["funnel"]],
    )
    total = [
        "every source incident",
        *(sum(row[task] for row in accounts) for task in ("summary", "cause", "risk")),
    ]
    table.show(
        "incidents by task: emitted, or the first reason why not",
        ["account", "summary", "cause", "risk"],
        [*(list(row.values()) for row in accounts), total],
    )
    if rejects:
        table.show("rejects", list(rejects[0]), [list(row.values()) for row in rejects])
