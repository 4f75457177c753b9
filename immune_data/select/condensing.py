"""The relations `condensed` and `evidence_digests`: the evidence of judged incidents, condensed.

In: the tables and the recipe's settings. Out: one row per incident and dataset, in the order of
the table: in `condensed` the text and its tokens (rule 11), and in `evidence_digests` the sha256
of the text below its header, by which evidence is compared (rule 15). The first is empty for a
recipe that shows the evidence's lines, the second for one that does not split by hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from immune_data.common.processes import Pool, in_order
from immune_data.contract import evidence
from immune_data.contract.evidence import Evidence
from immune_data.contract.tokens import count
from immune_data.recipes import Recipe
from immune_data.select import steps
from immune_data.select.relations import appending

if TYPE_CHECKING:
    import duckdb

_DAGS = 64

_CONDENSED: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("incident_id", "dataset", "text"), pl.String),
    "tokens": pl.Int64,
}
_DIGESTS: dict[str, type[pl.DataType]] = dict.fromkeys(
    ("incident_id", "dataset", "sha256"), pl.String
)

# Makes a relation's row for a DAG, without its key.
Maker = Callable[[Evidence, int], dict[str, Any]]


def write(connection: duckdb.DuckDBPyConnection, recipe: Recipe, pool: Pool | None) -> None:
    """Make both relations in the current schema."""
    makers: dict[str, Maker] = {}
    if recipe.dag.form == "condensed":
        makers["condensed"] = _condensed
    if recipe.split.method == "hashed":
        makers["evidence_digests"] = _digest
    batches = in_order(pool, partial(_rows, makers, recipe.dag.values), _batches(connection))
    schemas = {"condensed": _CONDENSED, "evidence_digests": _DIGESTS}
    with appending(connection) as append:
        for relation, schema in schemas.items():
            append(relation, pl.DataFrame(schema=schema))
        for rows_by_relation in batches:
            for relation, rows in rows_by_relation.items():
                append(relation, pl.DataFrame(rows, schema=schemas[relation]))


def _batches(connection: duckdb.DuckDBPyConnection) -> Iterator[list[dict[str, str]]]:
    dags = connection.sql(steps.text("emit/dags_to_condense.sql"))
    for batch in dags.to_arrow_reader(_DAGS):
        yield pl.DataFrame(batch).to_dicts()


def _rows(
    makers: dict[str, Maker], values: int, dags: list[dict[str, str]]
) -> dict[str, list[dict[str, Any]]]:
    """The rows that `makers` make of a batch of DAGs, by relation."""
    rows_by_relation: dict[str, list[dict[str, Any]]] = {relation: [] for relation in makers}
    for dag in dags:
        key = {name: dag[name] for name in ("incident_id", "dataset")}
        parsed = evidence.read(dag["text"])
        for relation, make in makers.items():
            rows_by_relation[relation].append(key | make(parsed, values))
    return rows_by_relation


def _condensed(dag: Evidence, values: int) -> dict[str, Any]:
    text = dag.text(values)
    return {"text": text, "tokens": count(text)}


def _digest(dag: Evidence, values: int) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(dag.below_header(values).encode()).hexdigest()}
