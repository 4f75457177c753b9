"""Text in Markdown: any text in, the same text with its markup escaped out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup

from immune_data.common import table as tables
from immune_data.common.text import visible

# An underscore within a word is not markup; more characters are at the beginning of a line.
_MARKS = re.compile(r"[\\`*\[\]<>~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\A(?:[#=]|[-+](?![\d.]))")
_ITEM = re.compile(r"\A(\d+)([.)])(?=\s|\Z)")


def escaped(text: str) -> str:
    """A text on one line, with everything escaped that Markdown would take for markup."""
    line = " ".join(visible(text).split())
    marked = _MARKS.sub(lambda mark: f"\\{mark[0]}", line.replace("&", "&amp;"))
    return _ITEM.sub(r"\1\\\2", marked)


def code(text: str) -> Markup:
    """A text as code."""
    return Markup(f"`{visible(text).replace('`', '')}`")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Markup:
    """A table with columns of numbers aligned to the right; all but `Markup` is escaped."""
    cells = [[_cell(value) for value in row] for row in rows]
    return Markup(tables.markdown(columns, cells, tables.numeric(rows, len(columns))))


def _cell(value: object) -> str:
    if value is None or isinstance(value, Markup):
        return value or ""
    return f"{value:,}" if isinstance(value, int | float) else escaped(str(value))
