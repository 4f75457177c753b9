"""The relation `condensed`: the evidence of judged incidents as the recipe condenses it (rule 11).

In: the tables and the recipe's settings. Out: one row per incident and dataset, the text and its
tokens, in the order of the table. It is empty for a recipe that shows the evidence's lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from immune_data.common.processes import in_order
from immune_data.contract.evidence import condense
from immune_data.contract.tokens import count
from immune_data.recipes import Recipe
from immune_data.select import steps
from immune_data.select.relations import appending

if TYPE_CHECKING:
    import duckdb

_DAGS = 64

_CONDENSED = {
    **dict.fromkeys(("incident_id", "dataset", "text"), pl.String),
    "tokens": pl.Int64,
}


def write(connection: duckdb.DuckDBPyConnection, recipe: Recipe, pool: Executor | None) -> None:
    """Make the relation in the current schema."""
    work = in_order(pool, partial(_condense_all, recipe.dag.values), _batches(connection))
    with appending(connection) as append:
        append("condensed", pl.DataFrame(schema=_CONDENSED))
        for rows in work:
            append("condensed", pl.DataFrame(rows, schema=_CONDENSED))


def _batches(connection: duckdb.DuckDBPyConnection) -> Iterator[list[dict[str, str]]]:
    dags = connection.sql(steps.text("emit/dags_to_condense.sql"))
    for batch in dags.to_arrow_reader(_DAGS):
        yield pl.DataFrame(batch).to_dicts()


def _condense_all(values: int, dags: list[dict[str, str]]) -> list[dict[str, str | int]]:
    return [
        {**dag, "text": text, "tokens": count(text)}
        for dag in dags
        for text in [condense(dag["text"], values)]
    ]
