"""Asked to end, a command ends at once, tidies up and says so by its exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from corpus import Corpus, digests

from immune_data.common import cli, signals
from immune_data.emit import __main__ as emit

ENDLESS = "select count(*) from range(1000000) a, range(10000000) b where a.range * b.range % 7 = 3"
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def _start(*words: object, cwd: Path, temporary: Path) -> subprocess.Popen[str]:
    temporary.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an emitted dataset in `data`."""
    folder = tmp_path_factory.mktemp("signals")
    source = Corpus().incidents("abcdefghijklmnop").write(folder / "source")
    assert emit.main(["--source", str(source), "--data", str(folder / "data")]) == 0
    return folder


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_busy_database_is_interrupted(
    number: signal.Signals, emitted: Path, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    process = _start("immune_data.sql", ENDLESS, cwd=emitted, temporary=temporary)
    _wait_for(lambda: any(temporary.iterdir()) if temporary.exists() else False)
    time.sleep(0.3)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == SIGNALS[number], said
    assert len(said.splitlines()) == 1
    assert not any(temporary.iterdir())


# Any signal while sources are read, and one signal when there are tables and a database.
MOMENTS = [*((number, "") for number in SIGNALS), (signal.SIGINT, "immune.duckdb")]


@pytest.mark.parametrize(("number", "there_is"), MOMENTS)
def test_a_run_that_is_asked_to_end_leaves_what_was_there(
    number: signal.Signals, there_is: str, sample_source: Path, tmp_path: Path
) -> None:
    emit = ["immune_data.emit", "--source", sample_source, "--data", "data"]
    process = _start(*emit, cwd=tmp_path, temporary=tmp_path / "temporary")
    unfinished = tmp_path / "data" / ".unfinished"
    _wait_for((unfinished / there_is).exists)
    time.sleep(0.2)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == SIGNALS[number], said
    assert said.splitlines()[-1].endswith(": no file is half-written; run again")
    assert "Traceback" not in said
    assert digests(tmp_path) == {}


def test_one_that_is_sent_twice_is_one(tmp_path: Path, sample_source: Path) -> None:
    """`timeout` sends it to the process, and to the group that the process is in."""
    emit = ["immune_data.emit", "--source", sample_source, "--data", "data"]
    process = _start(*emit, cwd=tmp_path, temporary=tmp_path / "temporary")
    _wait_for((tmp_path / "data" / ".unfinished").exists)
    time.sleep(0.2)
    for _ in range(5):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.01)
    process.communicate(timeout=30)
    assert process.returncode in (143, -signal.SIGTERM)  # to a shell they are the same
    assert digests(tmp_path) == {}


_BEGUN = "print('begun', flush=True)"


def _command(body: str, begun: str = _BEGUN) -> str:
    return (
        "import sys, time, ctypes, signal\nfrom immune_data.common import cli\n"
        f"def command(arguments):\n    {begun}\n    {body}\n"
        "sys.exit(cli.run(cli.parser('x', summary='', example=''), command, []))"
    )


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_library_that_never_comes_back_does_not_keep_a_command(number: signal.Signals) -> None:
    # As long as `sleep` runs in C, Python does not hear of signals.
    code = _ended(_command("f = ctypes.CDLL(None).sleep\n    while f(60): f(60)"), number)
    assert code == SIGNALS[number]


def test_what_is_unfinished_is_removed_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    body = "\n    ".join(
        [
            "from pathlib import Path; from immune_data.common import duck, files",
            f"folder = Path({str(tmp_path / 'out')!r})",
            "with files.staging(folder) as hidden, duck.spill() as spill:",
            "    (hidden / 'file').touch(); (Path(spill) / 'file').touch()",
            f"    {_BEGUN}",
            "    while True: ctypes.CDLL(None).sleep(60)",
        ]
    )
    assert _ended(_command(body, ""), signal.SIGTERM, TMPDIR=str(tmp_path)) == 143
    assert [path.name for path in tmp_path.rglob("*")] == ["out"]


def test_an_error_that_an_interruption_caused_is_an_interruption() -> None:
    body = "\n    ".join(
        ["try: time.sleep(60)", "except KeyboardInterrupt: raise RuntimeError('Query interrupted')"]
    )
    assert _ended(_command(body), signal.SIGTERM) == 143


def test_what_handles_signals_itself_is_left_to_it() -> None:
    """It takes longer than what handles none may."""
    body = "\n    ".join(
        [
            "from immune_data.common import signals; signals._PATIENCE = 0.2",
            "asked = []",
            "signal.signal(signal.SIGTERM, lambda *_: asked.append(1))",
            "while not asked: time.sleep(0.01)",
            "ctypes.CDLL(None).sleep(1)",
            "return 5",
        ]
    )
    assert _ended(_command(body), signal.SIGTERM) == 5


def test_signals_that_are_ignored_stay_so() -> None:
    program = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    assert _ended(program + _command("time.sleep(0.5); return 5"), signal.SIGHUP) == 5


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    parser = cli.parser("x", summary="", example="")
    assert cli.run(parser, lambda _: 1, []) == 1
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_of_postponed_requests_the_first_counts_and_none_is_left() -> None:
    steps: list[str] = []

    def step() -> None:
        with signals.Ending(), signals.postponed():
            signal.raise_signal(signal.SIGTERM)
            with signals.postponed():
                signal.raise_signal(signal.SIGINT)
            steps.append("done")

    with pytest.raises(signals.EndRequested) as raised:
        step()
    assert steps == ["done"]
    assert raised.value.number == signal.SIGTERM
    with signals.Ending() as later, signals.postponed():
        pass
    assert later.received is None


def _ended(program: str, number: signal.Signals, **environment: str) -> int:
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    time.sleep(0.2)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert "Traceback" not in said
    return process.returncode


def _wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


INTERRUPTS = """
import importlib.machinery, os, signal, sys

class Finder:
    def find_spec(self, name, *_):
        if name == os.environ.get("BEFORE"):
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
load = importlib.machinery.ExtensionFileLoader.exec_module

def exec_module(self, module):
    try:
        if module.__name__.endswith(os.environ.get("WITHIN", "nothing")):
            os.kill(os.getpid(), signal.SIGINT)
            [None for _ in range(1000)]
    except BaseException:
        os.abort()  # as compiled code does
    return load(self, module)

importlib.machinery.ExtensionFileLoader.exec_module = exec_module
"""


@pytest.mark.parametrize(
    "when",
    [{"BEFORE": "immune_data.recipes"}, {"BEFORE": "duckdb"}, {"WITHIN": "_duckdb"}],
    ids=str,
)
def test_what_is_being_loaded_is_interrupted_without_a_trace(
    when: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTS)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "immune.duckdb").touch()
    done = subprocess.run(
        [sys.executable, "-m", "immune_data.sql", "from funnel"],
        cwd=tmp_path,
        env={**os.environ, **when, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (130, -signal.SIGINT), done.stderr
    assert "Traceback" not in done.stderr
