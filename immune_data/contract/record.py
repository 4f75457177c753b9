"""The record: one line of an emitted file. Code that reads or writes records takes its keys here.

The schemas for Arrow, Polars and DuckDB are derived from it, each by a function that loads its
library.
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
    """One emitted conversation; the fields have the order of its keys.

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


class PromptRecord(msgspec.Struct, frozen=True):
    """The part of a record that asks a model; further keys are ignored, as in a handwritten one."""

    messages: list[Message]
    incident_id: str
    task: Task
    dag_truncated: bool | None = None


def arrow_schema() -> pa.Schema:
    """The schema of records in Arrow."""
    import pyarrow as pa

    plain = {str: pa.string(), float: pa.float64(), bool: pa.bool_(), int: pa.int64()}
    return pa.schema(_columns(plain, pa.list_, lambda fields: pa.struct(list(fields.items()))))


def polars_schema() -> dict[str, pl.DataType]:
    """The type of each key in Polars."""
    import polars as pl

    plain = {str: pl.String(), float: pl.Float64(), bool: pl.Boolean(), int: pl.Int64()}
    return _columns(plain, pl.List, pl.Struct)


def duckdb_columns() -> dict[str, str]:
    """The type of each key in DuckDB, for `read_json`."""
    plain = {str: "varchar", float: "double", bool: "boolean", int: "bigint"}

    def struct(fields: dict[str, str]) -> str:
        return f"struct({', '.join(f'{name} {type_}' for name, type_ in fields.items())})"

    return _columns(plain, lambda type_: f"{type_}[]", struct)


def _columns(
    plain: dict[type, Any], list_of: Callable[[Any], Any], struct: Callable[[dict[str, Any]], Any]
) -> dict[str, Any]:
    """The columns of a record, with types built from a library's plain ones."""

    def converted(type_: inspect.Type) -> Any:
        match type_:
            case inspect.UnionType():  # with None: every column may hold nulls
                return converted(
                    next(
                        member for member in type_.types if not isinstance(member, inspect.NoneType)
                    )
                )
            case inspect.ListType():
                return list_of(converted(type_.item_type))
            case inspect.StructType():
                return struct(fields(type_))
            case inspect.LiteralType() | inspect.StrType():
                return plain[str]
            case inspect.FloatType():
                return plain[float]
            case inspect.BoolType():
                return plain[bool]
            case inspect.IntType():
                return plain[int]
        raise TypeError(f"a record cannot hold {type_}")

    def fields(type_: inspect.Type) -> dict[str, Any]:
        assert isinstance(type_, inspect.StructType)
        return {field.name: converted(field.type) for field in type_.fields}

    return fields(inspect.type_info(Record))
