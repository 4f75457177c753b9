"""Render the emitted records: `sft_records` with its texts in, JSONL and `conversations` out."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from immune_data import chat, control_tokens, prompts
from immune_data.parallel import in_order
from immune_data.prompts import Message, Prompt
from immune_data.recipes import Recipe
from immune_data.tokens import count, cut

if TYPE_CHECKING:
    import duckdb

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
            'answer': coalesce(cleaned.text, responses.text)
        } order by sft_records.line) as records
    from sft_records
    inner join responses using (incident_id, task, model)
    left join cleaned using (incident_id, task, model)
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


_CONVERSATIONS = """
create table conversations (
    split varchar, line bigint, incident_id varchar, task varchar, model varchar, origin varchar,
    tokens bigint, prompt_tokens bigint, answer_tokens bigint,
    dag_tokens bigint, dag_tokens_shown bigint, dag_truncated boolean, holds_added_token boolean,
    messages struct("role" varchar, content varchar)[]
)
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
    """What a worker needs to render records: the prompts, and how to show the evidence."""

    prompts: dict[str, Prompt]
    dag_limit: int
    dag_unit: str
    dag_marker: str
    context: int | None  # the tokens a whole conversation must fit, if it must
    neutralise: bool

    def fits(self, task: str, facts: dict[str, str], answer: str) -> bool:
        """Whether the answer is whole in the context when nothing of the evidence is shown."""
        if self.context is None:
            return True
        return self._measure(task, facts, self.dag_marker, answer).total <= self.context

    def render(self, groups: list[dict[str, Any]]) -> list[tuple[bytes, dict[str, Any]]]:
        """Per record its line of JSON and its row of `conversations`."""
        return [rendered for group in groups for rendered in self._group(group)]

    def _group(self, group: dict[str, Any]) -> Iterator[tuple[bytes, dict[str, Any]]]:
        dag, dag_tokens = group["dag"], group["dag_tokens"]
        facts = facts_of(group)
        if self.neutralise:
            facts = {key: control_tokens.escape(value) for key, value in facts.items()}
            if control_tokens.found(dag):
                dag = control_tokens.escape(dag)
                dag_tokens = count(dag)
        limited = self._shown(dag, dag_tokens, self.dag_limit)
        for record in group["records"]:
            task, answer = record["task"], record["answer"]
            evidence = self._within_context(task, facts, dag, limited, answer)
            messages = self._messages(task, facts, evidence, answer)
            lengths = chat.measure(messages)
            turns = [Turn(message.role, message.content) for message in messages]
            line = Record(
                messages=turns,
                incident_id=group["incident_id"],
                task=task,
                model=record["model"],
                score=record["score"],
                dag_truncated=evidence != dag,
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
                    "dag_tokens": dag_tokens,
                    "dag_tokens_shown": dag_tokens if evidence == dag else count(evidence),
                    "dag_truncated": line.dag_truncated,
                    "holds_added_token": any(control_tokens.found(turn.content) for turn in turns),
                    "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
                },
            )

    def _messages(
        self, task: str, facts: dict[str, str], evidence: str, answer: str
    ) -> list[Message]:
        return [*self.prompts[task].render(facts, evidence), Message("assistant", answer)]

    def _measure(self, *parts: Any) -> chat.Lengths:
        return chat.measure(self._messages(*parts))

    def _shown(self, dag: str, tokens: int, limit: int) -> str:
        if self.dag_unit == "tokens" and tokens <= limit:
            return dag
        return cut(dag, limit, self.dag_marker, self.dag_unit)

    def _within_context(
        self, task: str, facts: dict[str, str], dag: str, evidence: str, answer: str
    ) -> str:
        """`evidence`, or as much less of the DAG as the context asks for."""
        if self.context is None:
            return evidence
        limit = self.dag_limit
        while (over := self._measure(task, facts, evidence, answer).total - self.context) > 0:
            # What is cut off is counted with its neighbours, so a first cut may fall short.
            limit = min(limit, count(evidence)) - over
            evidence = cut(dag, limit, self.dag_marker)
        return evidence


def facts_of(incident: dict[str, Any]) -> dict[str, str]:
    """The facts in a row that has an incident's columns."""
    return prompts.facts(**{name: incident[name] for name in prompts.FACTS})


def renderer(recipe: Recipe) -> Renderer:
    """The renderer of a recipe, its prompts read."""
    return Renderer(
        prompts=prompts.load(recipe.prompts_folder),
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
    from immune_data.pipeline import inserter

    connection.execute(_CONVERSATIONS)
    insert = inserter(connection)
    with (folder / "train.jsonl").open("wb") as train, (folder / "eval.jsonl").open("wb") as held:
        files = {"train": train, "eval": held}
        work = in_order(pool, partial(_render, renderer), _batches(connection), lambda item: item)
        for _, rendered in work:
            for line, row in rendered:
                files[row["split"]].write(line)
            insert("conversations", [row for _, row in rendered])


def _batches(connection: duckdb.DuckDBPyConnection) -> Iterator[list[dict[str, Any]]]:
    for batch in connection.sql(_QUERY).to_arrow_reader(_GROUPS):
        yield batch.to_pylist()


def _render(renderer: Renderer, groups: list[dict[str, Any]]) -> list[tuple[bytes, dict]]:
    return renderer.render(groups)
