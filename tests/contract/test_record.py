"""The record: one definition of its keys, and schemas that say the same of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import polars as pl
import pyarrow as pa
import pytest
from training import record as plain

from immune_data.audit import difference
from immune_data.contract import record
from immune_data.contract.record import PromptRecord, Record
from immune_data.publish import card
from immune_train.data import dataset

# As the design has them, in this order.
KEYS = [
    *("messages", "incident_id", "task", "model", "score", "dag_truncated", "origin", "tokens"),
]
ROWS: list[dict[str, Any]] = [plain(), plain(task="cause", score=None)]


def test_the_keys_stand_in_the_documented_order() -> None:
    assert list(Record.__struct_fields__) == KEYS
    encoded = msgspec.json.encode(msgspec.convert(ROWS[0], Record))
    assert list(json.loads(encoded)) == KEYS
    assert set(PromptRecord.__struct_fields__) <= set(KEYS)


def test_the_card_explains_every_key() -> None:
    assert list(card._KEYS) == KEYS


def test_all_schemas_read_the_same_rows(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    query = f"from read_json(?, columns = {record.duckdb_columns()})"
    with duckdb.connect() as connection:
        arrow = connection.sql(query, params=[str(path)]).to_arrow_table()
    assert arrow.to_pylist() == ROWS
    assert arrow.schema == pa.Table.from_pylist(ROWS, schema=record.arrow_schema()).schema
    polars = pl.DataFrame(ROWS, schema=record.polars_schema())
    assert polars.to_dicts() == ROWS
    assert list(polars.schema) == record.arrow_schema().names == KEYS


def test_a_score_may_be_null_wherever_records_are_read(tmp_path: Path) -> None:
    for name in ("train", "eval"):
        text = "".join(json.dumps(row) + "\n" for row in ROWS)
        (tmp_path / f"{name}.jsonl").write_text(text)
    result = dataset.from_files(tmp_path / "train.jsonl", tmp_path / "eval.jsonl")
    assert [one.score for one in result.train] == [ROWS[0]["score"], None]
    with difference.compare(tmp_path, tmp_path) as compared:
        assert compared.equal


@pytest.mark.parametrize("spoilt", [{"task": "other"}, {"extra": 1}, {"score": "7"}])
def test_what_is_no_record_is_refused(spoilt: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**ROWS[0], **spoilt}, Record)
