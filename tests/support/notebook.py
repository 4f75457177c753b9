"""Run a notebook's cells in this process: what each of them shows, in order.

    python tests/support/notebook.py docs/api.ipynb

runs them in a folder of their own and puts what they show into the notebook. Nothing but plain
Python is in it, so that no kernel is needed: a cell shows what it prints, and then the value of the
expression that it ends with.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells of code."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(notebook: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """What each cell of code shows, as notebooks keep it."""
    names: dict[str, Any] = {"__name__": "notebook"}
    for number, cell in enumerate(cells(notebook), 1):
        tree = ast.parse("".join(cell["source"]), f"cell {number}")
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        value = None
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(tree, f"cell {number}", "exec"), names)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
        shown: list[dict[str, Any]] = []
        if text := printed.getvalue():
            shown.append({"name": "stdout", "output_type": "stream", "text": lines(text)})
        if value is not None:
            shown.append(
                {
                    "data": {"text/plain": lines(repr(value))},
                    "execution_count": number,
                    "metadata": {},
                    "output_type": "execute_result",
                }
            )
        yield shown


def lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main() -> None:
    path = Path(sys.argv[1]).absolute()
    notebook = read(path)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        made = list(outputs(notebook))
    for number, (cell, shown) in enumerate(zip(cells(notebook), made, strict=True), 1):
        cell["execution_count"], cell["outputs"] = number, shown
    text = json.dumps(notebook, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
