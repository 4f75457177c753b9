"""Kill runs before a file is given its name: `python killed_runs.py FOLDER [--every] ARGUMENTS…`.

FOLDER holds a run in `run`. A copy of it, `whole/run`, goes on by `sft ARGUMENTS… --output COPY` to
its end. Others, `0/run`, `1/run`, …, are killed before the renaming of that number: with `--every`
one before each, otherwise the last before each of PRODUCTS is there, and the last of all.

Each is a fork of a process that has imported everything and computed nothing, which takes seconds
less than a process anew.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What follows training, in order.
PRODUCTS = ("adapter", "trained.json", "curves.svg", "merged_16bit", "gguf/export.json")


def main(folder: Path, every: bool, arguments: list[str]) -> int:
    import peft  # noqa: F401
    import torch
    import trl  # noqa: F401

    from immune_data.common import processes

    torch.set_num_threads(1)
    processes.apart = lambda function, *rest, **named: function(*rest, **named)
    code = forked(folder / "whole" / "run", folder / "run", arguments, None)
    if code:
        return code
    there = json.loads((folder / "whole" / "run.renamings").read_text())
    last = {products: number for number, products in enumerate(there)}
    for number in range(len(there)) if every else last.values():
        code = forked(folder / str(number) / "run", folder / "run", arguments, number)
        assert code == -signal.SIGKILL, (number, code)
    return 0


def forked(output: Path, begun: Path, arguments: list[str], kill: int | None) -> int:
    """Go on with a copy of a run, in another process: its exit code, or minus its signal."""
    shutil.copytree(begun, output)
    child = os.fork()
    if not child:
        go_on(output, [*arguments, "--output", str(output)], kill)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def go_on(output: Path, arguments: list[str], kill: int | None) -> None:
    """Run to the end, or until before the renaming of that number the process is killed.

    At the end `output.renamings` has how many of PRODUCTS were there before each renaming.
    """
    there: list[int] = []

    def counted(rename: Callable[..., None]) -> Callable[..., None]:
        def renamed(*names: Any, **named: Any) -> None:
            if len(there) == kill:
                os.kill(os.getpid(), signal.SIGKILL)
            there.append(sum((output / name).exists() for name in PRODUCTS))
            rename(*names, **named)

        return renamed

    os.replace, os.rename = counted(os.replace), counted(os.rename)
    code = 70
    try:
        from immune_train.sft import __main__ as sft

        code = sft.main(arguments)
        output.with_suffix(".renamings").write_text(json.dumps(there))
        sys.stdout.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    in_folder, *given = sys.argv[1:]
    every = given[0] == "--every"
    sys.exit(main(Path(in_folder), every, given[1:] if every else given))
