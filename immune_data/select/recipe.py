"""The relation `recipe`: one row with a recipe's values and the digests of its inputs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from immune_data.recipes import Recipe
from immune_data.select.database import Emitted
from immune_data.select.relations import appending

if TYPE_CHECKING:
    import duckdb


def write(connection: duckdb.DuckDBPyConnection, recipe: Recipe, emitted: Emitted) -> None:
    """Make the relation in the current schema."""
    import polars as pl

    values = recipe.settings
    for key in ("sources", "models"):
        values[key] = json.dumps(values[key])
    digests = {"inputs_sha256": emitted.inputs_sha256, "recipe_sha256": emitted.recipe_sha256}
    with appending(connection) as append:
        append("recipe", pl.DataFrame([{**values, **digests}]))
