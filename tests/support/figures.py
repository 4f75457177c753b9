"""Figures, for tests that look at one of them, at some of their forms or at none.

    python -m figures …

is `report` with one figure: it writes all of them, in all forms, and only the first shows anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from immune_data.common.drawing import Drawing
from immune_data.report import __main__ as report
from immune_data.report import figures

PAGE, FILES = ("wide", "narrow"), ("svg", "png")


def undrawn(monkeypatch: pytest.MonkeyPatch, *forms: str) -> None:
    """Have figures not drawn, or not in these forms: drawing takes most of the time of a report."""
    for form in forms or (*PAGE, *FILES):
        empty = b"" if form == "png" else '<svg viewBox="0 0 1 1"></svg>'
        monkeypatch.setattr(Drawing, form, empty)


def emptied(monkeypatch: pytest.MonkeyPatch, *, whole: int = 0) -> None:
    """Have a report's figures where they should be, all but the first of them empty."""
    from matplotlib.figure import Figure

    drawn = figures.drawn

    def with_empty(*arguments: object) -> list[Drawing]:
        every = drawn(*arguments)
        return every[:whole] + [replace(one, plot=lambda narrow: Figure()) for one in every[whole:]]

    monkeypatch.setattr(figures, "drawn", with_empty)


def main(arguments: Sequence[str]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        emptied(patch, whole=1)
        return report.main(arguments)
