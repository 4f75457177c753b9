"""A file to which a run appends rows: the description of the run in, the rows so far out.

An interrupted run leaves them, and the same run resumes after them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from immune_data.common import files
from immune_data.common.errors import ImmuneError


def partial_path(output: Path) -> Path:
    """The path of the rows until all of them are written."""
    return output.with_name(f".{output.name}.unfinished")


@contextmanager
def rows(
    output: Path, run: dict[str, Any], *, with_run: bool = False
) -> Iterator[tuple[list[dict], IO[bytes]]]:
    """The rows of an interrupted run, and the file to append to, which is renamed at the end.

    The file's first line identifies the run, so that only the same run resumes.

    Args:
        with_run: whether that line stays when the file is renamed.
    """
    partial = partial_path(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        file = partial.open("a+b")
    except OSError as error:
        raise ImmuneError(f"cannot write {output}: {error.strerror}") from None
    with file:
        files.lock(file.fileno(), output)
        file.seek(0)
        lines = file.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):  # killed while writing it
            lines.pop()
        try:
            header, *rows = [json.loads(line) for line in lines] or [None]
        except ValueError:
            raise ImmuneError(f"{partial} is damaged: remove it to start again") from None
        expected = json.loads(json.dumps(run))
        if header is not None and header != expected:
            differences = ", ".join(
                sorted(key for key in expected if header.get(key) != expected[key])
            )
            raise ImmuneError(
                f"{partial} was started with another {differences}: "
                "remove it to start again, or run with the same settings"
            )
        file.truncate(sum(map(len, lines)))
        if header is None:
            file.write(json.dumps(run).encode() + b"\n")
            file.flush()
        yield rows, file
        file.flush()
        file.seek(0)
        if not with_run:
            file.readline()
        with files.replacing(output) as temporary, temporary.open("wb") as target:
            for line in file:
                target.write(line)
        partial.unlink()
