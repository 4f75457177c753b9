"""Render the emitted records: `sft_records` with its texts in, JSONL and `conversations` out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from immune_data import chat, prompts
from immune_data.parallel import in_order
from immune_data.prompts import Message, Prompt
from immune_data.recipes import Recipe
from immune_data.tokens import count, cut
from immune_data.vocabulary import ADDED_TOKENS

if TYPE_CHECKING:
    import duckdb

SPLITS = ("train", "eval")

_ADDED_TOKEN = re.compile("|".join(map(re.escape, ADDED_TOKENS)))
_GROUPS = 64

# One row per incident and run of its records, its evidence once: texts join last.
_QUERY = """
with grouped as (
    select
        sft_records.split,
        min(sft_records.line) as line,
        sft_records.incident_id,
        any_value(sft_records.dag_dataset) as dag_dataset,
        list({
            'line': sft_records.line,
            'task': sft_records.task,
            'model': sft_records.model,
            'score': sft_records.score,
            'origin': sft_records.origin,
            'answer': responses.text
        } order by sft_records.line) as records
    from sft_records
    inner join responses using (incident_id, task, model)
    group by
        sft_records.split, sft_records.incident_id, sft_records.origin, sft_records.copy
)
select grouped.*, incidents.* exclude (incident_id), dags.text as dag, dags.tokens as dag_tokens
from grouped
inner join incidents on grouped.incident_id = incidents.incident_id
inner join dags
    on grouped.incident_id = dags.incident_id and grouped.dag_dataset = dags.dataset
order by grouped.split, grouped.line
"""


class Turn(msgspec.Struct, frozen=True):
    """One message of a record."""

    role: str
    content: str


class Record(msgspec.Struct, frozen=True):
    """One line of an emitted file; the fields stand in the order of its keys."""

    messages: list[Turn]
    incident_id: str
    task: str
    model: str
    score: float | None
    dag_truncated: bool
    origin: str
    tokens: int


@dataclass(frozen=True)
class Renderer:
    """What a worker needs to render records: the prompts, and how to cut the evidence."""

    prompts: dict[str, Prompt]
    dag_limit: int
    dag_unit: str
    dag_marker: str

    def evidence(self, dag: str, tokens: int) -> str:
        if self.dag_unit == "tokens" and tokens <= self.dag_limit:
            return dag
        return cut(dag, self.dag_limit, self.dag_marker, self.dag_unit)

    def render(self, groups: list[dict[str, Any]]) -> list[tuple[bytes, dict[str, Any]]]:
        """Per record its line of JSON and its row of `conversations`."""
        return [rendered for group in groups for rendered in self._group(group)]

    def _group(self, group: dict[str, Any]) -> Iterator[tuple[bytes, dict[str, Any]]]:
        evidence = self.evidence(group["dag"], group["dag_tokens"])
        truncated = evidence != group["dag"]
        shown = count(evidence) if truncated else group["dag_tokens"]
        facts = prompts.facts(
            group["incident_id"],
            group["source_ip"],
            group["timewindow"],
            group["timeline"],
            group["threat_level"],
            group["event_count"],
        )
        for record in group["records"]:
            asked = self.prompts[record["task"]].render(facts, evidence)
            messages = [*asked, Message("assistant", record["answer"])]
            lengths = chat.measure(messages)
            turns = [Turn(message.role, message.content) for message in messages]
            line = Record(
                messages=turns,
                incident_id=group["incident_id"],
                task=record["task"],
                model=record["model"],
                score=record["score"],
                dag_truncated=truncated,
                origin=record["origin"],
                tokens=lengths.total,
            )
            yield (
                msgspec.json.encode(line) + b"\n",
                {
                    "split": group["split"],
                    "line": record["line"],
                    "incident_id": line.incident_id,
                    "task": line.task,
                    "model": line.model,
                    "origin": line.origin,
                    "tokens": lengths.total,
                    "prompt_tokens": lengths.prompt,
                    "answer_tokens": lengths.answer,
                    "dag_tokens": group["dag_tokens"],
                    "dag_tokens_shown": shown,
                    "dag_truncated": truncated,
                    "holds_added_token": any(
                        _ADDED_TOKEN.search(message.content) for message in messages
                    ),
                    "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
                },
            )


def renderer(recipe: Recipe) -> Renderer:
    """The renderer of a recipe, its prompts read."""
    return Renderer(
        prompts=prompts.load(recipe.prompts_folder),
        dag_limit=recipe.dag.limit,
        dag_unit=recipe.dag.unit,
        dag_marker=recipe.dag_marker,
    )


def write(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    renderer: Renderer,
    pool: Executor | None,
) -> None:
    """Write `train.jsonl` and `eval.jsonl` into `folder` and make the relation `conversations`."""
    import polars as pl

    schema = {
        "split": pl.String,
        "line": pl.Int64,
        "incident_id": pl.String,
        "task": pl.String,
        "model": pl.String,
        "origin": pl.String,
        "tokens": pl.Int64,
        "prompt_tokens": pl.Int64,
        "answer_tokens": pl.Int64,
        "dag_tokens": pl.Int64,
        "dag_tokens_shown": pl.Int64,
        "dag_truncated": pl.Boolean,
        "holds_added_token": pl.Boolean,
        "messages": pl.List(pl.Struct({"role": pl.String, "content": pl.String})),
    }
    inserting = connection.cursor()
    inserting.execute(f"use {_current_schema(connection)}")

    def insert(verb: str, rows: list[dict[str, Any]]) -> None:
        inserting.register("rendered", pl.DataFrame(rows, schema=schema).to_arrow())
        inserting.execute(f"{verb} from rendered")
        inserting.unregister("rendered")

    insert("create table conversations as", [])
    files = {split: (folder / f"{split}.jsonl").open("wb") for split in SPLITS}
    try:
        work = in_order(pool, partial(_render, renderer), _batches(connection), lambda item: item)
        for _, rendered in work:
            for line, row in rendered:
                files[row["split"]].write(line)
            insert("insert into conversations", [row for _, row in rendered])
    finally:
        for file in files.values():
            file.close()


def _current_schema(connection: duckdb.DuckDBPyConnection) -> str:
    return f'"{connection.execute("select current_schema()").fetchall()[0][0]}"'


def _batches(connection: duckdb.DuckDBPyConnection) -> Iterator[list[dict[str, Any]]]:
    for batch in connection.sql(_QUERY).to_arrow_reader(_GROUPS):
        yield batch.to_pylist()


def _render(renderer: Renderer, groups: list[dict[str, Any]]) -> list[tuple[bytes, dict]]:
    return renderer.render(groups)
