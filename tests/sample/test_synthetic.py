"""Data that a program made up says so, from the source files to the cards; only ours is made up."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import warm_python
from conftest import REPOSITORY, Part
from corpus import CAUSE_RISK, CAUSE_RISK_RUN, RUN_1, SUMMARIES, Corpus, digests, manifest, table
from figures import undrawn

from immune_data.contract.source_file import Source
from immune_data.emit import __main__ as emit
from immune_data.publish import __main__ as publish
from immune_data.report import __main__ as report
from immune_data.sample import __main__ as sample
from immune_train.data import dataset

Refused = Callable[..., str]

READ = (SUMMARIES, CAUSE_RISK, RUN_1, CAUSE_RISK_RUN)
TERMS = ("--repo-id", "acme/incidents", "--license", "other", "--dry-run", "--recipe", "risk")


def marked(folder: Path, name: str, mark: Any = True, *, first: bool = True) -> None:
    """Put a mark into a source file, before its incidents or after them."""
    rows = json.loads((folder / name).read_text())
    content = {"synthetic": mark, "incidents": rows}
    keys = content if first else reversed(content)
    (folder / name).write_text(json.dumps({key: content[key] for key in keys}))


def emitted(source: Path, out: Path) -> Path:
    assert emit.main(["--source", str(source), "--data", str(out), "--recipe", "risk"]) == 0
    return out


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source folder of incidents that nothing marks."""
    folder = tmp_path_factory.mktemp("real")
    return Corpus().incidents([f"i{n:02}" for n in range(20)]).write(folder / "source")


@pytest.fixture
def source(real: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(real, tmp_path / "source"))


@pytest.fixture(scope="module")
def honest(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder of those incidents."""
    return emitted(real, tmp_path_factory.mktemp("honest") / "out")


@pytest.fixture(scope="module")
def made_up(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Part:
    """The same incidents, of which one file says that they were made up, and them emitted."""
    folder = tmp_path_factory.mktemp("made-up")
    source = Path(shutil.copytree(real, folder / "source"))
    marked(source, CAUSE_RISK)
    return Part(source, emitted(source, folder / "out"))


@pytest.fixture
def made_up_out(made_up: Part, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_up.out, tmp_path / "out"))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("mark", [True, False])
def test_a_mark_may_stand_on_either_side_of_the_incidents(
    mark: bool, first: bool, source: Path
) -> None:
    marked(source, RUN_1, mark, first=first)
    read = Source(source / RUN_1)
    assert len(list(read)) == read.rows == 20
    assert read.synthetic is mark


@pytest.mark.parametrize("name", READ)
def test_one_file_that_was_made_up_is_enough(
    name: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marked(source, name, first=False)
    (source / f"{name}.gz").write_bytes(gzip.compress((source / name).read_bytes()))
    (source / name).unlink()
    out = emitted(source, tmp_path / "out")
    assert "synthetic" in capsys.readouterr().out
    assert manifest(out, "risk")["synthetic"] is True
    assert {row["file"]: row["synthetic"] for row in table(out, "source_files")} == {
        file: file == name for file in READ
    }


def test_real_incidents_are_not_said_to_be_made_up(
    honest: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    undrawn(monkeypatch)
    out = Path(shutil.copytree(honest, tmp_path / "out"))
    assert manifest(out, "risk")["synthetic"] is False
    assert report.main(["--data", str(out), "--recipe", "risk"]) == 0
    assert "synthetic" not in (out / "report" / "risk.html").read_text()
    assert publish.main([*TERMS, "--data", str(out)]) == 0
    assert "ynthetic" not in capsys.readouterr().out
    published = json.loads((out / "publish" / "incidents" / "manifest.json").read_text())
    assert published["synthetic"] is False
    said = refused(publish.main, *TERMS, "--data", out, "--synthetic")
    assert said == "risk is not synthetic: leave --synthetic out"


def test_report_and_card_say_what_was_made_up_and_publish_wants_to_be_told(
    made_up_out: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    undrawn(monkeypatch)
    out = made_up_out
    assert report.main(["--data", str(out), "--recipe", "risk"]) == 0
    page = (out / "report" / "risk.html").read_text()
    assert "A program made up every incident" in page.partition("<main")[0]
    said = refused(publish.main, *TERMS, "--data", out)
    assert "--synthetic" in said
    assert not (out / "publish").exists()
    assert publish.main([*TERMS, "--data", str(out), "--synthetic"]) == 0
    folder = out / "publish" / "incidents"
    front, _, text = (folder / "README.md").read_text().removeprefix("---\n").partition("\n---\n")
    assert "- synthetic\n" in front
    assert text.lstrip().splitlines()[0].startswith("**Synthetic: a program made up every")
    assert json.loads((folder / "manifest.json").read_text())["synthetic"] is True
    for path in (folder / "risk", out / "sft" / "risk"):
        assert dataset.from_folder(path).synthetic is True


@pytest.mark.parametrize("edit", [{"synthetic": False}, {"synthetic": None}, {}])
def test_a_manifest_that_lost_the_mark_is_not_believed(
    edit: dict[str, Any], made_up: Part, made_up_out: Path, refused: Refused
) -> None:
    out = made_up_out
    path = out / "sft" / "risk" / "manifest.json"
    content = json.loads(path.read_text())
    del content["synthetic"]
    path.write_text(json.dumps(content | edit))
    said = refused(report.main, "--data", out, "--recipe", "risk")
    assert "emit" in said
    for flags in ((), ("--synthetic",)):
        code = 2 if edit != {"synthetic": False} else 1
        assert "emit" in refused(publish.main, *TERMS, *flags, "--data", out, code=code)
    emitted(made_up.source, out)
    assert manifest(out, "risk")["synthetic"] is True


def test_a_split_of_made_up_records_makes_a_dataset_synthetic(honest: Path, made_up: Part) -> None:
    """A run on files of two datasets has no manifest of its own, and must not forget it."""
    ours, theirs = (out / "sft" / "risk" for out in (honest, made_up.out))
    for train, held_out, synthetic in (
        (ours, ours, False),
        (ours, theirs, True),
        (theirs, ours, True),
    ):
        found = dataset.from_files(train / "train.jsonl", held_out / "eval.jsonl")
        assert found.synthetic is synthetic


def make(folder: Path, *variables: str) -> subprocess.CompletedProcess[str]:
    """`make emit` in a folder, by this environment instead of one that it sets up."""
    command = ["make", "-f", str(REPOSITORY / "Makefile"), "-o", ".venv/.installed", "emit"]
    command += [f"BIN={warm_python.folder()}", *variables]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("given", ["data/sources", "no/such folder", "data"])
def test_make_emit_makes_up_no_folder_that_was_named(given: str, tmp_path: Path) -> None:
    done = make(tmp_path, f"SOURCE={given}")
    assert done.returncode == 2
    assert f"source folder {given} does not exist" in done.stderr
    assert not list(tmp_path.iterdir())


def test_make_emit_takes_the_default_folder_as_it_is(source: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    shutil.copytree(source, work / "data" / "source")
    assert make(work, "RECIPE=risk").returncode == 0
    assert manifest(work / "data", "risk")["synthetic"] is False


def test_make_emit_does_not_replace_what_was_emitted_by_made_up_data(
    honest: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    shutil.copytree(honest, work / "data")
    before = digests(work / "data" / "sft")
    done = make(work, "RECIPE=risk")
    assert done.returncode == 2
    assert "source folder data/source does not exist" in done.stderr
    assert not (work / "data" / "source").exists()
    assert digests(work / "data" / "sft") == before


def test_make_emit_makes_up_the_default_folder_and_says_so(tmp_path: Path) -> None:
    done = make(tmp_path, "RECIPE=risk")
    assert done.returncode == 0, done.stderr
    assert "synthetic" in done.stdout
    assert {path.name for path in (tmp_path / "data" / "source").iterdir()} == set(sample.FILES)
    assert manifest(tmp_path / "data", "risk")["synthetic"] is True
