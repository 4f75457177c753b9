"""A `python` for programs that call one: its `python -m COMMAND` is a fork of the warm process."""

from __future__ import annotations

import functools
import shlex
import sys
import tempfile
from pathlib import Path

import warm

_PROGRAM = """\
#!/bin/sh
if [ "$1" = -m ]; then
    shift
    exec {warm} "$@"
fi
exec {python} "$@"
"""


@functools.cache
def folder() -> Path:
    """The folder that holds it, as a virtual environment's `bin` does."""
    folder = Path(tempfile.mkdtemp(prefix="warm-python-"))
    python = folder / "python"
    commands, started = shlex.join(warm.commands()), shlex.quote(sys.executable)
    python.write_text(_PROGRAM.format(warm=commands, python=started), encoding="utf-8")
    python.chmod(0o755)
    return folder
