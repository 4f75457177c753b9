"""Rows for the tables: what is extracted from a row of a source file, and what is rejected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Struct

from immune_data.contract.source_file import Record

_BATCH_CHARS = 1 << 23
_BATCH_ROWS = 1 << 13


class Rejected(Exception):
    """This row, or an entry of it, cannot be used."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Extract:
    """The content of one row of a source file: rows of tables, and rejected entries.

    A row of a dataset has an incident's `facts`; one of a judge run the tasks that it `judged`.
    """

    rows: list[tuple[str, dict[str, Any]]]
    rejects: list[Rejected]
    facts: dict[str, Any] = field(default_factory=dict)
    judged: Sequence[str] = ()


@dataclass
class Batch:
    """Rows of several tables, to be written together."""

    tables: dict[str, list[dict]] = field(default_factory=dict)
    chars: int = 0

    def add(self, table: str, row: dict[str, Any]) -> None:
        self.tables.setdefault(table, []).append(row)
        self.chars += len(row.get("text", ""))

    def reject(
        self, file: str, record: Record, incident_id: str | None, rejected: Rejected, scope: str
    ) -> None:
        self.chars += len(record.text)
        row = {
            "file": file,
            "row": record.row,
            "reason": rejected.reason,
            "scope": scope,
            "incident_id": incident_id,
            "detail": rejected.detail,
            "json": record.text,
        }
        self.add("rejects", row)

    @property
    def full(self) -> bool:
        return self.chars >= _BATCH_CHARS or sum(map(len, self.tables.values())) >= _BATCH_ROWS


def convert(value: dict[str, Any], row_type: type[Struct]) -> Any:
    """A row as an object of its type.

    Raises:
        Rejected: a value does not have its type.
    """
    try:
        return msgspec.convert(value, row_type)
    except msgspec.ValidationError as error:
        raise Rejected("wrong_type", str(error).replace("`", "")) from None


def undeclared_models(names: Sequence[str]) -> Rejected:
    """The reject for models that the recipe does not declare."""
    return Rejected("undeclared_model", ", ".join(names))
