"""Read a published dataset: its address on the Hub in, a database like `immune.duckdb` out.

The layout is that of `publish`: `tables/<table>.parquet`, `<recipe>/relations/<relation>.parquet`
and `<recipe>/manifest.json`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from immune_data.common import duck, hub, processes
from immune_data.common.errors import ImmuneError
from immune_data.common.hub.download import download
from immune_data.select.database import NAME
from immune_data.select.pipeline import connect

_RECIPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TABLES, _RELATIONS = "tables", "relations"


@contextmanager
def opened(text: str, recipe: str, report: hub.Report) -> Iterator[Path]:
    """A temporary output folder with the database of a published dataset.

    `text` is its address, `hf://datasets/ORG/NAME[@REV]`, or a folder that `publish` wrote.

    Raises:
        ImmuneError: it cannot be downloaded, or `publish` did not make it.
    """
    if not _RECIPE.fullmatch(recipe):
        raise ImmuneError(f"{recipe!r} is not the name of a recipe: give one with --recipe")
    try:
        folder = tempfile.TemporaryDirectory(prefix="immune-", ignore_cleanup_errors=True)
    except OSError as error:
        raise ImmuneError(f"a temporary folder is needed: {error.strerror}") from None
    with folder as out:
        published = Path(text)
        if not published.is_dir():
            address = hub.address(text)
            report(f"downloading {address}")
            published = download(address, patterns([recipe]), report)
        report(f"loading {text}")
        load(published, Path(out), [recipe])
        yield Path(out)


def patterns(recipes: Sequence[str]) -> list[str]:
    """Patterns of the files with a dataset's tables and its recipes' relations."""
    return [
        f"{_TABLES}/*.parquet",
        "manifest.json",
        *(f"{recipe}/{_RELATIONS}/*.parquet" for recipe in recipes),
        *(f"{recipe}/manifest.json" for recipe in recipes),
    ]


def load(folder: Path, out: Path, recipes: Sequence[str]) -> None:
    """Make `immune.duckdb` in `out` from the Parquet files of a published dataset.

    Raises:
        ImmuneError: the folder has no tables, or no relations of a recipe.
    """
    import duckdb

    tables = sorted((folder / _TABLES).glob("*.parquet"))
    if not tables:
        raise ImmuneError(f"{folder} has no {_TABLES}/*.parquet: `publish` did not make it")
    with connect(out / NAME, threads=processes.processors(), scratch=out) as connection:
        for recipe in recipes:
            relations = sorted((folder / recipe / _RELATIONS).glob("*.parquet"))
            if not relations:
                names = sorted(
                    path.parent.name for path in folder.glob(f"*/{_RELATIONS}") if path.is_dir()
                )
                raise ImmuneError(
                    f"the dataset has no recipe {recipe}: name one that it was published with "
                    f"by --recipe{': ' + ', '.join(names) if names else ''}"
                )
            connection.execute(f'create schema "{recipe}"')
            files = [(f'"{recipe}"', path) for path in relations]
            files += [] if recipe != recipes[0] else [("main", path) for path in tables]
            for schema, path in files:
                try:
                    connection.execute(
                        f'create table {schema}."{path.stem}" as from {duck.PARQUET}',
                        [duck.pattern(path)],
                    )
                except duckdb.Error as error:
                    message = str(error).splitlines()[0]
                    raise ImmuneError(f"{path} cannot be read as Parquet: {message}") from None
