"""Memory of a whole run of `sft` on a GPU, by phase: a run's arguments in, a table out.

    python benchmarks/gpu_phases.py --train data/sft/unified-clean/train.jsonl \\
        --eval data/sft/unified-clean/eval.jsonl --model DIR

It runs the real command for a few steps, to the end, including the merged model. The first step and
the evaluations contain the longest conversations, which decide the memory. `--model` is any
Qwen2.5, also one with random weights:

    python -m immune_train.random_model --size 1.5b --output DIR
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpu import GIB, STEP, WAYS

STEPS, EVALUATED = 6, 24
PHASES = "IMMUNE_PHASES"  # names the file to which both processes of a run write their measurements


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, required=True, help="emitted JSONL")
    parser.add_argument("--eval", type=Path, required=True, help="emitted JSONL")
    parser.add_argument("--model", required=True, help="folder of a Qwen2.5 model")
    parser.add_argument("--way", default="unsloth, packed 16 x 1", choices=WAYS)
    parser.add_argument("--config", default="unified-clean")
    parser.add_argument("settings", nargs="*", metavar="key=value")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_intermixed_args(argv)
    return work(arguments) if arguments.worker else measure(arguments)


# The process that watches the whole card.


def measure(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "phases.jsonl"
        command = [sys.executable, __file__, *sys.argv[1:], "--worker", "--output", folder]
        samples: list[tuple[float, int]] = []
        run = subprocess.Popen(command, env={**os.environ, PHASES: str(lines)})
        threading.Thread(target=_watch, args=(run, samples), daemon=True).start()
        code = run.wait()
        show([json.loads(line) for line in lines.read_text().splitlines()], samples)
    return code


def _watch(run: subprocess.Popen, samples: list[tuple[float, int]]) -> None:
    """Record the memory in use on the whole card, by any process, twenty times a second."""
    try:
        import pynvml

        pynvml.nvmlInit()
        card = pynvml.nvmlDeviceGetHandleByIndex(0)
    except Exception as error:
        print(f"the whole card is not watched: {error}", file=sys.stderr)
        return
    while run.poll() is None:
        samples.append((time.time(), pynvml.nvmlDeviceGetMemoryInfo(card).used))
        time.sleep(0.05)


def show(phases: list[dict[str, Any]], samples: list[tuple[float, int]]) -> None:
    from immune_data.common.table import show

    rows: dict[str, list[Any]] = {}
    for phase in phases:
        row = rows.setdefault(phase["phase"], [0.0, 0.0, 0.0])
        row[0] += phase["ended"] - phase["began"]
        row[1] = max(row[1], phase["reserved"] / GIB)
        whole = [used for at, used in samples if phase["began"] <= at <= phase["ended"]]
        row[2] = max(row[2], max(whole, default=0) / GIB)
    initial = samples[0][1] / GIB if samples else 0.0
    show(
        f"GPU memory by phase; {initial:.1f} GiB of the card were in use before",
        ["phase", "seconds", "reserved GiB", "whole card GiB"],
        [[name, *(f"{value:.1f}" for value in row)] for name, row in rows.items()],
    )
    print(f"peak of the whole card: {max((used for _, used in samples), default=0) / GIB:.1f} GiB")


# The process that trains, and the one that merges.


class Phases:
    """The time of each phase of a process, and the most memory that torch reserved in it."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._began = time.time()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def _turn(self) -> None:
        import torch

        end, reserved = time.time(), 0
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.synchronize()
            reserved = torch.cuda.max_memory_reserved()
            torch.cuda.reset_peak_memory_stats()
        if self._open:
            line = {"phase": self._open[-1], "began": self._began, "ended": end}
            with Path(os.environ[PHASES]).open("a") as file:
                file.write(json.dumps({**line, "reserved": reserved}) + "\n")
        self._began = end


def _timed(phases: Phases, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        with phases(name):
            return function(*arguments, **keywords)

    return call


def work(arguments: argparse.Namespace) -> int:
    from immune_data.common import processes
    from immune_train import backends, merge
    from immune_train.sft import __main__ as sft
    from immune_train.sft import trainer

    phases, run_apart, make = Phases(), processes.apart, trainer.make

    def make_timed(*arguments_given: Any, **keywords: Any) -> Any:
        loop = make(*arguments_given, **keywords)
        loop.train = _timed(phases, "steps", loop.train)
        loop.evaluate = _timed(phases, "evaluation", loop.evaluate)
        loop._save_checkpoint = _timed(phases, "checkpoint", loop._save_checkpoint)
        return loop

    def merge_timed(function: Callable[..., Any], *arguments_given: Any, **keywords: Any) -> Any:
        assert function is merge.write
        with phases("given back, while merging"):
            return run_apart(merge_measured, *arguments_given, **keywords)

    backends.load = _timed(phases, "load", backends.load)
    trainer.make, processes.apart = make_timed, merge_timed
    train, held_out = _longest(arguments)
    return sft.main(
        [
            *("--config", arguments.config, "--model", arguments.model),
            *("--train", str(train), "--eval", str(held_out)),
            *("--output", str(arguments.output / "run"), *WAYS[arguments.way]),
            *("order=emitted", f"max_steps={STEPS}", "warmup_steps=0", "logging_steps=1"),
            *(f"eval_steps={STEPS // 2}", f"save_steps={STEPS // 2}", *arguments.settings),
        ]
    )


def merge_measured(*arguments: Any, **keywords: Any) -> Any:
    from immune_train import merge

    phases = Phases()
    merge._save = _timed(phases, "merge and save", merge._save)
    merge.difference = _timed(phases, "compare", merge.difference)
    return merge.write(*arguments, **keywords)


def _longest(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """The longest conversations of both files, in new files."""
    paths = []
    for path, number in ((arguments.train, STEPS * STEP), (arguments.eval, EVALUATED)):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        lines.sort(key=lambda line: -json.loads(line)["tokens"])
        paths.append(arguments.output / path.name)
        paths[-1].write_text("".join(lines[:number]), encoding="utf-8")
    return paths[0], paths[1]


if __name__ == "__main__":
    sys.exit(main())
