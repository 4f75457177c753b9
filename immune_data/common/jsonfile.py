"""A file that is one JSON object: read without trust, written for people to read."""

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


def write(path: Path, content: dict[str, Any]) -> None:
    """Write an object, indented, its keys in their order."""
    path.write_text(text(content), encoding="utf-8")


def text(content: dict[str, Any]) -> str:
    """What `write` writes."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
