"""Figures, for tests that look at some of their forms or at none."""

from __future__ import annotations

import pytest

from immune_data.common.drawing import Drawing

PAGE, FILES = ("wide", "narrow"), ("svg", "png")


def undrawn(monkeypatch: pytest.MonkeyPatch, *forms: str) -> None:
    """Have figures not drawn, or not in these forms: drawing takes most of the time of a report."""
    for form in forms or (*PAGE, *FILES):
        empty = b"" if form == "png" else '<svg viewBox="0 0 1 1"></svg>'
        monkeypatch.setattr(Drawing, form, empty)
