"""The relations `cleaning` and `cleaned`: what a recipe's cleaning does to the answers.

In: the tables and the recipe's settings. Out: `cleaning`, one row per answer and rule with an
effect on it (`changed` or `refused`), and `cleaned`, one row per answer whose text was changed,
with the same measures as in `responses`; both in the order of that table. Both are empty for a
recipe that does not clean answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from immune_data.common.processes import Pool, in_order
from immune_data.contract.prompting import Counted
from immune_data.contract.tokens import count
from immune_data.read.measures import lengths
from immune_data.select import steps, texts
from immune_data.select.asking import Asking, Question, Refusal
from immune_data.select.cleaning_rules import clean
from immune_data.select.closing_lines import with_closing_lines
from immune_data.select.relations import appending

if TYPE_CHECKING:
    import duckdb

_ANSWERS = 512

_CLEANING: dict[str, type[pl.DataType]] = dict.fromkeys(
    ("incident_id", "task", "model", "rule", "effect", "detail"), pl.String
)
_CLEANED: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("incident_id", "task", "model", "text"), pl.String),
    **dict.fromkeys(("tokens", "chars", "words"), pl.Int64),
    "risk_level": pl.String,
}


def write(
    connection: duckdb.DuckDBPyConnection, folder: Path, asking: Asking, pool: Pool | None
) -> None:
    """Make both relations in the current schema; `folder` is for temporary files."""
    results = in_order(pool, partial(_clean_batch, asking), _batches(connection, folder))
    schemas = {"cleaning": _CLEANING, "cleaned": _CLEANED}
    with appending(connection) as append:
        for relation, schema in schemas.items():
            append(relation, pl.DataFrame(schema=schema))
        for result in results:
            for (relation, schema), rows in zip(schemas.items(), result, strict=True):
                append(relation, pl.DataFrame(rows, schema=schema))


def _batches(connection: duckdb.DuckDBPyConnection, folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Answers of judged incidents, each with its incident's facts and evidence."""
    incidents = connection.sql(steps.text("emit/judged_incidents.sql")).pl()
    answers = connection.sql(steps.text("emit/answers_to_clean.sql"))
    rows = incidents["condensed_row"].drop_nulls().to_numpy()
    file = folder / "evidence"
    places = texts.write(connection, {"condensed": rows}, file)
    with file.open("rb") as texts_file:
        for batch in answers.to_arrow_reader(_ANSWERS):
            frame = pl.DataFrame(batch)
            matching = _rows_of_incidents(incidents, frame["incident_id"])
            # One object for all answers of an incident: it travels to a worker once.
            evidence = {
                row: texts.read(texts_file, places.start[row], places.size[row]).decode()
                for row in matching["condensed_row"].drop_nulls()
            }
            rows_of_batch = frame.join(matching, on="incident_id", maintain_order="left").to_dicts()
            for answer in rows_of_batch:
                answer["condensed"] = evidence.get(answer.pop("condensed_row"))
            yield rows_of_batch
    file.unlink()


def _rows_of_incidents(incidents: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    """Of `incidents`, in the order of their ids, the rows of these ids and perhaps others."""
    rows = incidents["incident_id"].search_sorted(ids.unique())
    return incidents[rows.filter(rows < incidents.height).unique()]


def _clean_batch(
    asking: Asking, responses: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rules: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    questions: dict[tuple[str, str], Question] = {}
    for response in responses:
        key = {name: response[name] for name in ("incident_id", "task", "model")}
        task = response["task"]
        if (question_key := (key["incident_id"], task)) not in questions:
            questions[question_key] = asking.question(task, response)
        question = questions[question_key]
        cleaned = clean(response["text"], task)
        text, changed_by, refusal = cleaned.text, list(cleaned.changed_by), None
        if cleaned.refused_by is not None:
            refusal = Refusal(cleaned.refused_by)
        else:
            if asking.derived_lines and task == "summary" and question.shown is not None:
                text = with_closing_lines(text, question.shown.text)
                changed_by += ["closing_lines"] if text != cleaned.text else []
            tokens = count(text) if changed_by else response["tokens"]
            refusal = question.refusal(Counted(text, tokens))
        rules += [{**key, "rule": rule, "effect": "changed"} for rule in changed_by]
        if refusal is not None:
            rules.append(
                {**key, "rule": refusal.rule, "effect": "refused", "detail": refusal.detail}
            )
        elif changed_by:
            measures = lengths(task, text)
            answers.append({**key, "text": text, "tokens": tokens, **measures})
    return rules, answers
