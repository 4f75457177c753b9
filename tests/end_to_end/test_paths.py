"""Any path that a user can type works or is refused in a sentence."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import warm
from corpus import Corpus, digests
from figures import emptied

from immune_data import sql
from immune_data.audit import __main__ as audit
from immune_data.common import duck, textfile
from immune_data.emit import __main__ as emit
from immune_data.publish import __main__ as publish
from immune_data.report import __main__ as report
from immune_data.sample import __main__ as sample
from immune_data.why import __main__ as why
from immune_train.bench_edge import __main__ as bench_edge
from immune_train.export import __main__ as export
from immune_train.generate import __main__ as generate
from immune_train.random_model import __main__ as random_model
from immune_train.score import __main__ as score

# All that means something to DuckDB, pyarrow, rich or a shell, and yet can be a folder's name.
ODD = "md:~ a*b[c]{d,e}=f 'q\" %20;#$x|\\[bold]é\n日本-".replace("\\", "")


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    Corpus().incidents("abcdefghijklmnop").write(folder / "source")
    for recipe in ("unified-v2", "unified-v1"):
        _emit(folder / "source", folder / "out", recipe)
    return folder


def _emit(source: Path, out: Path, recipe: str) -> None:
    arguments = ["--source", str(source), "--data", str(out), "--recipe", recipe]
    assert emit.main(arguments) == 0


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path


@pytest.fixture
def empty_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report's figures are where they should be, and show nothing: to draw them takes seconds."""
    emptied(monkeypatch)


@pytest.mark.parametrize("name", [ODD, "~", "~root", "[x]", "a=1", "s3:", "-x", "*"])
def test_a_folder_of_any_name_is_that_folder(
    name: str, here: Path, emitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = Path(f"./{name}" if name.startswith("~") else name)
    source, out = f"./{name}/source", f"./{name}/out"
    # What the name would match if it were a pattern.
    for other in ("x", "axb"):
        Corpus().incidents("xyz").write(here / other / "source")
        shutil.copytree(emitted / "out", here / other / "out")
    shutil.copytree(emitted / "source", top / "source")
    assert emit.main([f"--source={source}", f"--data={out}", "--recipe", "unified-v2"]) == 0
    assert digests(top / "out" / "sft" / "unified-v2") == digests(
        emitted / "out" / "sft" / "unified-v2"
    )
    assert digests(top / "out" / "tables") == digests(emitted / "out" / "tables")
    assert not any((here / "home").iterdir())

    asked = [f"--data={out}", "--csv", "select count(*) as n from incidents"]
    capsys.readouterr()
    assert sql.main(asked) == 0
    assert capsys.readouterr().out == "n\n16\n"
    assert sql.main([f"--data={out}", f"--parquet={out}/made.parquet", "from incidents"]) == 0
    assert (top / "out" / "made.parquet").is_file()
    assert why.main(["a", f"--data={out}"]) == 0
    assert audit.main([f"--data={out}", "eval_in_train"]) == 1
    assert (top / "out" / "audit" / "unified-v2" / "eval_in_train.parquet").is_file()
    assert audit.main(["diff", f"{out}/sft/unified-v2", "x/out/sft/unified-v2"]) == 0
    capsys.readouterr()


@pytest.mark.usefixtures("empty_figures")
def test_every_command_works_in_a_folder_of_any_name(
    here: Path, emitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(emitted, ODD)
    (here / ODD / "recipe.toml").write_text('description = "mine"\nextends = "unified-v2"\n')
    assert (
        emit.main(["--source", f"{ODD}/source", "--data", ODD, "--recipe", f"{ODD}/recipe.toml"])
        == 0
    )
    assert report.main(["--data", f"{ODD}/out"]) == 0
    assert (here / ODD / "out" / "report" / "unified-v2.html").is_file()
    assert list((here / ODD / "out" / "report" / "unified-v2" / "figures").glob("*.png"))
    assert sample.main(["--output", f"{ODD}/sample"]) == 0
    arguments = ["--data", f"{ODD}/out", "--repo-id", "a/b", "--license", "mit", "--dry-run"]
    capsys.readouterr()
    if publish.main(arguments) != 0:
        accepted = capsys.readouterr().err.rpartition("--accept ")[2].split()
        assert publish.main([*arguments, "--accept", *accepted]) == 0
    assert (here / ODD / "out" / "publish" / "b" / "README.md").is_file()


def test_the_command_that_audit_shows_runs_in_a_folder_of_any_name(
    here: Path, emitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = ODD.replace("\n", "")  # a line of a table has no line ends
    shutil.copytree(emitted, name)
    (here / "ids").write_text("a\nb\nc\nd\n")
    capsys.readouterr()
    shown = []
    for held_out in ([], ["--held-out", "ids"]):
        assert audit.main(["--data", f"{name}/out", *held_out]) in (0, 1)
        lines = [line for line in capsys.readouterr().out.splitlines() if "python -m" in line]
        shown += [line[line.index("python -m") :] for line in lines][:2]
    assert len(shown) == 4
    for command in shown:
        command = command.replace("python -m", shlex.join(warm.commands()), 1)
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["a?b", "a\\b", "a\\*", "?"])
def test_what_duckdb_cannot_open_is_a_sentence(
    name: str, here: Path, emitted: Path, refused: Callable[..., str]
) -> None:
    source = emitted / "source"
    said = refused(emit.main, "--source", source, "--data", name)
    assert "use another folder" in said
    assert not (here / name).exists()
    shutil.copytree(emitted, name)
    before = digests(here)
    for arguments in (
        [emit.main, "--source", source, "--data", f"{name}/out", "--force"],
        [sql.main, "--data", f"{name}/out", "from funnel"],
        [why.main, "a", "--data", f"{name}/out"],
        [audit.main, "--data", f"{name}/out"],
        [report.main, "--data", f"{name}/out"],
        [audit.main, "diff", f"{name}/out/sft/unified-v2", f"{name}/out/sft/unified-v1"],
    ):
        assert "use another folder" in refused(*arguments)
    assert digests(here) == before
    # It does not matter where only we read and write.
    assert emit.main(["--source", f"{name}/source", "--data", "plain"]) == 0
    assert sql.main(["--data", "plain", "--parquet", f"{name}.parquet", "from funnel"]) == 0
    assert Path(f"{name}.parquet").is_file()


def test_home_is_home_also_where_no_shell_has_seen_it(here: Path, emitted: Path) -> None:
    _emit(emitted / "source", emitted / "out", "unified-v2")
    assert emit.main([f"--source={emitted}/source", "--data=~/made"]) == 0
    assert (here / "home" / "made" / "immune.duckdb").is_file()
    assert not (here / "~").exists()
    (here / "home" / "recipe.toml").write_text('description = "x"\nextends = "unified-v2"\n')
    assert emit.main([f"--source={emitted}/source", "--data=made", "--recipe=~/recipe.toml"]) == 0


@pytest.mark.parametrize("option", ["--data=", "--source="])
def test_an_empty_path_is_not_the_current_folder(option: str, refused: Callable[..., str]) -> None:
    """It is a variable of a script that was never set."""
    assert "the path is empty" in refused(emit.main, option)


def test_bytes_that_are_not_utf8_are_a_sentence(tmp_path: Path, emitted: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/\xff\xfe"
    shutil.copytree(os.fsencode(emitted), odd)
    for command in (
        [b"immune_data.emit", b"--source", odd + b"/source", b"--data", b"new"],
        [b"immune_data.emit", b"--source", os.fsencode(emitted / "source"), b"--data", odd],
        [b"immune_data.sql", b"--data", odd, b"from funnel"],
        [b"immune_data.sql", b"select '\xff'"],
        [b"immune_data.why", b"\xff", b"--data", os.fsencode(emitted / "out")],
        [b"immune_data.audit", b"--held-out", odd],
        [b"immune_data.audit", b"diff", odd, odd],
        [b"immune_data.sample", b"--output", odd],
        [b"immune_data.report", b"--output", odd],
        [b"immune_data.publish", b"--repo-id", odd, b"--license", b"mit"],
        [b"immune_train.score", b"--reference", odd, odd],
        [b"immune_train.generate", b"--model", odd, b"--task", b"risk", b"--incident", odd],
        [b"immune_train.export", b"--model", odd],
    ):
        python = [os.fsencode(word) for word in warm.commands()]
        done = subprocess.run([*python, *command], cwd=tmp_path, capture_output=True)
        said = done.stderr.decode()
        assert (done.returncode, said.count("\n")) == (2, 1), said
        assert said.startswith("error: ")
        assert "UTF-8" in said
    assert not (tmp_path / "new").exists()
    # In such a folder, what is asked for by names beside it cannot be opened either.
    ask = [sys.executable, "-m", "immune_data.sql", "--data", "out", "from funnel"]
    done = subprocess.run(ask, cwd=odd, capture_output=True, text=True)
    assert done.returncode == 2
    assert "whose name is not UTF-8" in done.stderr
    assert done.stderr.count("\n") == 1


# A temporary folder


@pytest.fixture
def no_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    monkeypatch.setattr(tempfile, "gettempdir", refuse)


@pytest.mark.usefixtures("empty_figures")
def test_without_a_temporary_folder_all_that_is_local_works(
    no_temporary_folder: None,
    emitted: Path,
    tmp_path: Path,
    refused: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _emit(emitted / "source", tmp_path / "out", "unified-v2")
    out = f"--data={tmp_path / 'out'}"
    capsys.readouterr()
    assert sql.main([out, "--csv", "select count(*) as n from incidents"]) == 0
    assert capsys.readouterr().out == "n\n16\n"
    # A query that needs more than memory says so.
    large = "select count(*) from (select distinct i, repeat('x', 200) from range(900000) t(i))"
    with monkeypatch.context() as patch:
        patch.setitem(duck.connect.__kwdefaults__, "memory", "100MB")
        assert "memory" in refused(sql.main, out, large).lower()
    assert why.main([out, "a"]) == 0
    assert audit.main([out]) in (0, 1)
    same = str(tmp_path / "out" / "sft" / "unified-v2")
    assert audit.main(["diff", same, same]) == 0
    assert "a temporary folder is needed" in refused(audit.main, "--dataset", "hf://datasets/a/b")
    assert report.main([out]) == 0


# What is not a file


def test_only_files_are_replaced(
    emitted: Path, tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renaming a finished file over /dev/stdout or a pipe would remove it."""
    monkeypatch.chdir(tmp_path)
    out = f"--data={emitted / 'out'}"
    pipe, link, folder = tmp_path / "pipe.html", tmp_path / "link.html", tmp_path / "folder.html"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    folder.mkdir()
    answers = tmp_path / "answers"
    answers.write_text("")
    reference = emitted / "out" / "sft" / "unified-v2" / "eval.jsonl"
    for name in (pipe, link, folder):
        for command in (
            [sql.main, out, "from funnel", "--parquet", name],
            [report.main, out, "--output", name],
            [score.main, "--reference", reference, f"a={answers}", "--output", name],
            [generate.main, "--model", name, "--eval", reference, "--output", name],
        ):
            assert "name" in refused(*command)
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == sorted([answers, pipe, link, folder])


def test_what_a_link_leads_to_is_replaced(emitted: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.parquet"
    link.symlink_to("real/made.parquet")
    for _ in range(2):
        assert sql.main([f"--data={emitted / 'out'}", "from funnel", "--parquet", str(link)]) == 0
        assert link.is_symlink()
        assert [path.name for path in (tmp_path / "real").iterdir()] == ["made.parquet"]


def test_a_text_that_never_ends_is_a_sentence(
    emitted: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(textfile, "_MOST", 1 << 16)
    out = f"--data={emitted / 'out'}"
    said = refused(audit.main, out, "--held-out", "/dev/zero")
    assert said == "/dev/zero does not end: give a file"
    with open("/dev/zero") as endless, monkeypatch.context() as patch:  # noqa: PTH123
        patch.setattr(sys, "stdin", endless)
        assert "standard input does not end" in refused(sql.main, out)


def test_a_pipe_in_place_of_a_file_is_read(emitted: Path) -> None:
    ask = [sys.executable, "-m", "immune_data.audit", "--data", str(emitted / "out"), "--held-out"]
    shell = '"$@" <(printf "a\\nb\\n") held_out_in_train'
    done = subprocess.run(["bash", "-c", shell, "bash", *ask], capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "1e3", "٣", "513", "9" * 5000])
def test_a_wrong_number_of_threads_is_a_sentence(number: str, refused: Callable[..., str]) -> None:
    for command in (emit.main, generate.main, export.main, bench_edge.main):
        assert len(refused(command, f"--threads={number}")) < 200


@pytest.mark.parametrize("number", ["-1", "1.5", "9" * 30, "9" * 5000])
def test_a_wrong_seed_is_a_sentence(number: str, refused: Callable[..., str]) -> None:
    for command in (generate.main, random_model.main):
        assert len(refused(command, f"--seed={number}")) < 200


def test_a_library_that_cannot_be_loaded_is_a_sentence(
    emitted: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    monkeypatch.setitem(sys.modules, "immune_data.select.database", None)
    monkeypatch.delattr("immune_data.select.database")
    with pytest.raises(ImportError):  # a fault of ours is not hidden
        sql.main([f"--data={emitted / 'out'}", "from funnel"])
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert "a library cannot be loaded" in refused(sql.main, f"--data={emitted / 'out'}", "from x")
