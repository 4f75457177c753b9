"""What was emitted is current only while all that decided it is what it was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from corpus import Corpus
from hashed import windows

import immune_data
from immune_data.emit import __main__ as emit
from immune_data.emit import inputs
from immune_data.select import steps

PACKAGE = Path(immune_data.__file__).parent
SQL = steps.sql_folder()

RECIPE = 'extends = "unified-clean"\nprompts = "prompts"\n'


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A folder with a copy of the package, a source and a recipe, from which a run starts."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "immune_data", ignore=ignored)
    shutil.copytree(SQL, tmp_path / "sql")
    shutil.copytree(PACKAGE / "prompts" / "condensed", tmp_path / "prompts", ignore=ignored)
    (tmp_path / "mine.toml").write_text(RECIPE)
    several().write(tmp_path / "source")
    return tmp_path


# Several runs of the copy, as JSON: what is edited before each, what it is given, and whether it
# may make anything; and what came of it. Each run is a fork of a process that has loaded the
# libraries and read nothing: the code that a run names is that of its process.
RUNS = """
import io, json, os, sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
import dataframely, duckdb, polars
from immune_data.common.errors import ImmuneError
from immune_data.contract.tokens import read_vocabulary
from immune_data.emit import __main__ as emit, build, records
from immune_data.read import normalise
from immune_data.select import asking, cleaning, condensing, pipeline
read_vocabulary()
def end(*_):
    raise ImmuneError("not current")
for edits, arguments, making in json.loads(sys.argv[1]):
    for name, text in edits.items():
        Path(name).unlink() if text is None else Path(name).write_text(text)
    process = os.fork()
    if process == 0:
        if not making:
            build._Build.make = end
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
            code = emit.main(arguments)
        print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 0
"""
CURRENT, CHECK = ("--json",), ("--check",)

Ended = tuple[int, str, str]  # exit code and what was printed
Edits = dict[str, str | None]  # files, and what is then in them; None: they are not there


class Run(NamedTuple):
    options: tuple[str, ...]
    edits: Edits | None = None
    making: bool = True


def runs(house: Path, *each: Run) -> list[Ended]:
    """What runs end in."""
    options = ["--recipe", "mine.toml", "--source", "source", "--data", "out"]
    steps = [(run.edits or {}, [*options, *run.options], run.making) for run in each]
    done = subprocess.run(
        [sys.executable, "-c", RUNS, json.dumps(steps)],
        cwd=house,
        env={**os.environ, "PYTHONPATH": str(house)},
        capture_output=True,
        text=True,
        check=True,
    )
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def edited(house: Path, name: str, line: str) -> Edits:
    """A file with a line more."""
    return {name: (content(house / name) or "") + line}


def current(run: Ended) -> bool:
    code, out, err = run
    assert code == 0, err
    return json.loads(out)["current"]


EDITED = {
    "immune_data/select/cleaning_rules.py": "code_sha256",
    "immune_data/contract/vocabulary/__init__.py": "code_sha256",
    "immune_data/a_new_file.py": "code_sha256",
    "sql/pipeline/10_gates.sql": "sql.10_gates.sql",
    "prompts/cause.user.txt": "prompts.cause.user.txt",
    "mine.toml": "settings.split.seed",
}


def several() -> Corpus:
    """Six incidents, each in a time window of its own, on both sides."""
    corpus = Corpus()
    for name, window in zip("abcdef", windows("train", 4) + windows("eval", 2), strict=True):
        corpus.incident(name, facts=window)
    return corpus


LINES = {".py": "# a remark\n", ".sql": "-- a remark\n", ".txt": "Be brief.\n"}


def test_whatever_decides_the_result_is_never_current_once_edited(house: Path) -> None:
    """Each edit by itself; all of them are then taken over by one run."""
    steps, before = [Run(CURRENT), Run(CURRENT), Run(CHECK)], Edits()
    every = Edits()
    for name in EDITED:
        edits = edited(house, name, LINES.get(Path(name).suffix, "[split]\nseed = 7\n"))
        steps += [Run(CHECK, before | edits), Run(CURRENT, making=False)]
        before, every = {name: content(house / name)}, every | edits
    steps += [Run(CHECK, before), Run(CURRENT)]
    steps += [Run(CHECK, every), Run(CURRENT), Run(CHECK), Run(CURRENT)]
    first, second, checked, *after = runs(house, *steps)
    assert (current(first), current(second)) == (False, True)
    assert (checked[0], checked[2]) == (0, "")
    for place, (name, named) in enumerate(EDITED.items()):
        (code, _, error), (_, _, made) = after[2 * place : 2 * place + 2]
        assert code == 1
        assert error == (
            f"error: out/sft/mine was emitted with something else for {named}: emit again\n"
        )
        assert made == "error: not current\n", name
    taken_back, still, refused, again, checked, last = after[2 * len(EDITED) :]
    assert (taken_back[0], current(still)) == (0, True)
    assert (refused[0], current(again)) == (1, False)
    assert (checked[0], current(last)) == (0, True)


def test_what_only_reads_it_may_be_edited(house: Path) -> None:
    names = ("publish/card.py", "why/__main__.py", "common/hub/upload.py")
    edits = edited(house, "sql/audit/tie.sql", "-- a remark\n")
    for name in names:
        edits |= edited(house, f"immune_data/{name}", "# a remark\n")
    first, again = runs(house, Run(CURRENT), Run(CURRENT, edits))
    assert not current(first)
    assert current(again)


def test_a_run_loads_no_code_that_only_reads_and_no_library_it_does_not_need(
    tmp_path: Path,
) -> None:
    several().write(tmp_path / "source")
    loading = (
        "import sys; from immune_data.emit import inputs; "
        "from immune_data.emit import __main__ as emit; code = emit.main(sys.argv[1:]); "
        "names = {name.replace('/', '.') for name in inputs._WITHOUT_EFFECT}; "
        "names = {f'immune_data.{name}' for name in names}; "
        "print((names | {'pandas', 'scipy', 'matplotlib', 'torch'}) & set(sys.modules)); "
        "sys.exit(code)"
    )
    arguments = ["--source", "source", "--data", "out", "--recipe", "unified-clean", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", loading, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "set()"


def test_every_reader_is_there() -> None:
    """A name that is none would let what has moved count twice, or hide a misspelling."""
    for name in inputs._WITHOUT_EFFECT:
        assert (PACKAGE / f"{name}.py").is_file() or (PACKAGE / name).is_dir(), name


@pytest.mark.parametrize(
    "inputs", [None, [], {}, {"sources": []}], ids=["null", "list", "empty", "no sources"]
)
def test_a_manifest_without_its_inputs_is_of_another_version(
    inputs: object, tmp_path: Path, refused: Callable[..., str]
) -> None:
    folder = tmp_path / "sft" / "unified-v2"
    folder.mkdir(parents=True)
    content = {"outputs": {"train.jsonl": {"sha256": "x"}}, "counts": {}, "inputs": inputs}
    (folder / "manifest.json").write_text(json.dumps(content))
    said = refused(emit.main, "--check", "--data", tmp_path)
    assert said.endswith("by another version of immune: emit it again")
