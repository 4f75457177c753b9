"""The page of tables and relations: an emitted database in, a description of every column out.

The descriptions are the comments in the database, which come from `sql/comments/`.
"""

from __future__ import annotations

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
    tables = signed(connection, "main")
    for table in tables:
        lines += _described(connection, "main", table, tables[table])
    lines.append("## Relations of a recipe\n")
    relations = signed(connection, recipe)
    for relation, file in made_by.items():
        folder = "" if "/" in file else "sql/pipeline/"
        sentence = f"{relations[relation]} Made by `{folder}{file}`."
        lines += _described(connection, recipe, relation, sentence)
    return "\n".join(lines)


def _described(
    connection: duckdb.DuckDBPyConnection, schema: str, name: str, sentence: str
) -> list[str]:
    columns = connection.execute(
        "select column_name, data_type, comment from duckdb_columns() "
        "where database_name = ? and schema_name = ? and table_name = ? order by column_index",
        [CATALOG, schema, name],
    ).fetchall()
    rows = [f"| `{column}` | `{kind}` | {comment} |" for column, kind, comment in columns]
    head = ["| column | type | what it is |", "|---|---|---|"]
    return [f"### `{name}`\n\n{sentence}\n", *head, *rows, ""]
