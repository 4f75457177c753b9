"""The Python API: frames and stories that say what the commands say, and their sentences."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import notebook
import polars as pl
import pytest
from conftest import REPOSITORY
from corpus import Corpus, digests
from polars.testing import assert_frame_equal

from immune_data import Dataset
from immune_data.audit import __main__ as audit
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.emit import __main__ as emit
from immune_data.why import __main__ as why

INCIDENTS = "abcdefghij"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Corpus().incidents(INCIDENTS).write(tmp_path_factory.mktemp("api") / "source")


@pytest.fixture(scope="module")
def dataset(source: Path) -> Dataset:
    return Dataset(str(source.parent / "data")).emit(str(source))


@pytest.fixture
def told(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> Callable[[Callable[[list[str]], int], list[str]], str]:
    """What a command says of the same folder."""

    def run(main: Callable[[list[str]], int], arguments: list[str]) -> str:
        capsys.readouterr()
        main([*arguments, "--data", str(dataset.data)])
        return capsys.readouterr().out

    return run


def test_emit_is_the_command(dataset: Dataset, source: Path, tmp_path: Path) -> None:
    assert emit.main(["--source", str(source), "--data", str(tmp_path)]) == 0
    assert digests(dataset.folder) == digests(tmp_path / "sft" / "unified-v2")
    steps: list[str] = []
    before = {path: path.stat().st_mtime_ns for path in dataset.folder.iterdir()}
    assert dataset.emit(source, report=steps.append) is dataset
    assert {path: path.stat().st_mtime_ns for path in dataset.folder.iterdir()} == before
    assert not any("reading" in step for step in steps)


def test_an_empty_side_is_said_and_everything_else_is_there(tmp_path: Path) -> None:
    source = Corpus().incidents("ab", cause={"GPT-4o": 2.0}).write(tmp_path / "source")
    lacking = Dataset(tmp_path / "data")
    with pytest.raises(CheckFailed, match="no record"):
        lacking.emit(source)
    assert lacking.table("funnel")["lost"].sum() >= 2


def test_tables_and_relations_are_those_of_the_database(dataset: Dataset) -> None:
    incidents = dataset.table("incidents")
    assert incidents["incident_id"].sort().to_list() == sorted(INCIDENTS)
    assert_frame_equal(dataset.table("gates"), dataset.sql("from gates"), check_row_order=False)
    on_disk = pl.read_parquet(dataset.data / "tables" / "responses.parquet")
    assert_frame_equal(dataset.table("responses"), on_disk, check_row_order=False)


def test_a_query_gives_its_rows_in_its_order(dataset: Dataset, tmp_path: Path) -> None:
    query = "select incident_id from incidents order by incident_id desc;  -- and no more"
    assert dataset.sql(query)["incident_id"].to_list() == sorted(INCIDENTS, reverse=True)
    (tmp_path / "query.sql").write_text(query, encoding="utf-8")
    assert_frame_equal(dataset.sql(tmp_path / "query.sql"), dataset.sql(query))
    assert dataset.sql("select 1 as one where false").shape == (0, 1)


@pytest.mark.parametrize("split", ["train", "eval"])
def test_records_are_the_lines_of_the_file(dataset: Dataset, split: str) -> None:
    lines = (dataset.folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    assert dataset.records(split).to_dicts() == [json.loads(line) for line in lines]


def test_records_of_another_file_or_recipe_are_refused(source: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text('description = "ours"\nextends = "unified-v2"\n', encoding="utf-8")
    own = Dataset(tmp_path / "data", recipe).emit(source)
    assert len(own.records("train"))
    recipe.write_text(
        'description = "ours"\nextends = "unified-v2"\n[gates]\nsummary_score_min = 5\n', "utf-8"
    )
    edited = Dataset(str(tmp_path / "data"), str(recipe))
    with pytest.raises(CheckFailed, match=r"gates\.summary_score_min"):
        edited.records("train")
    with pytest.raises(ImmuneError, match="edited"):
        edited.table("gates")
    with (own.folder / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n")
    with pytest.raises(CheckFailed, match="not the file"):
        own.records("train")


def test_the_audit_is_the_commands(dataset: Dataset, told: Callable[..., str]) -> None:
    """And it writes nothing."""
    before = digests(dataset.data)
    actual = {row["check"]: row for row in dataset.audit().to_dicts()}
    assert digests(dataset.data) == before
    expected = json.loads(told(audit.main, ["--json"]))
    assert len(actual) == len(expected) > 40
    for row in expected:
        assert (actual[row["check"]]["rows"], actual[row["check"]]["severity"]) == (
            row["rows"],
            row["severity"],
        )
    assert dataset.audit("tie")["check"].to_list() == ["tie"]


def test_a_story_is_the_commands(dataset: Dataset, told: Callable[..., str]) -> None:
    story = dataset.why("a")
    assert dict(story) == json.loads(told(why.main, ["a", "--json"]))
    assert f"{story}\n" == told(why.main, ["a"])


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda dataset: dataset.table("funel"), "no table funel: did you mean funnel"),
        (lambda dataset: dataset.table('x"; drop table gates; --'), "no table"),
        (lambda dataset: dataset.sql("drop table gates"), "only queries run here"),
        (lambda dataset: dataset.sql("select 1; select 2"), "2 statements"),
        (lambda dataset: dataset.sql("select nothing from gates"), "line 1, column 8"),
        (lambda dataset: dataset.sql("select incident_id::int from gates"), "does not run"),
        (lambda dataset: dataset.records("test"), "use train or eval"),
        (lambda dataset: dataset.audit("ti"), "did you mean tie"),
        (lambda dataset: dataset.why("no such"), "no incident begins with"),
        (lambda dataset: Dataset(dataset.data, "risk").table("gates"), "emit it with"),
        (lambda dataset: Dataset(dataset.data, "risk").records(), "emit it first"),
        (lambda dataset: Dataset("nowhere").why("a"), "emit a recipe first"),
        (lambda dataset: Dataset("nowhere").emit("nothing"), "does not exist"),
        (lambda _: Dataset("data", "unified"), "no recipe unified"),
    ],
)
def test_what_cannot_be_is_a_sentence(
    dataset: Dataset, ask: Callable[[Dataset], Any], sentence: str
) -> None:
    with pytest.raises(ImmuneError) as refused:
        ask(dataset)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_importing_it_loads_no_library_that_is_slow_to_load(tmp_path: Path) -> None:
    slow = ("polars", "duckdb", "pyarrow", "torch", "dataframely", "matplotlib", "tiktoken")
    code = (
        "import sys, immune_data; assert 'immune_data.api' not in sys.modules; "
        "immune_data.Dataset('data', 'unified-clean'); "
        f"print([name for name in {slow} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
    with pytest.raises(ImportError):
        from immune_data import Datasets  # noqa: F401


def test_the_notebook_shows_what_it_runs_to(
    sample_source: Path,
    sample_out: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a folder where the sample corpus is, emitted already: that is tested elsewhere."""
    out = sample_out("unified-clean")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "source").symlink_to(sample_source)
    for path in out.iterdir():
        (tmp_path / "data" / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    content = notebook.read(REPOSITORY / "docs" / "api.ipynb")
    with pl.Config():
        made = list(notebook.outputs(content))
    assert made == [cell["outputs"] for cell in notebook.cells(content)], (
        "write it again: python tests/support/notebook.py docs/api.ipynb"
    )
