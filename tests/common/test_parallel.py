"""Processes: how many, and what becomes of the work when one cannot be started or is killed."""

from __future__ import annotations

import _multiprocessing
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.context import SpawnProcess
from pathlib import Path

import in_a_process
import psutil
import pytest
from corpus import Corpus, digests

from immune_data.common import processes
from immune_data.common.errors import CheckFailed
from immune_data.emit import __main__ as emit
from immune_data.emit import build
from immune_data.recipes import DEFAULT


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 64 processors, with control groups of the test's own in the folder."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(processes, "_OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(processes, "_CGROUPS", tmp_path)
    return tmp_path


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def test_without_control_groups_the_allowed_processors_count(machine: Path) -> None:
    assert processes.processors() == 64


def test_a_system_without_affinity_counts_all_processors(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert processes.processors() == 64


@pytest.mark.parametrize(
    ("quotas", "count"),
    [
        ({"job/step": "200000 100000"}, 2),
        ({"job/step": "150000 100000"}, 2),
        ({"job/step": "10000 100000"}, 1),
        ({"job/step": "max 100000"}, 64),
        ({"job/step": "6400000000 100000"}, 64),
        ({"job": "300000 100000", "job/step": "max 100000"}, 3),
        ({"job": "300000 100000", "job/step": "800000 100000"}, 3),
        ({".": "400000 100000"}, 4),
        ({"job/step": "nonsense"}, 64),
    ],
)
def test_version_2_quotas_decide(machine: Path, quotas: dict[str, str], count: int) -> None:
    _write(machine / "own", "0::/job/step")
    for group, quota in quotas.items():
        _write(machine / group / "cpu.max", quota)
    assert processes.processors() == count


@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
@pytest.mark.parametrize("group", ["docker/abc", "."])  # the host's path, or the container's root
@pytest.mark.parametrize(("quota", "count"), [("250000", 3), ("-1", 64)])
def test_version_1_quotas_decide(
    machine: Path, mount: str, group: str, quota: str, count: int
) -> None:
    _write(machine / "own", "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/")
    _write(machine / mount / group / "cpu.cfs_quota_us", quota)
    _write(machine / mount / group / "cpu.cfs_period_us", "100000")
    assert processes.processors() == count


def test_a_job_on_one_processor_of_many_has_one() -> None:
    asked = (
        "import os; os.cpu_count = lambda: 64; os.sched_setaffinity(0, {min(os.sched_getaffinity(0"
        "))}); from immune_data.common import processes as parallel; print(parallel.processors())"
    )
    found = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True)
    assert found.stdout == "1\n"


def test_there_are_never_more_workers_than_items_in_flight() -> None:
    with processes.workers(64) as pool:
        actual = set(processes.in_order(pool, in_a_process.number, range(64)))
    assert 1 <= len(actual) <= processes.AHEAD


# What may happen to a process


@pytest.fixture(scope="session")
def hundred(shared_folder: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A hundred incidents and, in `out`, what one process emits of them."""

    def make(folder: Path) -> None:
        source = Corpus().incidents(f"i{number:02}" for number in range(100))
        arguments = ["--source", str(source.write(folder / "source"))]
        assert emit.main([*arguments, "--data", str(folder / "out"), "--threads", "1"]) == 0

    return shared_folder("hundred", make)


def _work_of_several_processes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The arguments of an `emit` that works with two processes."""
    monkeypatch.setattr(build, "_WORTH_WORKERS", 0)
    return ["--source", str(source), "--data", str(tmp_path / "out"), "--threads", "2"]


def _children() -> list[psutil.Process]:
    """The workers, without the process that multiprocessing lets look after them."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if "resource_tracker" not in " ".join(child.cmdline())
    ]


@pytest.mark.parametrize("after", [0.0, 0.5])
def test_a_killed_worker_is_a_sentence(
    after: float,
    sample_source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[..., str],
) -> None:
    arguments = _work_of_several_processes(sample_source, tmp_path, monkeypatch)

    def kill() -> None:
        while not _children():
            time.sleep(0.01)
        time.sleep(after)
        with suppress(IndexError, psutil.NoSuchProcess):
            _children()[-1].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    assert "run again with --threads 1" in refused(emit.main, *arguments)
    killer.join()
    assert not (tmp_path / "out").exists()
    assert _children() == []


def test_no_semaphore_is_needed(
    hundred: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They lie in /dev/shm, which may be full, read-only or somebody else's: none is asked for."""
    asked = []

    def refuse(*given: object) -> None:
        asked.append(given)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_multiprocessing, "SemLock", refuse)
    arguments = _work_of_several_processes(hundred / "source", tmp_path, monkeypatch)
    assert emit.main(arguments) == 0
    made, expected = (digests(of / "out" / "sft" / DEFAULT) for of in (tmp_path, hundred))
    assert made == expected
    assert processes.apart(in_a_process.number, 0) != os.getpid()
    assert asked == []


@pytest.mark.parametrize("possible", [0, 1])
def test_where_no_process_can_be_started_fewer_work(
    possible: int, hundred: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = SpawnProcess.start
    started = []

    def limited(process: SpawnProcess) -> None:
        if len(started) % 2 >= possible:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        started.append(process)
        start(process)

    monkeypatch.setattr(SpawnProcess, "start", limited)
    arguments = _work_of_several_processes(hundred / "source", tmp_path, monkeypatch)
    assert emit.main(arguments) == 0
    made, expected = (digests(of / "out" / "sft" / DEFAULT) for of in (tmp_path, hundred))
    assert made == expected


def test_an_error_in_another_process_is_the_same_here() -> None:
    with pytest.raises(CheckFailed, match="no good") as raised:
        processes.apart(in_a_process.fail, "no good")
    assert "in fail" in raised.value.__notes__[0]


def test_what_another_process_prints_costs_nothing() -> None:
    ask = (
        "import in_a_process; from immune_data.common import processes as parallel;"
        "parallel.apart(in_a_process.say); import sys; print('done', file=sys.stderr)"
    )
    for shell in ('"$@" | true', '"$@" >&-', 'PYTHONIOENCODING=ascii "$@" >/dev/null'):
        done = subprocess.run(
            ["bash", "-c", shell, "bash", sys.executable, "-c", ask],
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONPATH": str(Path(in_a_process.__file__).parent)},
            capture_output=True,
            text=True,
        )
        assert done.stderr == "done\n"


# Ends the process group at the moment when a process that we start needs more of us.
SIGNALLED_AT_START = """
import os, sys, time
from multiprocessing import util
from immune_data.common import cli, processes
start, starts = util.spawnv_passfds, iter(range(2))
def signalled(*arguments):
    process = start(*arguments)
    if next(starts) == int(sys.argv[2]):
        os.killpg(0, int(sys.argv[1]))
        time.sleep(0.2)
    return process
util.spawnv_passfds = signalled
def command(arguments):
    processes.apart(time.sleep, 60)
if __name__ == "__main__":
    sys.exit(cli.run(cli.parser("x", summary="", example=""), command, []))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("which", [0, 1])  # the resource tracker, and the process itself
def test_a_signal_while_a_process_starts_ends_both_quietly(
    number: signal.Signals, which: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED_AT_START, str(int(number)), str(which)],
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=20,
    )
    assert done.returncode == 128 + number
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", [0.0, 0.05, 1.0])  # a process that starts hears Ctrl-C as well
def test_who_waits_for_another_process_can_end(number: signal.Signals, after: float) -> None:
    program = (
        "import sys, time\nfrom immune_data.common import cli, processes as parallel\n"
        "def command(arguments):\n    print('begun', flush=True)\n"
        "    parallel.apart(time.sleep, 60)\n"
        "if __name__ == '__main__':\n"
        "    sys.exit(cli.run(cli.parser('x', summary='', example=''), command, []))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "begun\n"
    time.sleep(after)
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert len(said.splitlines()) == 1, said
