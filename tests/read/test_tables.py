"""The constraints on whole tables: what `emit` makes keeps them, and what breaks one is named."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from corpus import MODELS

from immune_data.read import tables


@pytest.fixture
def connection(standing_out: Path, tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    shutil.copy(standing_out / "immune.duckdb", tmp_path / "copy.duckdb")
    with duckdb.connect(str(tmp_path / "copy.duckdb")) as opened:
        yield opened


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("insert into dags from dags limit 1", "dags: a key occurs twice"),
        ("update judgements set judge_run = 'x'", r"judgements: \['judge_run', 'task'\] not in"),
        ("delete from incidents where incident_id = 'p'", r"dags: \['incident_id'\] not in inc"),
        ("update responses set model = 'm' where model = 'gpt-4o'", r"models \['m'\] are not"),
    ],
)
def test_a_table_that_breaks_a_constraint_is_named(
    change: str, says: str, connection: duckdb.DuckDBPyConnection
) -> None:
    tables.check(connection, set(MODELS))
    connection.execute(change)
    with pytest.raises(AssertionError, match=says):
        tables.check(connection, set(MODELS))
