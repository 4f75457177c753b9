"""The SQL of this stage, which runs in a temporary database of its own.

Each file in `relations/` makes one relation, in order; `written/` selects the rows to write.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_FOLDER = Path(__file__).parent


def relations() -> Iterator[tuple[str, str]]:
    """The name of each relation, and the query that makes it."""
    for path in sorted((_FOLDER / "relations").glob("*.sql")):
        yield path.stem.partition("_")[2], path.read_text(encoding="utf-8")


def text(name: str) -> str:
    """A file's query."""
    return (_FOLDER / name).read_text(encoding="utf-8")
