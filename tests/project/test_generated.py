"""The pages and outputs that `make docs` writes are those of the code and the sample corpus."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import regenerate
import warm_python
from corpus import query

from immune_data.common import cli
from immune_data.select import steps

AGAIN = "run `make docs`"
COMMENTS = steps.sql_folder() / "comments"


def text(name: str) -> str:
    return (regenerate.REPOSITORY / name).read_text(encoding="utf-8")


def uncommented(out: Path) -> list[tuple]:
    return query(
        out,
        "select schema_name, table_name, column_name from duckdb_columns() "
        "where database_name = 'immune' and coalesce(comment, '') = '' union all "
        "select schema_name, table_name, null from duckdb_tables() "
        "where database_name = 'immune' and coalesce(comment, '') = ''",
    )


@pytest.mark.parametrize("recipe", regenerate.RECIPES)
def test_every_table_relation_and_column_has_a_comment(
    recipe: str, sample_out: Callable[[str], Path]
) -> None:
    assert uncommented(sample_out(recipe)) == []


def test_every_comment_is_of_a_table_or_relation(sample_out: Callable[[str], Path]) -> None:
    found = query(
        sample_out("unified-v2"),
        "select if(schema_name = 'main', 'tables', 'relations'), table_name from duckdb_tables() "
        "where database_name = 'immune'",
    )
    files = {(path.parent.name, path.stem) for path in COMMENTS.rglob("*.sql")}
    assert files == set(found)


def test_the_page_of_relations_is_that_of_the_database(sample_out: Callable[[str], Path]) -> None:
    page = regenerate.relations_page(sample_out("unified-clean"))
    assert page == text("docs/relations.md"), AGAIN


def test_the_page_of_commands_is_that_of_the_parsers() -> None:
    assert regenerate.cli_page() == text("docs/cli.md"), AGAIN


@pytest.mark.parametrize("columns", ["40", "300"])
def test_help_has_one_width_on_every_terminal(
    columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    parser = cli.parser("immune_data.emit", summary="A summary.", example="an example")
    parser.add_argument("--option", help=" ".join(["word"] * 60))
    assert 90 < max(map(len, parser.format_help().splitlines())) <= 100


@pytest.fixture(scope="module")
def reader(
    sample_out: Callable[[str], Path], sample_source: Path, sample_page: Path, tmp_path_factory
) -> Path:
    """A folder as a reader has it after `make emit` and a report of the first recipe."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(sample_out("unified-clean"), folder / "data")
    shutil.copytree(sample_page.with_suffix(""), folder / "data" / "report" / regenerate.RECIPES[0])
    (folder / "data" / "source").symlink_to(sample_source)
    return folder


PAGES = [page.relative_to(regenerate.REPOSITORY).as_posix() for page in regenerate.pages()]


@pytest.mark.parametrize("page", PAGES)
def test_outputs_that_a_page_shows_are_what_is_printed(
    page: str, reader: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(warm_python.folder() / "python"))
    assert regenerate.with_outputs(text(page), reader) == text(page), AGAIN


def test_figures_say_what_the_report_says(reader: Path) -> None:
    """Their words and numbers: lines may differ between versions of matplotlib."""
    for name, svg in regenerate.figures(reader).items():
        words = labels(svg)
        assert len(words) > 10
        assert words == labels(text(f"docs/{name}.svg")), AGAIN


def labels(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]+)</text>", svg)


def test_outputs_are_written_below_their_commands_and_nowhere_else(tmp_path: Path) -> None:
    page = (
        "```console\n$ python -m immune_data \\\n    --version\nold\nlines\n"
        "$ python -m immune_data.emit --version\n```\n\n"
        "```console\n$ python -m immune_data --version\n```\n\n"
        "```console\n$ python -m immune_train --version\nkept\n```\n"
    )
    said = cli.version()
    assert regenerate.with_outputs(page, tmp_path) == (
        f"```console\n$ python -m immune_data \\\n    --version\n{said}\n"
        f"$ python -m immune_data.emit --version\n{said}\n```\n\n"
        "```console\n$ python -m immune_data --version\n```\n\n"
        "```console\n$ python -m immune_train --version\nkept\n```\n"
    )
