"""The package as it is installed: what the wheel holds, and the commands it gives."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

import edge
import pytest
import warm
from conftest import REPOSITORY
from corpus import Corpus, digests
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import immune_data
from immune_data.__main__ import VERBS
from immune_data.emit import __main__ as emit
from immune_data.prompts import TASKS
from immune_train.__main__ import VERBS as TRAIN_VERBS

NAME = "immune-sft"
PACKAGES = ("immune_data", "immune_train", "tiktoken_ext")
HEAVY = (
    "polars",
    "duckdb",
    "matplotlib",
    "dataframely",
    "torch",
    "pyarrow",
    "tiktoken",
    "altair",
    "sklearn",
)


def python(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


# Each command in a fork of a Python that has loaded nothing of ours, only what most of them load:
# as `python -m` or a script.
FORKS = """
import argparse, importlib, json, logging, msgspec, multiprocessing, os, runpy, sys
folder, commands = sys.argv[1], json.loads(sys.argv[2])
for number, (program, *arguments) in enumerate(commands):
    child = os.fork()
    if not child:
        for descriptor, name in ((1, "out"), (2, "err")):
            file = os.open(f"{folder}/{number}.{name}", os.O_WRONLY | os.O_CREAT)
            os.dup2(file, descriptor)
        sys.argv = [program, *arguments]
        code = 0
        try:
            if "/" in program:
                runpy.run_path(program, run_name="__main__")
            else:
                runpy.run_module(program, run_name="__main__", alter_sys=True)
        except SystemExit as done:
            code = done.code or 0
        sys.stdout.flush()
        sys.stderr.flush()
        with open(f"{folder}/{number}.json", "w") as file:
            json.dump([code, sorted({name.split(".")[0] for name in sys.modules})], file)
        os._exit(0)
    os.waitpid(child, 0)
"""


@dataclass(frozen=True)
class Answer:
    """What a command ended with and said, and the packages that were loaded then."""

    code: int
    out: str
    err: str
    loaded: set[str]


def answers(commands: Sequence[Sequence[str]], tmp_path: Path) -> list[Answer]:
    """The answers of commands, each a module or a script's path and its arguments."""
    folder, empty = tmp_path / "answers", tmp_path / "empty"
    folder.mkdir()
    empty.mkdir()
    done = python("-c", FORKS, str(folder), json.dumps(commands), cwd=empty)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(empty.iterdir()) == []
    found = []
    for number in range(len(commands)):
        code, loaded = json.loads((folder / f"{number}.json").read_text())
        out, err = ((folder / f"{number}.{name}").read_text() for name in ("out", "err"))
        found.append(Answer(code, out, err, set(loaded)))
    return found


@pytest.fixture(scope="session")
def wheel(shared_folder: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    def make(folder: Path) -> None:
        done = python(
            *("-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--quiet"),
            *("--wheel-dir", str(folder)),
            cwd=REPOSITORY,
        )
        assert done.returncode == 0, done.stderr

    [found] = shared_folder("wheel", make).glob("*.whl")
    return found


def test_the_wheel_holds_what_runs_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = {
        path.relative_to(REPOSITORY).as_posix()
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    sql = {
        f"immune_data/{path.relative_to(REPOSITORY).as_posix()}"
        for path in (REPOSITORY / "sql").rglob("*.sql")
    }
    metadata = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert names - metadata == tracked | sql
    assert len([name for name in sql if name.startswith("immune_data/sql/pipeline/")]) >= 10
    assert {
        "immune_data/recipes/unified-v2.toml",
        "immune_data/recipes/published.toml",
        "immune_data/prompts/summary.system.txt",
        "immune_data/prompts/risk.user.txt",
        "immune_data/contract/vocabulary/LICENSE",
        "immune_train/__init__.py",
        "immune_data/py.typed",
        "immune_train/py.typed",
    } <= names
    assert any(
        name.startswith("immune_data/contract/vocabulary/") and "tiktoken" in name for name in names
    )
    assert any(name.startswith("tiktoken_ext/") for name in names)
    # `tiktoken_ext` is a namespace that several packages share.
    assert "tiktoken_ext/__init__.py" not in names
    tops = {name.split("/")[0] for name in names - metadata}
    assert tops == {"immune_data", "immune_train", "tiktoken_ext"}


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        texts = {
            name.split("/", 1)[1]: archive.read(name).decode()
            for name in archive.namelist()
            if ".dist-info/" in name
        }
    metadata = texts["METADATA"].splitlines()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: >=3.11" in metadata
    assert f"Name: {NAME}" in metadata
    keys = {line.partition(":")[0] for line in metadata}
    assert {"Author", "Project-URL"} <= keys
    for system in ("POSIX :: Linux", "MacOS"):
        assert f"Classifier: Operating System :: {system}" in metadata
    core = [line for line in metadata if line.startswith("Requires-Dist") and "extra" not in line]
    assert not any("torch" in line or "transformers" in line for line in core)
    assert any("Apache License" in text for name, text in texts.items() if "LICENSE" in name)
    assert "immune-data = immune_data.__main__:main" in texts["entry_points.txt"]


def test_nothing_is_installed_by_a_name_that_is_not_ours(wheel: Path) -> None:
    """Somebody else's package is called `immune`; what we install is ours or a dependency."""
    with zipfile.ZipFile(wheel) as archive:
        [path] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(path).decode()
    required = set(re.findall(r"^Requires-Dist: ([\w-]+)", metadata, re.MULTILINE))
    assert {name for name in required if name.startswith("immune")} <= {NAME}
    texts = [REPOSITORY / "README.md"]
    texts += (REPOSITORY / "docs").glob("*.md")
    texts += [path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py")]
    wanted = {
        name
        for path in texts
        for name in re.findall(
            r"pip install (?!--group)(?:--?\S+ )*+['\"]?([\w.][\w.-]*)",
            path.read_text(encoding="utf-8"),
        )
    }
    assert wanted
    # DuckDB's own command line, and what starts Dask's workers on a batch system.
    assert wanted - required <= {".", NAME, "duckdb-cli", "dask-jobqueue"}


def test_the_wheel_works_far_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site, source = tmp_path / "site", Corpus().incidents("abcdef").write(tmp_path / "source")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    where = python(
        "-c", "import immune_data; print(immune_data.__file__)", cwd=tmp_path, PYTHONPATH=str(site)
    )
    assert where.stdout.startswith(str(site))
    done = python(
        *("-m", "immune_data", "emit", "--source", str(source), "--data", "out", "--json"),
        cwd=tmp_path,
        PYTHONPATH=str(site),
    )
    assert done.returncode == 0, done.stderr
    here = tmp_path / "here"
    assert emit.main(["--source", str(source), "--data", str(here), "--json"]) == 0
    assert digests(tmp_path / "out" / "sft") == digests(here / "sft")


@pytest.mark.parametrize(("name", "verb"), [("immune-data", "emit"), ("immune-train", "score")])
def test_the_script_is_the_module(name: str, verb: str, tmp_path: Path) -> None:
    script = Path(sys.executable).parent / name
    cases: list[list[str]] = [[], ["--help"], ["-h"], ["nothing"], ["--nothing"], ["--version"]]
    cases += [[verb], [verb, "--help"], [verb, "--x"], [verb, "--version"]]
    programs = (name.replace("-", "_"), str(script))
    found = answers([[program, *case] for program in programs for case in cases], tmp_path)
    said = [(answer.code, answer.out, answer.err) for answer in found]
    assert said[: len(cases)] == said[len(cases) :]
    assert {answer.code for answer in found} == {0, 2}
    done = subprocess.run([script, *cases[-1]], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, found[-1].out, "")


@pytest.mark.parametrize("module", ["immune_data", "immune_data.emit", "immune_train.generate"])
def test_windows_is_a_sentence(module: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.platform = 'win32'")
    done = python("-m", module, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "in WSL" in done.stderr
    done = python("-c", f"import {module}", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "ImportError: immune runs on Linux and macOS" in done.stderr


PROGRAMS = {"immune_data": VERBS, "immune_train": TRAIN_VERBS}


@pytest.mark.parametrize("package", PROGRAMS)
def test_without_a_verb_the_verbs_are_listed(package: str, tmp_path: Path) -> None:
    bare = python("-m", package, cwd=tmp_path)
    helped = python("-m", package, "--help", cwd=tmp_path)
    assert (bare.returncode, bare.stdout) == (2, "")
    assert (helped.returncode, helped.stdout, helped.stderr) == (0, bare.stderr, "")
    lines = [line.split(maxsplit=1) for line in bare.stderr.splitlines() if line.strip()]
    for verb, what in PROGRAMS[package].items():
        assert [verb, what] in lines
    assert f"python -m {package} VERB" in bare.stderr


@pytest.mark.parametrize("package", PROGRAMS)
def test_every_command_is_a_verb(package: str) -> None:
    """A command is a file or folder that can be run."""
    commands = {
        path.parent.name if path.name == "__main__.py" else path.stem
        for path in (REPOSITORY / package).glob("*/__main__.py")
    }
    commands |= {
        path.stem
        for path in (REPOSITORY / package).glob("*.py")
        if "__main__" not in path.name and '__name__ == "__main__"' in path.read_text()
    }
    assert commands == set(PROGRAMS[package])


@pytest.mark.parametrize("package", PROGRAMS)
def test_a_wrong_verb_is_a_sentence(package: str, tmp_path: Path) -> None:
    done = python("-m", package, "emitt", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "emitt" in done.stderr
    assert "publish" in done.stderr


def test_each_command_says_its_version(tmp_path: Path) -> None:
    commands = [*PROGRAMS, *(f"{name}.{verb}" for name in PROGRAMS for verb in PROGRAMS[name])]
    said = f"{NAME} {immune_data.__version__}\n"
    found = answers([[command, "--version"] for command in commands], tmp_path)
    for command, answer in zip(commands, found, strict=True):
        assert (answer.code, answer.out, answer.err) == (0, said, ""), command


def test_help_answers_at_once_and_shows_an_example(tmp_path: Path) -> None:
    asked = {
        (name, *command): f"python -m {package}.{verb} "
        for package in PROGRAMS
        for verb in PROGRAMS[package]
        for name, *command in ((package, verb, "--help"), (f"{package}.{verb}", "--help"))
    }
    found = answers(list(asked), tmp_path)
    for (command, usage), answer in zip(asked.items(), found, strict=True):
        assert (answer.code, answer.err) == (0, ""), command
        assert not answer.loaded & set(HEAVY), command
        assert "immune_data" in answer.loaded, command
        assert usage in answer.out.partition("example")[2], command
        assert f"usage: {usage}" in answer.out, command


def test_a_reader_that_goes_away_is_no_failure(tmp_path: Path) -> None:
    source = Corpus().incidents("abc").write(tmp_path / "source")
    emit_it = shlex.join([*warm.commands(), "immune_data.emit", "--source", str(source)])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {emit_it} --data out | true"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / "sft" / "unified-v2" / "manifest.json").exists()


# A small machine


@pytest.fixture(scope="module")
def small(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of an environment that holds the small install alone."""
    environment = tmp_path_factory.mktemp("small") / "venv"
    made = python("-m", "venv", "--without-pip", str(environment), cwd=REPOSITORY)
    assert made.returncode == 0, made.stderr
    pip = ("-m", "pip", "--python", str(environment / "bin" / "python"), "install", "--no-compile")
    done = python(*pip, "--quiet", "--no-deps", str(wheel), cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    [site] = environment.glob("lib/python*/site-packages")
    content = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    for library in installed(content["dependency-groups"]["infer"]).values():
        for file in library.files or ():
            if ".." not in file.parts:
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                (site / file).symlink_to(Path(str(file.locate())).resolve())
    return environment / "bin"


def installed(requirements: Iterable[str]) -> dict[str, Distribution]:
    """What pip would install for requirements that name no extra, as it is installed here."""
    found: dict[str, Distribution] = {}
    left = [Requirement(one) for one in requirements]
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        assert not requirement.extras
        if name not in found:
            found[name] = distribution(name)
            left += [Requirement(one) for one in found[name].requires or ()]
        assert requirement.specifier.contains(found[name].version, prereleases=True), requirement
    return found


def test_a_small_install_asks_a_model(
    small: Path, shared_folder: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "incident.json").write_text(json.dumps(edge.incident()), encoding="utf-8")
    command = ["generate", "--model", edge.random_gguf(shared_folder), "--incident"]
    command += ["incident.json", "--task", "all", "--json", "--threads", "1", "--max-tokens", "88"]
    done = subprocess.run(
        [small / "immune-train", *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["answers"]) == set(TASKS)
    assert [path.name for path in tmp_path.iterdir()] == ["incident.json"]


@pytest.mark.parametrize("heavy", ["polars", "duckdb", "pyarrow", "dataframely", "matplotlib"])
def test_a_small_install_is_small(small: Path, heavy: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [small / "python", "-c", f"import immune_train, {heavy}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"No module named '{heavy}'" in done.stderr


def test_what_is_not_installed_is_a_sentence(small: Path, tmp_path: Path) -> None:
    source = Corpus().incidents("abc").write(tmp_path / "source")
    done = subprocess.run(
        [small / "immune-data", "emit", "--source", source],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "library cannot be loaded" in done.stderr or "is not installed" in done.stderr


# Imports

GROUND = ("common", "contract", "recipes", "prompts")


EACH = """
import argparse, importlib, logging, msgspec, multiprocessing, os, sys
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        importlib.import_module(name)
        heavy = {"polars", "duckdb", "pyarrow", "torch"} & set(sys.modules)
        print(*(f"{name} loads {one}" for one in sorted(heavy)), sep="\\n", end="", flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, name
"""


def test_the_ground_floors_are_light() -> None:
    """As somebody who has none of them would see it: neither now nor by what is imported."""
    modules = sorted(
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
        for floor in GROUND
        for path in (REPOSITORY / "immune_data" / floor).rglob("*.py")
    )
    assert len(modules) > 40
    done = python("-c", EACH, *modules, cwd=REPOSITORY)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
