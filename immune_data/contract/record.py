"""The record: one line of an emitted file. All that reads or writes records has its keys from here.

The schemas of Arrow, Polars and DuckDB are derived from it, each by a function that loads the
library it is for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import inspect

from immune_data.prompts import Message

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

Task = Literal["summary", "cause", "risk"]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One emitted conversation; the fields stand in the order of its keys.

    The last message is the answer to learn. `score` is null where no judge scored that answer on
    its task: a cause winner's risk answer is used whether or not it was scored itself.
    """

    messages: list[Message]
    incident_id: str
    task: Task
    model: str
    score: float | None
    dag_truncated: bool
    origin: str
    tokens: int


class Asked(msgspec.Struct, frozen=True):
    """What of a record asks a model; further keys are ignored, so that one made by hand will do."""

    messages: list[Message]
    incident_id: str
    task: Task
    dag_truncated: bool | None = None


def arrow_schema() -> pa.Schema:
    """A record as a row of Arrow."""
    import pyarrow as pa

    plain = {str: pa.string(), float: pa.float64(), bool: pa.bool_(), int: pa.int64()}
    return pa.schema(_columns(plain, pa.list_, lambda fields: pa.struct(list(fields.items()))))


def polars_schema() -> dict[str, pl.DataType]:
    """The type of each key in Polars."""
    import polars as pl

    plain = {str: pl.String(), float: pl.Float64(), bool: pl.Boolean(), int: pl.Int64()}
    return _columns(plain, pl.List, pl.Struct)


def duckdb_columns() -> dict[str, str]:
    """The type of each key in DuckDB, as `read_json` takes them."""
    plain = {str: "varchar", float: "double", bool: "boolean", int: "bigint"}

    def struct(fields: dict[str, str]) -> str:
        return f"struct({', '.join(f'{name} {of}' for name, of in fields.items())})"

    return _columns(plain, lambda of: f"{of}[]", struct)


def _columns(
    plain: dict[type, Any], listed: Callable[[Any], Any], struct: Callable[[dict[str, Any]], Any]
) -> dict[str, Any]:
    """The columns of a record, their types made of what a library calls plain ones."""

    def made(of: inspect.Type) -> Any:
        match of:
            case inspect.UnionType():  # with None: every column may hold nulls
                return made(next(one for one in of.types if not isinstance(one, inspect.NoneType)))
            case inspect.ListType():
                return listed(made(of.item_type))
            case inspect.StructType():
                return struct(fields(of))
            case inspect.LiteralType() | inspect.StrType():
                return plain[str]
            case inspect.FloatType():
                return plain[float]
            case inspect.BoolType():
                return plain[bool]
            case inspect.IntType():
                return plain[int]
        raise TypeError(f"a record cannot hold {of}")

    def fields(of: inspect.Type) -> dict[str, Any]:
        assert isinstance(of, inspect.StructType)
        return {field.name: made(field.type) for field in of.fields}

    return fields(inspect.type_info(Record))
