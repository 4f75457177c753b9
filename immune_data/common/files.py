"""Outputs that appear whole or not at all: write next to the final place, then rename.

A run holds a lock on its output folder, writes into a hidden folder in it, and moves finished
files to their names in one go. What a killed run left behind, the next one removes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from immune_data.common import signals
from immune_data.common.errors import ImmuneError

_NAME, _LOCK = ".unfinished", ".lock"
_FULL = errno.ENOSPC, errno.EDQUOT
_READ_ONLY = errno.EACCES, errno.EROFS, errno.EPERM
_REFUSED = *_READ_ONLY, errno.ENOTDIR, errno.EISDIR, errno.EFBIG


class ReadOnly(ImmuneError):
    """A folder that cannot be written to."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the right to write into `folder`, which is created if it does not exist.

    The lock is on the folder itself, so it leaves no file and dies with its process. Where that
    is not possible (NFS), it is on a file in it.

    Raises:
        ReadOnly: the folder cannot be made or written.
        ImmuneError: another run has locked it, or it is a file.
    """
    new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileExistsError:
        raise ImmuneError(f"{folder} is a file: name a folder") from None
    except OSError as error:
        kind = ReadOnly if error.errno in _READ_ONLY else ImmuneError
        raise kind(f"cannot write to {folder}: {error.strerror}") from None
    try:
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ReadOnly(f"cannot write to {folder}: it is read-only")
        is_locked = lock(handle, folder)
        with nullcontext() if is_locked else _locked_by_file(folder):
            yield
    finally:
        os.close(handle)
        with suppress(OSError):  # it is not empty: it is kept
            for path in new_folders:
                path.rmdir()


def lock(handle: int, path: Path) -> bool:
    """Lock an open file or folder until it is closed; False where the file system has no locks.

    Raises:
        ImmuneError: another process has locked it.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ImmuneError(f"another run is writing to {path}: wait for it to end") from None
    except OSError:  # no locks, or none on a file that is open for reading only
        return False
    return True


@contextmanager
def _locked_by_file(folder: Path) -> Iterator[None]:
    """The same by a file in the folder, which is gone afterwards."""
    path = folder / _LOCK
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            is_locked = lock(handle, folder)
            # A run that ends removes its file, perhaps between our opening and our holding it.
            if path.exists() and os.path.samestat(path.stat(), os.fstat(handle)):
                break
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    if not is_locked:
        print(
            f"the file system of {folder} does not support locks: make sure that no other run "
            "writes to it",
            file=sys.stderr,
        )
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A hidden folder in `folder` to write into; removed afterwards, with all that is still in it.

    Raises:
        ImmuneError: the disk is full or the folder cannot be written.
    """
    hidden = folder / _NAME
    try:
        if hidden.is_symlink() or hidden.is_file():
            hidden.unlink()
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir()
        with signals.unfinished(hidden):
            yield hidden
    except Exception as error:
        if is_full(error):
            where = getattr(error, "filename", None) or folder  # not every disk is ours
            raise ImmuneError(
                f"the disk of {where} is full: make room and run again; nothing was changed"
            ) from None
        if isinstance(error, OSError) and error.errno in _REFUSED:
            raise ImmuneError(
                f"cannot write {error.filename or folder}: {error.strerror}"
            ) from None
        raise
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def is_full(error: Exception) -> bool:
    """Whether an error says that a disk is full.

    DuckDB, safetensors and torch have exceptions of their own for it, known only by their text.
    """
    texts = [os.strerror(number) for number in _FULL] + ["PytorchStreamWriter", "inline_container"]
    return getattr(error, "errno", None) in _FULL or any(text in str(error) for text in texts)


def names(folder: Path) -> Iterator[str]:
    """The files in a folder and below it, relative to it and written with `/`."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.relative_to(folder).as_posix()


def target(file: Path) -> Path:
    """The file that a user's path leads to: links are followed.

    Raises:
        ImmuneError: it is a folder or a device, which would be replaced.
    """
    real = Path(os.path.realpath(file))
    if file.is_dir():
        raise ImmuneError(f"{file} is a folder: name a file")
    if file.exists() and not file.is_file():
        raise ImmuneError(f"{file} is not a file: name one, or a new one")
    return real


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path to write to, which replaces `file` as a whole when the context ends without an error.

    Raises:
        ImmuneError: `file` is a folder or a device, or cannot be written.
    """
    real = target(file)
    unfinished = real.with_name(f".{os.getpid()}.unfinished")
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        move(unfinished, real)
    except OSError as error:
        raise ImmuneError(f"cannot write {file}: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def move(staged: Path, final: Path) -> None:
    """Give a finished file or folder its name, replacing what has that name.

    A file is replaced in one step, and gets the permissions that the user's umask asks for.
    """
    follow_umask(staged)
    final.parent.mkdir(parents=True, exist_ok=True)
    if staged.is_dir() and final.is_dir() and not final.is_symlink():
        final.rename(staged.with_name(f"{staged.name}.replaced"))
    staged.replace(final)


def follow_umask(path: Path) -> None:
    """Give a file, or all files of a folder, the permissions that the umask asks for.

    Some libraries write files that only their owner can read.
    """
    umask = os.umask(0o077)  # it can only be read by setting it
    os.umask(umask)
    for file in (path, *path.rglob("*")):
        if file.is_file() and not file.is_symlink():
            with suppress(PermissionError):  # a link to somebody else's file
                file.chmod(0o666 & ~umask)
