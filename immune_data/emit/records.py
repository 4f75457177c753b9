"""Render the emitted records: `sft_records` with its texts in, JSONL and `conversations` out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from immune_data.common import duck
from immune_data.common.processes import Pool, behind, in_order, release
from immune_data.contract import answer_fields, chat, control_tokens, prompting
from immune_data.contract.prompting import Conversations, Counted
from immune_data.contract.record import Record, polars_schema
from immune_data.prompts import Message
from immune_data.recipes import Recipe
from immune_data.select import steps, texts

if TYPE_CHECKING:
    import duckdb

SPLITS = ("train", "eval")
_KEYS = polars_schema()
_SEVERITIES = [severity.lower() for severity in answer_fields.SEVERITIES]
CONVERSATIONS: dict[str, pl.DataType | type[pl.DataType]] = {
    "split": pl.String(),
    "line": pl.Int64(),
    **{key: _KEYS[key] for key in ("incident_id", "task", "model", "origin", "tokens")},
    "prompt_tokens": pl.Int64,
    "answer_tokens": pl.Int64,
    "dag_tokens": pl.Int64,
    "dag_tokens_shown": pl.Int64,
    "dag_truncated": _KEYS["dag_truncated"],
    "holds_added_token": pl.Boolean,
    "answer_lacks": pl.List(pl.String),
    "answer_events": pl.Int64,
    "answer_total_evidence": pl.Int64,
    "answer_severities": pl.Struct(dict.fromkeys(_SEVERITIES, pl.Int64)),
    "messages": _KEYS["messages"],
}

_BATCH = 192


@dataclass(frozen=True)
class Batch:
    """A batch of records with their texts, in UTF-8, by start and size in the file of texts."""

    records: pa.RecordBatch
    texts: dict[tuple[int, int], bytes]

    def text(self, record: dict[str, Any], text: str) -> str:
        return self.texts[record[f"{text}_start"], record[f"{text}_size"]].decode()


@dataclass(frozen=True)
class RenderedBatch:
    """A batch of records: their lines of JSON by split, and their rows of `conversations`."""

    lines: dict[str, bytes]
    conversations: pa.Table


@dataclass(frozen=True)
class Renderer:
    """What a worker needs to render records."""

    asking: Conversations
    context: int | None  # the tokens that a whole conversation must fit in, if there is a limit

    def render(self, batch: Batch) -> RenderedBatch:
        """Records as lines of JSON by split and as rows."""
        lines: dict[str, list[bytes]] = {split: [] for split in SPLITS}
        rows = []
        for _, group in groupby(batch.records.to_pylist(), itemgetter("dag_row")):
            for line, row in self._group(batch, list(group)):
                lines[row["split"]].append(line)
                rows.append(row)
        return RenderedBatch(
            {split: b"".join(lines[split]) for split in SPLITS},
            pl.DataFrame(rows, schema=CONVERSATIONS).rechunk().to_arrow(),
        )

    def _group(
        self, batch: Batch, group: list[dict[str, Any]]
    ) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """The lines and rows of consecutive records with the same evidence."""
        facts = self.asking.facts(group[0])
        dag = self.asking.evidence(batch.text(group[0], "dag"), group[0]["dag_tokens"])
        answers = [
            Counted(batch.text(record, "answer"), record["answer_tokens"]) for record in group
        ]
        ends = [
            (record["task"], _end(answer)) for record, answer in zip(group, answers, strict=True)
        ]
        shown = self.asking.shown(facts, dag, self.context, ends)
        for record, answer, evidence in zip(group, answers, shown, strict=True):
            task = record["task"]
            messages = self._messages(task, facts, evidence, answer)
            lengths = _measure(messages, evidence, answer)
            parts = answer_fields.parse(task, answer.text)
            line = Record(
                messages=messages,
                incident_id=record["incident_id"],
                task=task,
                model=record["model"],
                score=record["score"],
                dag_truncated=self.asking.is_cut(dag, evidence),
                origin=record["origin"],
                tokens=lengths.total,
            )
            yield (
                msgspec.json.encode(line) + b"\n",
                {
                    "split": record["split"],
                    "line": record["line"],
                    "incident_id": line.incident_id,
                    "task": line.task,
                    "model": line.model,
                    "origin": line.origin,
                    "tokens": lengths.total,
                    "prompt_tokens": lengths.prompt,
                    "answer_tokens": lengths.answer,
                    "dag_tokens": dag.tokens,
                    "dag_tokens_shown": evidence.tokens,
                    "dag_truncated": line.dag_truncated,
                    "holds_added_token": any(control_tokens.contains(m.content) for m in messages),
                    "answer_lacks": list(parts.missing),
                    "answer_events": parts.fields.get("events"),
                    "answer_total_evidence": parts.fields.get("total_evidence"),
                    "answer_severities": parts.fields.get("severity_breakdown"),
                    "messages": [{"role": m.role, "content": m.content} for m in messages],
                },
            )

    def _messages(
        self, task: str, facts: dict[str, str], evidence: Counted, answer: Counted
    ) -> list[Message]:
        prompt = self.asking.messages(task, facts, evidence.text)
        return [*prompt, Message("assistant", answer.text)]


def _end(answer: Counted) -> int:
    """The tokens of an answer with its end."""
    return chat.measure([Message("assistant", answer.text)], {answer.text: answer.tokens}).answer


def _measure(messages: list[Message], evidence: Counted, answer: Counted) -> chat.Lengths:
    known = {evidence.text: evidence.tokens, answer.text: answer.tokens}
    return chat.measure(messages, known)


def renderer(recipe: Recipe) -> Renderer:
    """The renderer of a recipe, with its prompts loaded.

    Raises:
        ImmuneError: the prompts are not valid, or the recipe neutralises control tokens and its own
            prompts or marker contain one.
    """
    return Renderer(
        asking=prompting.load(recipe),
        context=recipe.records.max_sequence_tokens if recipe.dag.within_context else None,
    )


def write(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    renderer: Renderer,
    pool: Pool | None,
) -> None:
    """Write `train.jsonl` and `eval.jsonl` into `folder` and make the relation `conversations`."""
    file, conversations = folder / "texts", folder / "conversations.parquet"
    records = connection.sql(steps.text("emit/records.sql"))
    places = texts.write(connection, _rows_of_texts(records), file)
    schema = pl.DataFrame(schema=CONVERSATIONS).to_arrow().schema
    with (
        file.open("rb") as texts_file,
        (folder / "train.jsonl").open("wb") as train,
        (folder / "eval.jsonl").open("wb") as held_out,
        pq.ParquetWriter(duck.path(conversations), schema, compression="lz4") as writer,
        behind() as do,
    ):
        placed = (_with_places(batch, places) for batch in records.to_arrow_reader(_BATCH))
        batches = (_with_texts(batch, texts_file) for batch in placed)
        for rendered in in_order(pool, renderer.render, batches):
            train.write(rendered.lines["train"])
            held_out.write(rendered.lines["eval"])
            do(writer.write_table, rendered.conversations)
    release()
    # Through a file: rows appended in one transaction would all stay in memory until its end.
    connection.execute(
        f"create table conversations as from {duck.PARQUET}",
        [duck.pattern(conversations)],
    )
    file.unlink()
    conversations.unlink()


def _rows_of_texts(records: duckdb.DuckDBPyRelation) -> dict[str, np.ndarray]:
    """The rows of tables with the texts of the records."""
    names = "dag_row, dag_condensed, answer_row, answer_cleaned"
    rows = records.project(names).fetchnumpy()
    condensed, cleaned = rows["dag_condensed"], rows["answer_cleaned"]
    return {
        "dags": rows["dag_row"][~condensed],
        "condensed": rows["dag_row"][condensed],
        "responses": rows["answer_row"][~cleaned],
        "cleaned": rows["answer_row"][cleaned],
    }


def _with_places(records: pa.RecordBatch, places: texts.Places) -> pa.RecordBatch:
    """Records with the places of their texts."""
    frame = pl.DataFrame(records)
    first = places.first
    for text, changed, table, other in (
        ("dag", "dag_condensed", "dags", "condensed"),
        ("answer", "answer_cleaned", "responses", "cleaned"),
    ):
        of_table = frame[changed].replace_strict(
            {False: first[table], True: first[other]}, return_dtype=pl.Int64
        )
        numbers = of_table + frame[f"{text}_row"]
        for part in ("start", "size"):
            # By Polars: for an array of numpy's pyarrow loads pandas, half a second.
            values = pl.Series(getattr(places, part)[numbers.to_numpy()]).to_arrow()
            records = records.append_column(f"{text}_{part}", values)
    return records


def _with_texts(records: pa.RecordBatch, file: BinaryIO) -> Batch:
    """Records with their texts from a file."""
    texts_by_place: dict[tuple[int, int], bytes] = {}
    for text in ("dag", "answer"):
        starts, sizes = (records[f"{text}_{part}"].to_pylist() for part in ("start", "size"))
        places = set(zip(starts, sizes, strict=True))
        texts_by_place |= {place: texts.read(file, *place) for place in places}
    return Batch(records, texts_by_place)
