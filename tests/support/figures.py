"""Figures of reports, for tests that do not look at the pictures."""

from __future__ import annotations

from typing import IO, Any

import pytest


def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have figures plotted but not drawn: drawing takes most of the time of a report."""
    from matplotlib.figure import Figure

    def save(figure: Figure, file: IO[Any], *, format: str, **settings: object) -> None:
        file.write(b"" if format == "png" else '<svg viewBox="0 0 1 1"></svg>')

    monkeypatch.setattr(Figure, "savefig", save)
