"""Outputs that appear whole: their permissions, and what they replace."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from immune_data.common import files
from immune_data.common.errors import ImmuneError


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
def test_what_is_written_is_as_readable_as_the_umask_says(umask: int, tmp_path: Path) -> None:
    """Whatever the library that wrote it wanted; a folder's files as well as a file."""
    before = os.umask(umask)
    try:
        with files.staging(tmp_path) as hidden:
            (hidden / "folder" / "inner").mkdir(parents=True)
            for name in ("file", "folder/weights", "folder/inner/weights"):
                (hidden / name).write_text(name)
                (hidden / name).chmod(0o600)
            files.move(hidden / "file", tmp_path / "file")
            files.move(hidden / "folder", tmp_path / "folder")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    paths = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(paths) == 3
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o666 & ~umask}


def test_a_folder_replaces_the_one_that_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "old").write_text("old")
    with files.staging(tmp_path) as hidden:
        (hidden / "made").mkdir()
        (hidden / "made" / "new").write_text("new")
        files.move(hidden / "made", tmp_path / "made")
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "new"]


# Locks


@pytest.fixture(params=[errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """A file system that cannot lock folders, as NFS, or nothing at all: the error it gives."""
    real = fcntl.flock

    def flock(handle: int, how: int) -> None:
        if request.param != errno.EBADF or stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(request.param, os.strerror(request.param))
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    return request.param


def test_a_file_system_without_locks_is_no_other_run(
    network: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with files.locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "made").touch()
    message = capsys.readouterr().err
    assert ("does not support locks" in message) == (network != errno.EBADF)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "made"]


def test_nothing_made_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wrong"), files.locked(tmp_path / "a" / "b"):
        raise ValueError("wrong")
    assert not any(tmp_path.iterdir())


HOLD = """
import fcntl, os, stat, sys, time
from pathlib import Path
from immune_data.common import files
from immune_data.common.errors import ImmuneError
if sys.argv[2] == "network":
    real = fcntl.flock
    def flock(handle, how):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(9, "Bad file descriptor")
        real(handle, how)
    fcntl.flock = flock
folder, held = Path(sys.argv[1]), 0
print("ready", flush=True)
sys.stdin.readline()
until = time.monotonic() + 60
while held < 30 and time.monotonic() < until:
    try:
        with files.locked(folder):
            held += 1
            (folder / "in use").touch(exist_ok=False)
            time.sleep(0.002)
            (folder / "in use").unlink()
    except ImmuneError as error:
        assert "another run" in str(error), error
print(held)
"""


@pytest.mark.parametrize("kind", ["disk", "network"])
def test_of_several_runs_one_holds_a_folder(kind: str, tmp_path: Path) -> None:
    (tmp_path / "keeps it").touch()
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    assert [run.stdout.readline() for run in runs] == ["ready\n"] * 3
    for run in runs:
        run.stdin.write("\n")
        run.stdin.flush()
    ends = [(run.wait(), *run.communicate()) for run in runs]
    assert [(code, held) for code, held, _ in ends] == [(0, "30\n")] * 3, ends
    assert [path.name for path in tmp_path.iterdir()] == ["keeps it"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_truly(number: int, tmp_path: Path) -> None:
    for name, said in (("/elsewhere/file", "/elsewhere/file"), (None, str(tmp_path))):
        with (
            pytest.raises(ImmuneError, match=f"the disk of {said} is full"),
            files.staging(tmp_path),
        ):
            raise OSError(number, os.strerror(number), name)
