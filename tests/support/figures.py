"""Figures, for tests that look at one of them, at some of their forms or at none.

As the command of a warm process (`warm.commands`), this module is `report` with one figure: it
writes all of them, in all forms, and only the first shows anything.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from half_drawn import PAGE, UNDRAWN

from immune_data.common.drawing import Drawing
from immune_data.report import __main__ as report
from immune_data.report import figures


def undrawn(monkeypatch: pytest.MonkeyPatch, *forms: str) -> None:
    """Have figures not drawn, or not in these forms: drawing takes most of the time of a report."""
    for form in forms or UNDRAWN:
        monkeypatch.setattr(Drawing, form, UNDRAWN[form])


def written(folder: Path, lacking: Collection[str]) -> dict[str, str]:
    """The digests of a command's files, as they are without these forms of its figures."""
    found = {}
    for path in folder.rglob("*"):
        if not path.is_file() or path.suffix[1:] in lacking:
            continue
        content = path.read_bytes()
        if path.suffix == ".html":
            for form in {*PAGE}.intersection(lacking):
                drawn = rf'<svg [^>]*aria-labelledby="[\w-]+-{form}-title .*?</svg>'.encode()
                content = re.sub(drawn, UNDRAWN[form].encode(), content, flags=re.DOTALL)
        found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


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
