"""The lowest versions that are tested are the lowest that are allowed."""

from __future__ import annotations

import re

from conftest import REPOSITORY

_PINNED = r"^([\w-]+)==([\d.]+)$"
_BOUND = r'"([\w-]+)>=([\d.]+)'
TESTED = {"distributed", "duckdb", "huggingface-hub", "msgspec", "polars", "pyarrow"}


def test_the_lowest_versions_are_those_of_the_bounds() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    tested = (REPOSITORY / "constraints-lowest.txt").read_text(encoding="utf-8")
    lowest = {name: _short(version) for name, version in re.findall(_PINNED, tested, re.MULTILINE)}
    assert set(lowest) == TESTED
    bounds = [(name, version) for name, version in re.findall(_BOUND, project) if name in lowest]
    assert {name for name, _ in bounds} == TESTED
    for name, version in bounds:
        assert _short(version) == lowest[name], f"{name}>={version} was not tested"


def _short(version: str) -> str:
    """2.0 for 2.0.0."""
    return re.sub(r"(\.0)+$", "", version)
