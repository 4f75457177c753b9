"""Render the emitted records: `sft_records` with its texts in, JSONL and `conversations` out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
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
from immune_data.common.processes import behind, in_order, release
from immune_data.contract import answer_fields, chat, control_tokens, prompting
from immune_data.contract.prompting import Conversations, Counted
from immune_data.contract.record import Record, polars_schema
from immune_data.prompts import Message
from immune_data.recipes import Recipe
from immune_data.select.pipeline import appending

if TYPE_CHECKING:
    import duckdb

SPLITS = ("train", "eval")
_KEYS = polars_schema()
CONVERSATIONS = {
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
    "messages": _KEYS["messages"],
}


# Which rows of which table hold the texts of the records. Joins here see keys only: texts are
# then scanned, and neither joined nor sorted.
_WANTED_DAGS = """
select dags.rowid
from dags
semi join sft_records
    on dags.incident_id = sft_records.incident_id and dags.dataset = sft_records.dag_dataset
"""
_WANTED_RESPONSES = """
select responses.rowid
from responses
semi join sft_records using (incident_id, task, model)
anti join cleaned using (incident_id, task, model)
"""
_WANTED_CLEANED = """
select cleaned.rowid
from cleaned
semi join sft_records using (incident_id, task, model)
"""

# One row per record, in the order of the files, with the places of its texts.
_RECORDS = """
select
    sft_records.split,
    sft_records.line,
    sft_records.incident_id,
    sft_records.task,
    sft_records.model,
    sft_records.score,
    sft_records.origin,
    incidents.* exclude (incident_id),
    dag_places.place as dag_place,
    dag_places.tokens as dag_tokens,
    answer_places.place as answer_place,
    answer_places.tokens as answer_tokens
from sft_records
inner join incidents on sft_records.incident_id = incidents.incident_id
inner join dag_places
    on
        sft_records.incident_id = dag_places.incident_id
        and sft_records.dag_dataset = dag_places.dataset
inner join answer_places
    on
        sft_records.incident_id = answer_places.incident_id
        and sft_records.task = answer_places.task
        and sft_records.model = answer_places.model
order by sft_records.split, sft_records.line
"""
_BATCH = 192
_SCANNED = 1024


@dataclass(frozen=True)
class Rendered:
    """Some records: their lines of JSON by split, and their rows of `conversations`."""

    lines: dict[str, bytes]
    conversations: pa.Table


@dataclass(frozen=True)
class Renderer:
    """What a worker needs to render records."""

    asking: Conversations
    context: int | None  # the tokens a whole conversation must fit, if it must

    def fits(self, task: str, incident: dict[str, Any], answer: Counted) -> bool:
        """Whether the answer is whole in the context when nothing of the evidence is shown."""
        if self.context is None:
            return True
        marker = self.asking.nothing
        messages = self._messages(task, self.asking.facts(incident), marker, answer)
        return _measure(messages, marker, answer).total <= self.context

    def render(self, texts: Path, records: pa.RecordBatch) -> Rendered:
        """Records, whose texts lie in the file `texts`, as lines of JSON by split and as rows."""
        lines: dict[str, list[bytes]] = {split: [] for split in SPLITS}
        rows = []
        with texts.open("rb") as file:
            for _, group in groupby(records.to_pylist(), itemgetter("dag_place")):
                for line, row in self._group(file, list(group)):
                    lines[row["split"]].append(line)
                    rows.append(row)
        return Rendered(
            {split: b"".join(lines[split]) for split in SPLITS},
            pl.DataFrame(rows, schema=CONVERSATIONS).rechunk().to_arrow(),
        )

    def _group(
        self, texts: BinaryIO, group: list[dict[str, Any]]
    ) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Consecutive records that share their evidence."""
        facts = self.asking.facts(group[0])
        dag = self.asking.evidence(_text(texts, group[0]["dag_place"]), group[0]["dag_tokens"])
        answers = [
            Counted(_text(texts, record["answer_place"]), record["answer_tokens"])
            for record in group
        ]
        ends = [_end(answer) for answer in answers]
        limited = self._alike(facts, dag, group, ends)
        for record, answer, end in zip(group, answers, ends, strict=True):
            task = record["task"]
            evidence = limited
            if self.context is not None:
                evidence = self.asking.fitted(facts, dag, limited, self.context, {task: end})
            messages = self._messages(task, facts, evidence, answer)
            lengths = _measure(messages, evidence, answer)
            parts = answer_fields.parse(task, answer.text)
            line = Record(
                messages=messages,
                incident_id=record["incident_id"],
                task=task,
                model=record["model"],
                score=record["score"],
                dag_truncated=evidence.text != dag.text,
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
                    "holds_added_token": any(control_tokens.found(m.content) for m in messages),
                    "answer_lacks": list(parts.missing),
                    "answer_events": parts.fields.get("events"),
                    "answer_total_evidence": parts.fields.get("total_evidence"),
                    "messages": [{"role": m.role, "content": m.content} for m in messages],
                },
            )

    def _messages(
        self, task: str, facts: dict[str, str], evidence: Counted, answer: Counted
    ) -> list[Message]:
        asked = self.asking.messages(task, facts, evidence.text)
        return [*asked, Message("assistant", answer.text)]

    def _alike(
        self,
        facts: dict[str, str],
        dag: Counted,
        group: list[dict[str, Any]],
        ends: list[int],
    ) -> Counted:
        """What is shown of the DAG before it is asked whether the conversation fits."""
        if self.context is None or self.asking.layout == "documented":
            return self.asking.limited(dag)
        tasks = [record["task"] for record in group]
        return self.asking.shared(facts, dag, self.context, dict(zip(tasks, ends, strict=True)))


def _end(answer: Counted) -> int:
    """The tokens of a conversation from its answer on."""
    return chat.measure([Message("assistant", answer.text)], {answer.text: answer.tokens}).answer


def _measure(messages: list[Message], evidence: Counted, answer: Counted) -> chat.Lengths:
    known = {evidence.text: evidence.tokens, answer.text: answer.tokens}
    return chat.measure(messages, known)


def renderer(recipe: Recipe) -> Renderer:
    """The renderer of a recipe, its prompts read.

    Raises:
        ImmuneError: the prompts are not as they should be, or the recipe neutralises control
            tokens and its own prompts or marker hold one.
    """
    return Renderer(
        asking=prompting.load(recipe),
        context=recipe.records.max_sequence_tokens if recipe.dag.within_context else None,
    )


def write(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    renderer: Renderer,
    pool: Executor | None,
) -> None:
    """Write `train.jsonl` and `eval.jsonl` into `folder` and make the relation `conversations`."""
    texts, conversations = folder / "texts", folder / "conversations.parquet"
    _place_texts(connection, texts)
    schema = pl.DataFrame(schema=CONVERSATIONS).to_arrow().schema
    with (
        (folder / "train.jsonl").open("wb") as train,
        (folder / "eval.jsonl").open("wb") as held_out,
        pq.ParquetWriter(duck.path(conversations), schema, compression="lz4") as writer,
        behind() as do,
    ):
        batches = connection.sql(_RECORDS).to_arrow_reader(_BATCH)
        work = in_order(pool, partial(renderer.render, texts), batches)
        for rendered in work:
            train.write(rendered.lines["train"])
            held_out.write(rendered.lines["eval"])
            do(writer.write_table, rendered.conversations)
    release()
    # By way of a file: rows appended in one transaction would all wait in memory for its end.
    connection.execute(
        f"create table conversations as from {duck.PARQUET}",
        [duck.pattern(conversations)],
    )
    connection.execute("drop table dag_places; drop table answer_places")
    texts.unlink()
    conversations.unlink()


def _place_texts(connection: duckdb.DuckDBPyConnection, texts: Path) -> None:
    """Write the texts of the records into one file, and where each lies into two relations."""
    position = 0
    with texts.open("wb") as file, appending(connection) as append:
        for relation, keys, sources in (
            ("dag_places", ("incident_id", "dataset"), {"dags": _WANTED_DAGS}),
            (
                "answer_places",
                ("incident_id", "task", "model"),
                {"responses": _WANTED_RESPONSES, "cleaned": _WANTED_CLEANED},
            ),
        ):
            place = pl.Struct({"start": pl.Int64, "size": pl.Int64})
            schema = dict.fromkeys(keys, pl.String) | {"tokens": pl.Int64, "place": place}
            append(relation, pl.DataFrame(schema=schema))
            for table, wanted in sources.items():
                for rows in _rows(connection, table, keys, wanted):
                    size = rows["text"].str.len_bytes().cast(pl.Int64)
                    start = position + size.cum_sum() - size
                    position += file.write("".join(rows["text"]).encode())
                    places = pl.struct(start=start, size=size).alias("place")
                    append(relation, rows.select(*keys, "tokens", places))


def _rows(
    connection: duckdb.DuckDBPyConnection, table: str, keys: tuple[str, ...], wanted: str
) -> Iterator[pl.DataFrame]:
    """The rows of a table that `wanted` names by their rowid, as they lie in it."""
    rows = connection.execute(f"select count(*) from {table}").fetchall()[0][0]
    taken = np.zeros(rows, dtype=bool)
    taken[connection.execute(wanted).fetchnumpy()["rowid"]] = True
    scan = f"select rowid, {', '.join(keys)}, tokens, text from {table}"
    for batch in connection.sql(scan).to_arrow_reader(_SCANNED):
        frame = pl.DataFrame(batch)
        found = frame.filter(taken[frame["rowid"]])
        if len(found):
            yield found


def _text(texts: BinaryIO, place: dict[str, int]) -> str:
    return os.pread(texts.fileno(), place["size"], place["start"]).decode()
