"""Outputs that appear whole: their permissions, and what they replace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from immune_data import staging


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
def test_what_is_written_is_as_readable_as_the_umask_says(umask: int, tmp_path: Path) -> None:
    """Whatever the library that wrote it wanted; a folder's files as well as a file."""
    before = os.umask(umask)
    try:
        with staging.staging(tmp_path) as hidden:
            (hidden / "folder" / "inner").mkdir(parents=True)
            for name in ("file", "folder/weights", "folder/inner/weights"):
                (hidden / name).write_text(name)
                (hidden / name).chmod(0o600)
            staging.move(hidden / "file", tmp_path / "file")
            staging.move(hidden / "folder", tmp_path / "folder")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~umask}


def test_a_folder_replaces_the_one_that_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "old").write_text("old")
    with staging.staging(tmp_path) as hidden:
        (hidden / "made").mkdir()
        (hidden / "made" / "new").write_text("new")
        staging.move(hidden / "made", tmp_path / "made")
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "new"]
