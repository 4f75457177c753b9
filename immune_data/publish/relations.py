"""The page of tables and relations: an emitted database in, a description of every column out.

The descriptions are the comments in the database, which come from `sql/comments/`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from immune_data.select.database import CATALOG
from immune_data.select.pipeline import signed
from immune_data.select.steps import STEPS

if TYPE_CHECKING:
    import duckdb

NAME = "relations.md"

_INTRODUCTION = """\
# Tables and relations

`data/immune.duckdb` contains them all, the tables in schema `main` and the relations in a schema
named after the recipe; a published dataset contains them as `tables/NAME.parquet` and
`RECIPE/relations/NAME.parquet`. The sentences here are the comments in the database
(`from duckdb_columns()`), which come from `sql/comments/`. "Rule 4" is rule 4 of `docs/rules.md`.
"""


def page(connection: duckdb.DuckDBPyConnection, recipe: str) -> str:
    """The page, from a database with the relations of `recipe`."""
    made_by = {relation: step.file for step in STEPS for relation in step.relations}
    lines = [_INTRODUCTION, "## Tables\n"]
    columns = _columns(connection, "main")
    for table, sentence in signed(connection, "main").items():
        lines += _described(table, sentence, columns[table])
    lines.append("## Relations of a recipe\n")
    columns, relations = _columns(connection, recipe), signed(connection, recipe)
    for relation, file in made_by.items():
        folder = "" if "/" in file else "sql/pipeline/"
        sentence = f"{relations[relation]} Made by `{folder}{file}`."
        lines += _described(relation, sentence, columns[relation])
    return "\n".join(lines)


def _columns(connection: duckdb.DuckDBPyConnection, schema: str) -> dict[str, list[str]]:
    """The columns of each table of a schema, as rows of its description."""
    found = connection.execute(
        "select table_name, column_name, data_type, comment from duckdb_columns() "
        "where database_name = ? and schema_name = ? order by table_name, column_index",
        [CATALOG, schema],
    ).fetchall()
    rows: dict[str, list[str]] = defaultdict(list)
    for table, column, kind, comment in found:
        rows[table].append(f"| `{column}` | `{kind}` | {comment} |")
    return rows


def _described(name: str, sentence: str, rows: list[str]) -> list[str]:
    head = ["| column | type | what it is |", "|---|---|---|"]
    return [f"### `{name}`\n\n{sentence}\n", *head, *rows, ""]
