"""Kill runs before each file that they give its name: `python killed_runs.py FOLDER ARGUMENTS…`.

FOLDER holds a run in `run`; copies of it, `0/run`, `1/run`, …, go on by `sft ARGUMENTS… --output
COPY`, and the nth is killed before its nth renaming. It ends when one comes to its end.

Each is a fork of a process that has imported everything and computed nothing, which takes seconds
less than a process anew.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any


def main(folder: Path, arguments: list[str]) -> int:
    import peft  # noqa: F401
    import torch
    import trl  # noqa: F401

    from immune_data.common import processes

    torch.set_num_threads(1)
    processes.apart = lambda function, *rest, **named: function(*rest, **named)
    for number in count():
        output = folder / str(number) / "run"
        shutil.copytree(folder / "run", output)
        child = os.fork()
        if not child:
            killed(number, [*arguments, "--output", str(output)])
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code != -signal.SIGKILL:
            return code
    raise AssertionError


def killed(number: int, arguments: list[str]) -> None:
    """Run until the process is killed, or ends."""
    left = number

    def counted(rename: Callable[..., None]) -> Callable[..., None]:
        def renamed(*names: Any, **named: Any) -> None:
            nonlocal left
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            rename(*names, **named)

        return renamed

    os.replace, os.rename = counted(os.replace), counted(os.rename)
    code = 70
    try:
        from immune_train.sft import __main__ as sft

        code = sft.main(arguments)
        sys.stdout.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
