"""Outputs that appear whole or not at all: write beside, then rename.

A run holds a lock on its output folder, writes into a hidden folder in it, and moves finished
files to their names in one go. What a killed run left behind, the next one removes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from immune_data.errors import ImmuneError

_NAME = ".unfinished"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the right to write into `folder`, which is made if need be.

    The lock is on the folder itself, so it leaves no file and dies with its process.

    Raises:
        ImmuneError: the folder cannot be made or written, or another run holds it.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileExistsError:
        raise ImmuneError(f"{folder} is a file: name a folder with --out") from None
    except OSError as error:
        raise ImmuneError(f"cannot write to {folder}: {error.strerror}") from None
    try:
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ImmuneError(f"cannot write to {folder}: it is read-only")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ImmuneError(f"another run is writing to {folder}: wait for it to end") from None
        yield
    finally:
        os.close(handle)
        if made:
            with suppress(OSError):  # there is something in it: it was worth making
                folder.rmdir()


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A hidden folder in `folder` to write into; gone afterwards, with what was not moved out.

    Raises:
        ImmuneError: the disk is full or the folder cannot be written.
    """
    hidden = folder / _NAME
    try:
        if hidden.is_symlink() or hidden.is_file():
            hidden.unlink()
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir()
        yield hidden
    except Exception as error:
        # DuckDB reports a full disk in an exception of its own, whose text is all there is.
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error):
            raise ImmuneError(
                f"the disk of {folder} is full: make room and run again; nothing was changed"
            ) from None
        if number in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EISDIR):
            raise ImmuneError(
                f"cannot write {error.filename or folder}: {error.strerror}"
            ) from None
        raise
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def move(staged: Path, final: Path) -> None:
    """Give a finished file or folder its name; what had that name is replaced.

    A file is replaced at once. Whoever made them, files are as readable as others of the user's.
    """
    follow_umask(staged)
    final.parent.mkdir(parents=True, exist_ok=True)
    if staged.is_dir() and final.is_dir() and not final.is_symlink():
        final.rename(staged.with_name(f"{staged.name}.replaced"))
    staged.replace(final)


def follow_umask(made: Path) -> None:
    """Let a file, or all files of a folder, be as readable as the umask says.

    Some libraries write files that only their owner can read.
    """
    umask = os.umask(0o077)  # it can only be read by setting it
    os.umask(umask)
    for path in (made, *made.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with suppress(PermissionError):  # a link to somebody else's file
                path.chmod(0o666 & ~umask)
