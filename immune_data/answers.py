"""The relations `cleaning` and `cleaned`: what a recipe's cleaning does to the answers.

In: the tables and the recipe's settings. Out: `cleaning`, one row per answer and rule that
touched it (`changed` or `refused`), and `cleaned`, one row per answer whose text was changed, with
the measures that `responses` has. Both are empty for a recipe that takes answers as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any

from immune_data.cleaning import clean
from immune_data.measures import measure
from immune_data.parallel import in_order
from immune_data.records import Renderer, facts_of

if TYPE_CHECKING:
    import duckdb

_ANSWERS = 512

_QUERY = """
select responses.incident_id, responses.task, responses.model, responses.text,
    incidents.* exclude (incident_id)
from responses
inner join incidents on responses.incident_id = incidents.incident_id
semi join judgements on responses.incident_id = judgements.incident_id
where (select answers_cleaned from settings)
order by responses.incident_id, responses.task, responses.model
"""

_TABLES = """
create table cleaning (
    incident_id varchar, task varchar, model varchar, rule varchar, effect varchar
);
create table cleaned (
    incident_id varchar, task varchar, model varchar, text varchar,
    tokens bigint, chars bigint, words bigint, risk_level varchar
);
"""


def write(connection: duckdb.DuckDBPyConnection, renderer: Renderer, pool: Executor | None) -> None:
    """Make both relations in the current schema."""
    from immune_data.pipeline import inserter

    connection.execute(_TABLES)
    insert = inserter(connection)
    work = in_order(pool, partial(_clean_all, renderer), _batches(connection), lambda item: item)
    for _, (rules, answers) in work:
        insert("cleaning", rules)
        insert("cleaned", answers)


def _batches(connection: duckdb.DuckDBPyConnection) -> Iterator[list[dict[str, Any]]]:
    for batch in connection.sql(_QUERY).to_arrow_reader(_ANSWERS):
        yield batch.to_pylist()


def _clean_all(
    renderer: Renderer, responses: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rules: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for response in responses:
        key = {name: response[name] for name in ("incident_id", "task", "model")}
        cleaned = clean(response["text"], response["task"])
        refused_by = cleaned.refused_by
        if refused_by is None and not renderer.fits(
            response["task"], facts_of(response), cleaned.text
        ):
            refused_by = "too_long"
        rules += [{**key, "rule": rule, "effect": "changed"} for rule in cleaned.changed_by]
        if refused_by is not None:
            rules.append({**key, "rule": refused_by, "effect": "refused"})
        elif cleaned.changed_by:
            answers.append({**key, "text": cleaned.text, **measure(response["task"], cleaned.text)})
    return rules, answers
