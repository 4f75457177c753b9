"""Tables for readers: columns and rows in, lines for a terminal, a plain file or Markdown out."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from immune_data.common import streams
from immune_data.common.text import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


# A number as text: with its sign, its unit, its total, its interval and its n.
_NUMBER = re.compile(
    r"(?:[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?: ?(?:%|[kMG]?B|s))?"
    r"(?: of \d[\d,]*)?(?: \(.*\))?|–)(?: n=\d+)?"
)


_ANY_WIDTH = 10_000


def numeric(rows: Sequence[Sequence[Any]], columns: int) -> list[bool]:
    """Which columns contain numbers, as such or as text, and so are aligned to the right."""
    return [_is_numeric([row[i] for row in rows]) for i in range(columns)]


def _is_numeric(values: Sequence[Any]) -> bool:
    if any(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return True
    texts = [value for value in values if value not in (None, "")]
    return bool(texts) and all(isinstance(text, str) and _NUMBER.fullmatch(text) for text in texts)


def cell(value: object) -> str:
    """A value in a table: a number with separators of thousands, None as an empty cell."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int | float) else one_line(str(value))


def show(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    whole: Collection[str] = (),
) -> None:
    """Print rows under a title; the cells of `whole` columns are never shortened."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Text and not str, whose square brackets rich would read.
    heading = Text(one_line(title), style="bold")
    table = Table(title=heading, title_justify="left", box=box.SIMPLE_HEAD)
    for column, is_right in zip(columns, numeric(rows, len(columns)), strict=True):
        table.add_column(
            Text(column), justify="right" if is_right else "left", no_wrap=column in whole
        )
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    if whole:
        unlimited = console.options.update_width(_ANY_WIDTH)
        console.width = max(console.width, table.__rich_measure__(console, unlimited).minimum)
    print_rich(console, table)


def print_rich(console: Console, table: Table) -> None:
    """Print a table of rich's without its own output: rich ends the process on a broken pipe."""
    with console.capture() as capture:
        console.print(table)
    print(capture.get(), end="", file=streams.styled(sys.stdout))


def widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """How wide each column is."""
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def aligned(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    """One line of a plain table; a cell wider than its column pushes the rest."""
    cells = (
        cell.rjust(width) if is_right else cell.ljust(width)
        for cell, width, is_right in zip(row, widths, right, strict=True)
    )
    return "  ".join(cells).rstrip()


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---:" if is_right else "---" for is_right in right]]
    lines += [[markdown_cell(text) for text in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_cell(text: str) -> str:
    """A text on one line, its bars escaped."""
    return " ".join(text.replace("|", "\\|").split())


def spreadsheet_cell(text: str) -> str:
    """A text as a CSV cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text
