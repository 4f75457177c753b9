"""Render the emitted records: `sft_records` with its texts in, JSONL and `conversations` out."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl
import pyarrow as pa

from immune_data import chat, control_tokens, prompts
from immune_data.errors import ImmuneError
from immune_data.parallel import behind, in_order
from immune_data.pipeline import appending
from immune_data.prompts import Message, Prompt
from immune_data.recipes import Recipe
from immune_data.tokens import count, cut

if TYPE_CHECKING:
    import duckdb

SPLITS = ("train", "eval")
CONVERSATIONS = {
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

_RECORDS = 192

# One row per record, in the order of the files; texts join last, and the evidence only to the
# first of an incident's consecutive records.
_QUERY = """
with numbered as (
    select
        *,
        row_number() over (
            partition by split, incident_id, origin, copy order by line
        ) as place
    from sft_records
)
select
    numbered.split,
    numbered.line,
    numbered.incident_id,
    numbered.task,
    numbered.model,
    numbered.score,
    numbered.origin,
    numbered.place = 1 as first,
    incidents.* exclude (incident_id),
    coalesce(cleaned.text, responses.text) as answer,
    coalesce(cleaned.tokens, responses.tokens) as answer_tokens,
    dags.text as dag,
    dags.tokens as dag_tokens
from numbered
inner join incidents on numbered.incident_id = incidents.incident_id
inner join responses
    on
        numbered.incident_id = responses.incident_id
        and numbered.task = responses.task
        and numbered.model = responses.model
left join cleaned
    on
        numbered.incident_id = cleaned.incident_id
        and numbered.task = cleaned.task
        and numbered.model = cleaned.model
left join dags
    on
        numbered.incident_id = dags.incident_id
        and numbered.dag_dataset = dags.dataset
        and numbered.place = 1
order by numbered.split, numbered.line
"""


class Record(msgspec.Struct, frozen=True):
    """One line of an emitted file; the fields stand in the order of its keys."""

    messages: list[Message]
    incident_id: str
    task: str
    model: str
    score: float | None
    dag_truncated: bool
    origin: str
    tokens: int


@dataclass(frozen=True)
class Rendered:
    """Some records: their lines of JSON by split, and their rows of `conversations`."""

    lines: dict[str, bytes]
    conversations: pl.DataFrame


@dataclass(frozen=True)
class Counted:
    """A text and its tokens."""

    text: str
    tokens: int


@dataclass(frozen=True)
class Renderer:
    """What a worker needs to render records: the prompts, and how to show the evidence."""

    prompts: dict[str, Prompt]
    dag_limit: int
    dag_unit: str
    dag_marker: str
    context: int | None  # the tokens a whole conversation must fit, if it must
    neutralise: bool

    def fits(self, task: str, incident: dict[str, Any], answer: Counted) -> bool:
        """Whether the answer is whole in the context when nothing of the evidence is shown."""
        if self.context is None:
            return True
        marker = Counted(self.dag_marker, count(self.dag_marker))
        return self._measure(task, self._facts(incident), marker, answer).total <= self.context

    def render(self, records: pa.Table) -> Rendered:
        """Records, whole runs of an incident each, as lines of JSON by split and as rows."""
        lines: dict[str, list[bytes]] = {split: [] for split in SPLITS}
        rows = []
        for group in _groups(records.to_pylist()):
            for line, row in self._group(group):
                lines[row["split"]].append(line)
                rows.append(row)
        return Rendered(
            {split: b"".join(lines[split]) for split in SPLITS},
            pl.DataFrame(rows, schema=CONVERSATIONS),
        )

    def _group(self, group: list[dict[str, Any]]) -> Iterator[tuple[bytes, dict[str, Any]]]:
        dag, dag_tokens = group[0]["dag"], group[0]["dag_tokens"]
        facts = self._facts(group[0])
        if self.neutralise and (escaped := control_tokens.escape(dag)) != dag:
            dag, dag_tokens = escaped, count(escaped)
        limited = self._limited(dag, dag_tokens)
        for record in group:
            task = record["task"]
            answer = Counted(record["answer"], record["answer_tokens"])
            evidence = self._within_context(task, facts, dag, limited, answer)
            messages = self._messages(task, facts, evidence, answer)
            lengths = self._measure(task, facts, evidence, answer)
            line = Record(
                messages=messages,
                incident_id=record["incident_id"],
                task=task,
                model=record["model"],
                score=record["score"],
                dag_truncated=evidence.text != dag,
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
                    "dag_tokens": dag_tokens,
                    "dag_tokens_shown": evidence.tokens,
                    "dag_truncated": line.dag_truncated,
                    "holds_added_token": any(control_tokens.found(m.content) for m in messages),
                    "messages": [{"role": m.role, "content": m.content} for m in messages],
                },
            )

    def _facts(self, incident: dict[str, Any]) -> dict[str, str]:
        facts = prompts.facts(**{name: incident[name] for name in prompts.FACTS})
        if self.neutralise:
            return {name: control_tokens.escape(fact) for name, fact in facts.items()}
        return facts

    def _messages(
        self, task: str, facts: dict[str, str], evidence: Counted, answer: Counted
    ) -> list[Message]:
        asked = self.prompts[task].render(facts, evidence.text)
        return [*asked, Message("assistant", answer.text)]

    def _measure(
        self, task: str, facts: dict[str, str], evidence: Counted, answer: Counted
    ) -> chat.Lengths:
        known = {evidence.text: evidence.tokens, answer.text: answer.tokens}
        return chat.measure(self._messages(task, facts, evidence, answer), known)

    def _limited(self, dag: str, tokens: int) -> Counted:
        if self.dag_unit == "tokens" and tokens <= self.dag_limit:
            return Counted(dag, tokens)
        shown = cut(dag, self.dag_limit, self.dag_marker, self.dag_unit)
        return Counted(shown, tokens if shown == dag else count(shown))

    def _within_context(
        self, task: str, facts: dict[str, str], dag: str, evidence: Counted, answer: Counted
    ) -> Counted:
        """`evidence`, or as much less of the DAG as the context asks for."""
        if self.context is None:
            return evidence
        limit = self.dag_limit
        while (over := self._measure(task, facts, evidence, answer).total - self.context) > 0:
            # Where texts meet, tokens may join, so that a first cut can fall short.
            limit = min(limit, evidence.tokens) - over
            shown = cut(dag, limit, self.dag_marker)
            evidence = Counted(shown, count(shown))
        return evidence


def _groups(records: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Runs of records that share the evidence of their first."""
    starts = [i for i, record in enumerate(records) if record["first"]]
    for start, end in zip(starts, [*starts[1:], len(records)], strict=True):
        yield records[start:end]


def renderer(recipe: Recipe) -> Renderer:
    """The renderer of a recipe, its prompts read.

    Raises:
        ImmuneError: the prompts are not as they should be, or the recipe neutralises control
            tokens and its own prompts or marker hold one.
    """
    loaded = prompts.load(recipe.prompts_folder)
    if recipe.answers.cleaned:
        own = {f"the prompt of task {task}": prompt.templates for task, prompt in loaded.items()}
        own["its dag_marker"] = (("", recipe.dag_marker),)
        for what, templates in own.items():
            if any(control_tokens.found(text) for _, text in templates):
                raise ImmuneError(
                    f"recipe {recipe.name} neutralises control tokens, but {what} holds one"
                )
    return Renderer(
        prompts=loaded,
        dag_limit=recipe.dag.limit,
        dag_unit=recipe.dag.unit,
        dag_marker=recipe.dag_marker,
        context=recipe.records.max_sequence_tokens if recipe.dag.within_context else None,
        neutralise=recipe.answers.cleaned,
    )


def write(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    renderer: Renderer,
    pool: Executor | None,
) -> None:
    """Write `train.jsonl` and `eval.jsonl` into `folder` and make the relation `conversations`."""
    with (
        (folder / "train.jsonl").open("wb") as train,
        (folder / "eval.jsonl").open("wb") as held_out,
        appending(connection) as append,
        behind() as do,
    ):
        append("conversations", pl.DataFrame(schema=CONVERSATIONS))
        batches = _batches(connection)
        for _, rendered in in_order(pool, renderer.render, batches, lambda batch: batch):
            train.write(rendered.lines["train"])
            held_out.write(rendered.lines["eval"])
            do(append, "conversations", rendered.conversations)


def _batches(connection: duckdb.DuckDBPyConnection) -> Iterator[pa.Table]:
    """The records to render in batches that divide no incident's consecutive records."""
    rest = None
    for batch in connection.sql(_QUERY).to_arrow_reader(_RECORDS):
        table = pa.Table.from_batches([batch])
        if rest is not None:
            table = pa.concat_tables([rest, table]).combine_chunks()
        last = max(i for i, first in enumerate(table["first"].to_pylist()) if first)
        if last:
            yield table.slice(0, last)
        rest = table.slice(last)
    if rest is not None:
        yield rest
