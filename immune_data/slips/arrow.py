"""Convert rows to Arrow: tuples and a schema in, a table out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa


def table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    """Rows as a table, their values in the order of the schema's columns."""
    columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)
