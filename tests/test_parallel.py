"""Processes: how many, and what becomes of the work when one cannot be started or is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from immune_data import parallel


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 64 processors, with control groups of the test's own in the folder."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(parallel, "_OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(parallel, "_CGROUPS", tmp_path)
    return tmp_path


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def test_without_control_groups_the_allowed_processors_count(machine: Path) -> None:
    assert parallel.processors() == 64


def test_a_system_without_affinity_counts_all_processors(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert parallel.processors() == 64


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
    assert parallel.processors() == count


@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
@pytest.mark.parametrize("group", ["docker/abc", "."])  # the host's path, or the container's root
@pytest.mark.parametrize(("quota", "count"), [("250000", 3), ("-1", 64)])
def test_version_1_quotas_decide(
    machine: Path, mount: str, group: str, quota: str, count: int
) -> None:
    _write(machine / "own", "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/")
    _write(machine / mount / group / "cpu.cfs_quota_us", quota)
    _write(machine / mount / group / "cpu.cfs_period_us", "100000")
    assert parallel.processors() == count


def test_a_job_on_one_processor_of_many_has_one() -> None:
    asked = (
        "import os; os.cpu_count = lambda: 64; os.sched_setaffinity(0, {min(os.sched_getaffinity(0"
        "))}); from immune_data import parallel; print(parallel.processors())"
    )
    found = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True)
    assert found.stdout == "1\n"


def test_there_are_never_more_workers_than_items_in_flight() -> None:
    with parallel.workers(64) as pool:
        found = set(parallel.in_order(pool, _process, range(64)))
    assert 1 <= len(found) <= parallel.AHEAD


def _process(_: int) -> int:
    return os.getpid()
