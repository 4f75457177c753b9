"""The relations `shuffle` and `permutation`: the two seeded orders, each of (position, ordinal).

SQL has neither of the generators. Both columns count from 1: `ordinal` is a passing incident's
place before, and `position` its place after.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from immune_data.recipes import Recipe
from immune_data.select.relations import appending

if TYPE_CHECKING:
    import duckdb


def shuffle(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> None:
    """Rule 5: the ordinals of the passing incidents in shuffled order."""
    ordinals = list(range(1, _passing(connection, "gates") + 1))
    random.Random(recipe.split.seed).shuffle(ordinals)
    _write(connection, "shuffle", ordinals)


def permutation(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> None:
    """Rule 8: the order that scikit-learn's `train_test_split` draws.

    It is one call of NumPy's frozen `RandomState.permutation`; the first elements are the test
    part, as in `sklearn.model_selection.ShuffleSplit`.
    """
    import numpy as np

    incidents = _passing(connection, "risk_gates")
    ordinals = np.random.RandomState(recipe.risk.seed).permutation(incidents) + 1
    _write(connection, "permutation", ordinals.tolist())


def _passing(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    return connection.execute(f"select count(*) from {relation} where passed").fetchall()[0][0]


def _write(connection: duckdb.DuckDBPyConnection, relation: str, ordinals: list[int]) -> None:
    import polars as pl

    columns = {"position": range(1, len(ordinals) + 1), "ordinal": ordinals}
    with appending(connection) as append:
        append(relation, pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.Int64)))
