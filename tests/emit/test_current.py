"""What was emitted is current only while all that decided it is what it was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

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


# Several runs of the copy, as JSON: what each was given, and what came of it. An edit between them
# is the name of a file and what to write at its end. Each run is a fork of a process that has
# loaded the libraries and read nothing: the code that a run names is that of its process.
RUNS = """
import io, json, os, sys
from contextlib import redirect_stderr, redirect_stdout
import dataframely, duckdb, polars
from immune_data.contract.tokens import read_vocabulary
from immune_data.emit import __main__ as emit, build, records
from immune_data.read import normalise
from immune_data.select import asking, cleaning, condensing, pipeline
read_vocabulary()
for edit, arguments in json.loads(sys.argv[1]):
    if edit:
        with open(edit[0], "a") as file:
            file.write(edit[1])
    process = os.fork()
    if process == 0:
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
            code = emit.main(arguments)
        print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 0
"""
CURRENT, CHECK = ("--json",), ("--check",)

Ended = tuple[int, str, str]  # exit code and what was printed
Edit = tuple[str, str]


def runs(house: Path, *each: tuple[str, ...], edits: Sequence[Edit] = ()) -> list[Ended]:
    """What runs end in, then a check and a run after each edit, and after the last again."""
    options = ["--recipe", "mine.toml", "--source", "source", "--data", "out"]
    steps: list[tuple[Edit | None, list[str]]] = [(None, [*options, *more]) for more in each]
    for edit in [*edits, None] if edits else ():
        steps += [(edit, [*options, *CHECK]), (None, [*options, *CURRENT])]
    done = subprocess.run(
        [sys.executable, "-c", RUNS, json.dumps(steps)],
        cwd=house,
        env={**os.environ, "PYTHONPATH": str(house)},
        capture_output=True,
        text=True,
        check=True,
    )
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


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
    edits = [(name, LINES.get(Path(name).suffix, "[split]\nseed = 7\n")) for name in EDITED]
    first, second, checked, *after = runs(house, CURRENT, CURRENT, CHECK, edits=edits)
    assert (current(first), current(second)) == (False, True)
    assert (checked[0], checked[2]) == (0, "")
    for place, (name, named) in enumerate(EDITED.items()):
        (code, _, error), again = after[2 * place : 2 * place + 2]
        assert code == 1
        assert error == (
            f"error: out/sft/mine was emitted with something else for {named}: emit again\n"
        )
        assert not current(again), name
    # What had not been taken over would have been named with the edit after it.
    checked, again = after[2 * len(EDITED) :]
    assert checked[0] == 0
    assert current(again)


def test_what_only_reads_it_may_be_edited(house: Path) -> None:
    [first] = runs(house, CURRENT)
    assert not current(first)
    for name in ("publish/card.py", "why/__main__.py", "common/hub/upload.py"):
        with (house / "immune_data" / name).open("a") as file:
            file.write("# a remark\n")
    with (house / "sql" / "audit" / "tie.sql").open("a") as file:
        file.write("-- a remark\n")
    [again] = runs(house, CURRENT)
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
