"""What a cluster can take of `emit`, what it costs, and that this machine's memory stays flat.

    python benchmarks/cluster.py shares --scales 1 10          # how much of the work can be shared
    python benchmarks/cluster.py beside --scales 10 --runs 3   # local and on a cluster, in turn
    python benchmarks/cluster.py memory --scales 10 100        # of the machine that runs `emit`

The cluster is a scheduler and two workers of one thread each, processes of this machine. Processor
time is that of all processes of a way, so what a cluster costs beside local processes (packing,
sending) is in it. `shares` works in one process and takes the time of the calls that would be sent
away from that of the whole run: what is left no cluster makes shorter (Amdahl's law).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import bench
import psutil
from distributed import LocalCluster

from immune_data import recipes
from immune_data.common import table
from immune_data.common.processes import outcome
from immune_data.contract.tokens import read_vocabulary
from immune_data.emit import build

_MIB = 1 << 20
_STEPS = {
    "_measured": "reading: counting, contracts",
    "_rows": "condensing",
    "_clean_all": "cleaning",
    "render": "rendering",
}


class _Timed:
    """A pool that makes each call here and now, and adds up its processor time by step."""

    ahead = 1

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def submit(self, function: Callable[[Any], Any], item: Any, /) -> Any:
        begun = time.thread_time()
        done, made = outcome(function, item)
        name = getattr(function, "func", function).__name__
        self.seconds[_STEPS[name]] += time.thread_time() - begun
        if not done:
            raise made
        return _Made(made)


class _Made:
    def __init__(self, made: Any) -> None:
        self.result = lambda: made


def shares(source: Path, work: Path, recipe: str) -> list[list[Any]]:
    """The steps of one run, each with its processor time and whether a cluster can take it."""
    pool = _Timed()
    read_vocabulary()
    begun = time.process_time()
    out = work / "shares"
    shutil.rmtree(out, ignore_errors=True)
    build.emit(source, out, recipes.load(recipe), threads=1, workers=lambda: nullcontext(pool))
    whole = time.process_time() - begun
    rows = [[step, seconds, seconds / whole, "yes"] for step, seconds in pool.seconds.items()]
    stays = whole - pool.seconds.total()
    return [*rows, ["parsing JSON, database, files", stays, stays / whole, "no"]]


@contextmanager
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        host="127.0.0.1",
        protocol="tcp://",
        dashboard_address=None,
    ) as made:
        yield made


def _spent(made: LocalCluster) -> float:
    """The processor time of a cluster's processes so far: its scheduler is in this one."""
    own = psutil.Process()
    found = [own, *(psutil.Process(nanny.pid) for nanny in made.workers.values())]
    return sum(sum(one.cpu_times()[:2]) for one in found)


def beside(source: Path, work: Path, recipe: str, runs: int) -> list[list[Any]]:
    """Wall and processor time of local processes and of a cluster, medians of pairs in turn."""
    pairs = []
    with cluster() as made:
        for _ in range(runs):
            local = _emit(source, work / "local", recipe)
            before = _spent(made)
            shared = _emit(source, work / "shared", recipe, made.scheduler_address)
            pairs.append((local, shared, _spent(made) - before))
            _compare(work, recipe)
    wall = statistics.median(shared.wall / local.wall for local, shared, _ in pairs)
    cpu = statistics.median((shared.cpu + more) / local.cpu for local, shared, more in pairs)
    seconds = statistics.median(local.wall for local, _, _ in pairs)
    here = statistics.median(shared.cpu / local.cpu for local, shared, _ in pairs)
    return [[recipe, f"{seconds:.0f}", f"{wall:.2f}", f"{cpu:.2f}", f"{here:.2f}"]]


def memory(source: Path, work: Path, recipe: str) -> list[list[Any]]:
    """Peak memory of the process that runs `emit`, and of each worker, with workers elsewhere."""
    with cluster() as made:
        run = _emit(source, work / "shared", recipe, made.scheduler_address)
        workers = [psutil.Process(nanny.pid).memory_info().rss for nanny in made.workers.values()]
    size = sum(path.stat().st_size for path in source.iterdir())
    return [[recipe, *(f"{number / _MIB:,.0f}" for number in (size, run.memory, max(workers)))]]


def _emit(source: Path, out: Path, recipe: str, scheduler: str | None = None) -> bench.Run:
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "immune_data.emit", "--recipe", recipe]
    command += ["--source", str(source), "--data", str(out)]
    return bench.run([*command, "--executor", scheduler] if scheduler else command)


def _compare(work: Path, recipe: str) -> None:
    for name in build.FILES:
        made = [(work / way / "sft" / recipe / name).read_bytes() for way in ("local", "shared")]
        if made[0] != made[1]:
            sys.exit(f"{name} differs between local processes and a cluster")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["shares", "beside", "memory"])
    parser.add_argument("--scales", type=int, nargs="+", default=[10])
    parser.add_argument("--recipes", nargs="+", default=["unified-v2", "unified-clean"])
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    for scale in arguments.scales:
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            source = work / "source"
            bench.sample_into(source, scale)
            for recipe in arguments.recipes:
                title = f"scale {scale}, {recipe}"
                if arguments.what == "shares":
                    rows = [
                        [step, f"{seconds:.1f}", f"{share:.1%}", taken]
                        for step, seconds, share, taken in shares(source, work, recipe)
                    ]
                    heads = ["step", "processor s", "share", "a cluster takes it"]
                elif arguments.what == "beside":
                    rows = beside(source, work, recipe, arguments.runs)
                    heads = ["recipe", "local s", "wall, cluster : local", "CPU, all", "CPU, here"]
                else:
                    rows = memory(source, work, recipe)
                    heads = ["recipe", "sources MiB", "emit peak MiB", "a worker at the end MiB"]
                table.show(title, heads, rows)


if __name__ == "__main__":
    main()
