"""DuckDB and the file system: paths as it takes them, and a folder for what memory does not hold.

DuckDB and pyarrow read more into a path than a file's name: home, patterns, the scheme and the
options of an address, the columns of a Hive table.
"""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from immune_data.common import signals
from immune_data.common.errors import ImmuneError

# A relation: one file, whose place is the parameter, by its `pattern`.
PARQUET = "read_parquet(?, hive_partitioning = false)"

_CANNOT = "?\\"  # to DuckDB an address's options, and another `/`


def path(file: Path) -> str:
    """A file or folder as DuckDB and pyarrow open it.

    Raises:
        ImmuneError: DuckDB cannot.
    """
    whole = os.path.abspath(file)  # noqa: PTH100 (without it a name may begin with `~` or `s3:`)
    for character in _CANNOT:
        if character in whole:
            raise ImmuneError(
                f"DuckDB cannot work in {whole}, whose name holds {character}: use another folder"
            )
    try:
        whole.encode()
    except UnicodeEncodeError:
        raise ImmuneError(
            f"DuckDB cannot work in {whole}, whose name is not UTF-8: use another folder"
        ) from None
    return whole


def pattern(file: Path) -> str:
    """A pattern that only this file matches, for what takes patterns."""
    return glob.escape(path(file))


def quoted(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def spill() -> Iterator[str]:
    """A `temp_directory` for as long as the context lasts.

    Where no temporary folder can be written to it is none (""): a query that needs more memory
    than there is then fails.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="immune-", ignore_cleanup_errors=True)
    except OSError:
        yield ""
        return
    with folder as name, signals.unfinished(Path(name)):
        yield path(Path(name))
