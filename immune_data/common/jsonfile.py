"""JSON files: an untrusted file in, its object out; any value in, JSON for people to read out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read(path: Path) -> dict[str, Any] | None:
    """The object in a file; None where there is none or it cannot be read as one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write(path: Path, content: Any) -> None:
    """Write a value as `text` does."""
    path.write_text(text(content), encoding="utf-8")


def text(content: Any) -> str:
    """A value over several lines, keys in their order, letters unescaped, with a final newline."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
