"""The list of steps against the folders, and what each file of SQL says of itself."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import duckdb
import pytest

from immune_data.select import steps

SQL = steps.sql_folder()
REPOSITORY = Path(__file__).parents[2]

# What functions make, by relation, and the file of the function.
BY_FUNCTIONS = {
    relation: function.file for function in steps.functions() for relation in function.relations
}
_READS = re.compile(r"-- reads: (?P<relations>.+), made by (?P<file>\S+)")


def test_the_list_holds_every_file_of_the_pipeline_once_and_no_other() -> None:
    files = sorted(path.name for path in (SQL / "pipeline").iterdir())
    assert [step.file for step in steps.queries()] == files


def test_no_relation_is_made_twice() -> None:
    relations = Counter(relation for step in steps.STEPS for relation in step.relations)
    assert set(relations.values()) == {1}


@pytest.mark.parametrize("step", steps.functions(), ids=lambda step: step.relations[0])
def test_a_function_of_the_list_is_there(step: steps.Function) -> None:
    tree = ast.parse((REPOSITORY / step.file).read_text(encoding="utf-8"))
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert step.name in names


@pytest.mark.parametrize("step", steps.queries(), ids=lambda step: step.file)
def test_a_pipeline_file_says_its_grain(step: steps.Query) -> None:
    [relation] = step.relations
    first = step.path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(f"-- {relation}: one row")


def test_a_step_reads_only_what_steps_above_it_make() -> None:
    relations = {relation for step in steps.STEPS for relation in step.relations}
    before: set[str] = set()
    for step in steps.STEPS:
        if isinstance(step, steps.Query):
            assert _read(step.path) & relations <= before, step.file
        before |= set(step.relations)


@pytest.mark.parametrize(
    "path",
    # Comments describe relations and read none.
    sorted(path for path in SQL.rglob("*.sql") if SQL / "comments" not in path.parents),
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_a_relation_made_by_python_is_named_on_the_second_line(path: Path) -> None:
    read = {name: BY_FUNCTIONS[name] for name in _read(path) & BY_FUNCTIONS.keys()}
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    said = {}
    for line in takewhile(lambda line: line.startswith("-- reads: "), lines):
        for part in line.removeprefix("-- reads: ").split("; "):
            found = _READS.fullmatch(f"-- reads: {part}")
            assert found, line
            said |= dict.fromkeys(found["relations"].split(", "), found["file"])
    assert said == read


def _read(path: Path) -> set[str]:
    """The relations that a query reads, but for those that it names itself."""
    query = path.read_text(encoding="utf-8")
    [(text,)] = duckdb.execute("select json_serialize_sql(?)", [query]).fetchall()
    tree = json.loads(text)
    assert not tree["error"], path
    nodes = list(_nodes(tree))
    named = {node["table_name"] for node in nodes if node.get("type") == "BASE_TABLE"}
    own = {entry["key"] for node in nodes if "cte_map" in node for entry in node["cte_map"]["map"]}
    return named - own


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        tree = list(tree.values())
    for part in tree if isinstance(tree, list) else ():
        yield from _nodes(part)
