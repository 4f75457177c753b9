"""The relations `cleaning` and `cleaned`: what a recipe's cleaning does to the answers.

In: the tables and the recipe's settings. Out: `cleaning`, one row per answer and rule that
touched it (`changed` or `refused`), and `cleaned`, one row per answer whose text was changed, with
the measures that `responses` has. Both are empty for a recipe that takes answers as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from immune_data.common.processes import in_order
from immune_data.contract.prompting import Counted
from immune_data.contract.tokens import count
from immune_data.read.measures import lengths
from immune_data.select import steps
from immune_data.select.cleaning_rules import clean
from immune_data.select.relations import appending

if TYPE_CHECKING:
    import duckdb

_ANSWERS = 512

_CLEANING = dict.fromkeys(("incident_id", "task", "model", "rule", "effect"), pl.String)
_CLEANED = {
    **dict.fromkeys(("incident_id", "task", "model", "text"), pl.String),
    **dict.fromkeys(("tokens", "chars", "words"), pl.Int64),
    "risk_level": pl.String,
}


# The rule by which an answer of a task and incident is not whole in the context, if it must be.
Refusal = Callable[[str, dict[str, Any], Counted], str | None]


def write(connection: duckdb.DuckDBPyConnection, refusal: Refusal, pool: Executor | None) -> None:
    """Make both relations in the current schema."""
    work = in_order(pool, partial(_clean_all, refusal), _batches(connection))
    rules = [pl.DataFrame(schema=_CLEANING)]
    with appending(connection) as append:
        append("cleaned", pl.DataFrame(schema=_CLEANED))
        for touched, answers in work:
            rules.append(pl.DataFrame(touched, schema=_CLEANING))
            append("cleaned", pl.DataFrame(answers, schema=_CLEANED))
        keys = ["incident_id", "task", "model"]
        append("cleaning", pl.concat(rules).sort(keys, maintain_order=True))


def _batches(connection: duckdb.DuckDBPyConnection) -> Iterator[list[dict[str, Any]]]:
    incidents = connection.sql(steps.text("emit/judged_incidents.sql")).pl()
    answers = connection.sql(steps.text("emit/answers_to_clean.sql"))
    for batch in answers.to_arrow_reader(_ANSWERS):
        judged = pl.DataFrame(batch).join(incidents, on="incident_id", maintain_order="left")
        yield judged.to_dicts()


def _clean_all(
    refusal: Refusal, responses: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rules: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for response in responses:
        key = {name: response[name] for name in ("incident_id", "task", "model")}
        task = response["task"]
        cleaned = clean(response["text"], task)
        tokens = count(cleaned.text) if cleaned.changed_by else response["tokens"]
        answer = Counted(cleaned.text, tokens)
        refused_by = cleaned.refused_by or refusal(task, response, answer)
        rules += [{**key, "rule": rule, "effect": "changed"} for rule in cleaned.changed_by]
        if refused_by is not None:
            rules.append({**key, "rule": refused_by, "effect": "refused"})
        elif cleaned.changed_by:
            measures = lengths(task, cleaned.text)
            answers.append({**key, "text": cleaned.text, "tokens": tokens, **measures})
    return rules, answers
