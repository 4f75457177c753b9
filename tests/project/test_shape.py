"""Tests mirror the packages, share their helpers in tests/support, and import no other test."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from conftest import REPOSITORY

TESTS = REPOSITORY / "tests"
PACKAGES = ("immune_data", "immune_train")
OF_THE_WHOLE = {"end_to_end", "project", "support"}


def imported(path: Path) -> Iterator[str]:
    """The first names of all modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield str(node.module).split(".")[0]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)


def test_no_test_imports_a_test() -> None:
    for path in TESTS.rglob("*.py"):
        tests = {name for name in imported(path) if name.startswith("test_") or name == "tests"}
        assert not tests, f"{path.relative_to(TESTS)}: what tests share stands in tests/support"


def test_folders_are_those_of_the_packages() -> None:
    folders = {path.parent.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")}
    stages = {path.stem for package in PACKAGES for path in (REPOSITORY / package).iterdir()}
    assert folders <= stages | OF_THE_WHOLE, folders - stages - OF_THE_WHOLE
    assert not {path.name for path in TESTS.glob("*.py")} - {"conftest.py"}


def test_support_holds_no_tests() -> None:
    for path in (TESTS / "support").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            name = node.name if isinstance(node, ast.FunctionDef) else ""
            assert not name.startswith("test_"), f"{path.name}: {name} is never run"
