"""Speed and memory of `emit`, compared with a plain script that does the same work.

    make bench                     # the sample corpus at scale 1 and 10
    python benchmarks/bench.py --scales 1 10 100 --runs 3
    python benchmarks/bench.py --alone unified-clean --scales 10 100   # our peak memory, no times

Both programs run alternately, each in its own process on the same source files, and their output is
compared byte for byte. The results are medians of the ratios of pairs, because absolute times say
more about the machine than about the program. Memory is the sampled sum over a program's processes,
in which a page that several of them share is counted once (Linux's PSS; elsewhere it is counted in
each of them).
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import io
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from immune_data import recipes
from immune_data.common import table
from immune_data.contract.tokens import encoding
from immune_data.emit import __main__ as emit
from immune_data.sample import __main__ as sample

HERE = Path(__file__).parent
RECIPE = "unified-v2"


@dataclass(frozen=True)
class Run:
    """One run of a program: wall and CPU seconds, and peak memory in bytes.

    `resident` is that of its largest process, as counted by the system.
    """

    wall: float
    cpu: float
    memory: int
    resident: int


def run(command: list[str]) -> Run:
    """Run a command to its end and measure it and its children."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = [0]
    done = threading.Event()
    threading.Thread(target=_watch, args=(process.pid, peak, done), daemon=True).start()
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    done.set()
    if status:
        sys.exit(f"{' '.join(command)} failed:\n{errors.decode()}")
    wall = time.perf_counter() - start
    resident = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Run(wall, usage.ru_utime + usage.ru_stime, peak[0], resident)


def _watch(pid: int, peak: list[int], done: threading.Event) -> None:
    while not done.wait(0.1):
        try:
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
            peak[0] = max(peak[0], sum(map(_memory, family)))
        except psutil.Error:
            continue


def _memory(process: psutil.Process) -> int:
    info = process.memory_full_info()
    return getattr(info, "pss", info.rss)


def sample_into(folder: Path, scale: int) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        sample.main(["--output", str(folder), "--scale", str(scale)])


def ours_alone(source: Path, out: Path, recipe: str) -> Run:
    """One run of `emit` into an empty folder."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "immune_data.emit", "--recipe", recipe]
    return run([*command, "--source", str(source), "--data", str(out)])


def compare(source: Path, work: Path, runs: int) -> list[tuple[Run, Run]]:
    """(ours, plain) of each pair of runs."""
    our_folder, plain_folder = work / "ours", work / "plain"
    pairs = []
    for _ in range(runs):
        our_run = ours_alone(source, our_folder, RECIPE)
        plain_run = run(
            [
                *(sys.executable, str(HERE / "plain.py"), "--recipe", RECIPE),
                *("--source", str(source), "--out", str(plain_folder)),
            ]
        )
        for name in emit.FILES:
            if not filecmp.cmp(
                our_folder / "sft" / RECIPE / name, plain_folder / name, shallow=False
            ):
                sys.exit(f"{name} differs between the two programs")
        pairs.append((our_run, plain_run))
    return pairs


def steps(source: Path, work: Path) -> list[tuple[str, float]]:
    """Seconds of each step of one run of `emit`, in this process."""
    marks = [("hashing the sources", time.perf_counter())]
    emit.emit(
        source,
        work / "steps",
        recipes.load(RECIPE),
        report=lambda line: marks.append((_step(line), time.perf_counter())),
    )
    end_times = [at for _, at in marks[1:]] + [time.perf_counter()]
    seconds: dict[str, float] = {}
    for (step, start), end in zip(marks, end_times, strict=True):
        seconds[step] = seconds.get(step, 0) + end - start
    return list(seconds.items())


def _step(line: str) -> str:
    kind, _, detail = line.partition(" ")
    if kind == "reading":
        return "reading, counting, writing tables"
    if kind == "running":
        return "SQL" if "warnings" not in detail else "closing: warnings, database, checksums"
    return line


def tokenising(work: Path) -> float:
    """Seconds to tokenise only the tables' texts, whole, in one process."""
    import polars as pl

    tables = work / "steps" / "tables"
    texts = [pl.read_parquet(tables / f"{name}.parquet")["text"] for name in ("dags", "responses")]
    encode = encoding().encode_ordinary
    start = time.perf_counter()
    for column in texts:
        for text in column:
            encode(text)
    return time.perf_counter() - start


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scales", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--runs", type=int, default=3, help="pairs of runs per scale (default: 3)")
    parser.add_argument(
        "--alone",
        nargs="+",
        metavar="RECIPE",
        help="only run emit with these recipes, to measure memory",
    )
    arguments = parser.parse_args(argv)
    rows = []
    for scale in arguments.scales:
        with tempfile.TemporaryDirectory(prefix="immune-bench-") as folder:
            work = Path(folder)
            sample_into(work / "source", scale)
            if arguments.alone:
                for recipe in arguments.alone:
                    alone = ours_alone(work / "source", work / "ours", recipe)
                    rows.append([f"{scale}", recipe, f"{alone.memory / 2**20:.0f}"])
            else:
                rows.append([f"{scale}", *_against_plain(work, scale, arguments.runs)])
    if arguments.alone:
        columns = ["scale", "recipe", "our peak MiB"]
        table.show("all processes together", columns, rows)
        return
    table.show(
        f"plain script : immune ({arguments.runs} interleaved pairs, medians)",
        ["scale", "wall ratio", "CPU ratio", "our peak MiB", "plain peak MiB"],
        rows,
    )


def _against_plain(work: Path, scale: int, runs: int) -> list[str]:
    pairs = compare(work / "source", work, runs)
    step_seconds = steps(work / "source", work)
    whole = sum(seconds for _, seconds in step_seconds)
    table.show(
        f"scale {scale}: share of each step in one run",
        ["step", "share"],
        [[step, f"{seconds / whole:.0%}"] for step, seconds in step_seconds],
    )
    print(
        f"scale {scale}: the run takes {whole / tokenising(work):.2f} times as long as "
        "tokenising its stored texts whole in one process\n"
    )
    return [
        f"{statistics.median(plain.wall / ours.wall for ours, plain in pairs):.1f}",
        f"{statistics.median(plain.cpu / ours.cpu for ours, plain in pairs):.1f}",
        f"{max(ours.memory for ours, _ in pairs) / 2**20:.0f}",
        f"{max(plain.memory for _, plain in pairs) / 2**20:.0f}",
    ]


if __name__ == "__main__":
    main()
