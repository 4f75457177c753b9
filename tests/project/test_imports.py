"""No module needs one that needs it, and arguments are parsed in commands alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("immune_data", "immune_train")


def modules() -> dict[str, Path]:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files)
    return dict(zip((name.removesuffix(".__init__") for name in names), files, strict=True))


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """What a module imports of ours, within functions and for type hints too.

    The packages themselves, of which all modules ask version and system, are left out.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield from {name if name in known else str(node.module)} & known.keys()
        elif isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & known.keys()


def test_imports_go_in_no_circle() -> None:
    known = modules()
    graph = {
        name: set(imported(path, known)) - {name, *PACKAGES}
        for name, path in known.items()
        if name not in PACKAGES
    }
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph) > 100


def test_only_commands_see_parsed_arguments() -> None:
    for path in (ROOT / "immune_train").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name != "command":
                arguments = [*node.args.args, *node.args.kwonlyargs]
                hints = [ast.unparse(one.annotation) for one in arguments if one.annotation]
                assert "argparse.Namespace" not in hints, f"{path.name}: {node.name}"
