"""What rules 10 to 15 cost, by `sql/report/costs.sql`, against the recipe that has none of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corpus import query

from immune_data import sql


@pytest.fixture
def costs(
    sample_out: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> Callable[[str], dict[str, dict[str, Any]]]:
    def ask(recipe: str) -> dict[str, dict[str, Any]]:
        out = str(sample_out(recipe))
        capsys.readouterr()
        assert sql.main(["--data", out, "--recipe", recipe, "--json", "sql/report/costs.sql"]) == 0
        return {row["reason"]: row for row in json.loads(capsys.readouterr().out)}

    return ask


def test_the_costs_are_the_difference_to_the_documented_recipe(
    costs: Callable[[str], dict[str, dict[str, Any]]], sample_out: Callable[[str], Path]
) -> None:
    recipe = "unified-clean"
    rows, out = costs(recipe), sample_out(recipe)
    assert {row["rule"] for row in rows.values()} == set(range(10, 16))

    passing = '(select incident_id from "{}".gates where passed)'
    out_here = (
        f"from {passing.format('unified-v2')} where incident_id not in {passing.format(recipe)}"
    )
    [(incidents,)] = query(out, f"select count(*) {out_here}", recipe)
    assert incidents > 0
    assert sum(row["incidents"] for row in rows.values()) == incidents

    emitted = "select incident_id, task from sft_records"
    tasks = "select distinct incident_id, unnest(['summary', 'cause', 'risk']) as task"
    missing = f"select count(*) from ({tasks} {out_here} except {emitted})"
    assert [(sum(row["records"] for row in rows.values()),)] == query(out, missing, recipe)

    stands_in = (
        "select count(*) from best_responses where model <> winner "
        f"and incident_id in {passing.format(recipe)}"
    )
    assert [(sum(row["stood_in"] for row in rows.values()),)] == query(out, stands_in, recipe)
    for row in rows.values():
        assert row["stood_in"] <= row["answers"]


def test_a_documented_recipe_pays_for_none_of_them(
    costs: Callable[[str], dict[str, dict[str, Any]]],
) -> None:
    for row in costs("unified-v2").values():
        assert not any(row[part] for part in ("answers", "stood_in", "incidents", "records"))
