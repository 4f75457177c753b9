"""HTML that cannot be broken into: text in, escaped; markup only from here out.

`element("p", "a < b")` escapes its text. What is already HTML is a `Markup`, and nothing but this
module, the figures and the style sheet makes one.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from immune_data.common.table import numeric
from immune_data.common.text import one_line, visible

_VOID = ("meta", "br", "hr")
_LONG = 40  # characters of a cell that should not be squeezed


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(text: str) -> Markup:
    """`text` as HTML that shows it, characters that cannot be seen written out."""
    return Markup(html.escape(visible(text)))


def joined(parts: Iterable[str], between: str = "") -> Markup:
    """Parts in a row; those that are no markup are escaped."""
    return Markup(
        between.join(part if isinstance(part, Markup) else escaped(part) for part in parts)
    )


def element(name: str, /, *content: str, **attributes: str) -> Markup:
    """An element; an attribute's underscore stands for a hyphen, a last one is dropped."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for key, value in attributes.items()
    )
    if name in _VOID:
        return Markup(f"<{name}{said}>")
    return Markup(f"<{name}{said}>{joined(content)}</{name}>")


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Markup:
    """A table that scrolls sideways in itself: numbers right, a row's first cell its heading."""
    right = numeric(rows, len(columns))
    head = [
        element("th", column, scope="col", **({"class_": "n"} if numeric else {}))
        for column, numeric in zip(columns, right, strict=True)
    ]
    lines = [
        element(
            "tr",
            *(
                element("th", shown(value), scope="row")
                if i == 0
                else element("td", shown(value), **_look(value, right[i]))
                for i, value in enumerate(row)
            ),
        )
        for row in rows
    ]
    inner = element(
        "table",
        element("caption", element("span", caption)),
        element("thead", element("tr", *head)),
        element("tbody", *lines),
    )
    return element("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _look(value: Any, right: bool) -> dict[str, str]:
    if right:
        return {"class_": "n"}
    return {"class_": "t"} if isinstance(value, str) and len(value) > _LONG else {}


def shown(value: Any) -> str:
    """A value as a cell's text."""
    if isinstance(value, Markup):
        return value
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def shortened(value: Any, limit: int) -> str:
    """A value as one short line, for cells that hold what a dataset holds."""
    if value is None or isinstance(value, bool | int | float):
        return shown(value)
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return one_line(str(value), limit)
