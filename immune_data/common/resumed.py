"""A file of rows that a run adds to as they come: what the run is of in, the rows so far out.

A run that is cut off leaves them, and the same run goes on after them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from immune_data.common import files
from immune_data.common.errors import ImmuneError


def beside(output: Path) -> Path:
    """Where the rows are until all are there."""
    return output.with_name(f".{output.name}.unfinished")


@contextmanager
def rows(
    output: Path, run: dict[str, Any], *, with_run: bool = False
) -> Iterator[tuple[list[dict], IO[bytes]]]:
    """The rows that an interrupted run left, and the file to add to; it is named at the end.

    The file's first line says what the rows were made of, so that only the same run resumes.

    Args:
        with_run: whether that line stays when the file is named.
    """
    unfinished = beside(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        file = unfinished.open("a+b")
    except OSError as error:
        raise ImmuneError(f"cannot write {output}: {error.strerror}") from None
    with file:
        files.lock(file.fileno(), output)
        file.seek(0)
        lines = file.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):  # killed in the middle of it
            lines.pop()
        try:
            header, *done = [json.loads(line) for line in lines] or [None]
        except ValueError:
            raise ImmuneError(f"{unfinished} is damaged: remove it to start again") from None
        now = json.loads(json.dumps(run))
        if header is not None and header != now:
            others = ", ".join(sorted(key for key in now if header.get(key) != now[key]))
            raise ImmuneError(
                f"{unfinished} was begun with another {others}: "
                "remove it to start again, or run with what it was begun with"
            )
        file.truncate(sum(map(len, lines)))
        if header is None:
            file.write(json.dumps(run).encode() + b"\n")
            file.flush()
        yield done, file
        file.flush()
        file.seek(0)
        if not with_run:
            file.readline()
        with files.replacing(output) as final, final.open("wb") as named:
            for line in file:
                named.write(line)
        unfinished.unlink()
