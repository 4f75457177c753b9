"""What HTML pages share: style, tables and figures, for the shared templates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from immune_data.common.drawing import DARK, Drawing, Key
from immune_data.common.table import numeric
from immune_data.common.text import visible

_LONG = 40  # characters from which a cell is given room


@dataclass(frozen=True)
class Cell:
    """A cell: its column, its content, and its class in the style sheet."""

    column: str
    content: str
    css_class: str


@dataclass(frozen=True)
class Table:
    """A table: numbers aligned to the right, a row's first cell its heading.

    On a narrow page it scrolls within itself, or `stacks` a row's cells one below the other.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    stacks: bool = False

    @property
    def headings(self) -> list[tuple[str, bool]]:
        return list(zip(self.columns, self._right, strict=True))

    @property
    def lines(self) -> Iterator[list[Cell]]:
        right = self._right
        for row in self.rows:
            yield [
                Cell(column, cell_text(value), _css_class(value, right[i]))
                for i, (column, value) in enumerate(zip(self.columns, row, strict=True))
            ]

    @property
    def _right(self) -> list[bool]:
        return numeric(self.rows, len(self.columns))


def _css_class(value: Any, right: bool) -> str:
    if right:
        return "n"
    if not isinstance(value, str) or (len(value) <= _LONG and "\n" not in value):
        return ""
    return "t excerpt" if "\n" in value else "t"


def cell_text(value: Any) -> str:
    """A value as a cell's text."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else value


def style(more: str = "") -> Markup:
    """The style sheet of every page, followed by the rules of one page."""
    text = files("immune_data.common").joinpath("page.css").read_text(encoding="utf-8")
    return Markup(f"{text}@media screen and (prefers-color-scheme: dark){{{DARK}}}\n{more}")


@dataclass(frozen=True)
class Figure:
    """A figure in a page, at its two widths."""

    wide: Markup
    narrow: Markup
    description: str
    legend: Sequence[Key]


def figures(drawings: Sequence[Drawing]) -> dict[str, Figure]:
    """The figures of a page, by name."""
    return {
        drawing.name: Figure(
            Markup(drawing.wide), Markup(drawing.narrow), drawing.description, drawing.legend
        )
        for drawing in drawings
    }


def code(text: str, css_class: str = "") -> Markup:
    """A text as code."""
    opening = Markup('<code class="{}">').format(css_class) if css_class else Markup("<code>")
    return opening + visible(text) + Markup("</code>")


def prose(text: str) -> Markup:
    """A text in which code stands between backquotes."""
    parts = text.split("`")
    return Markup("").join(code(part) if i % 2 else visible(part) for i, part in enumerate(parts))
