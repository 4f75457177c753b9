"""What a cluster can take of `emit`, what it costs, and how much memory stays on this machine.

    python benchmarks/cluster.py shares --scales 1 10          # how much of the work can be shared
    python benchmarks/cluster.py beside --scales 10 --runs 3   # local and on a cluster, in turn
    python benchmarks/cluster.py memory --scales 10 100        # of the process that runs `emit`
    python benchmarks/cluster.py harm --scales 10              # by TLS, and a worker is killed

The cluster is a scheduler and two workers of one thread each, processes of this machine. Processor
time is that of all processes of a way, so what a cluster costs beside local processes (packing,
sending) is in it. `shares` works in one process and takes the time of the calls that would be sent
away from that of the whole run: what is left no cluster makes shorter (Amdahl's law). With
`--folder` the sources are made there, or found there, and stay.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import bench
import dask
import psutil
from distributed import LocalCluster, Security

from immune_data import recipes
from immune_data.common import table
from immune_data.common.processes import outcome
from immune_data.contract.tokens import read_vocabulary
from immune_data.emit import build

_MIB = 1 << 20
_CERTIFICATES = {
    "CA_FILE": "tls_ca_file",
    "CLIENT__CERT": "tls_client_cert",
    "CLIENT__KEY": "tls_client_key",
}
_STEPS = {
    "immune_data.read.normalise": "reading: counting, contracts",
    "immune_data.select.condensing": "condensing",
    "immune_data.select.cleaning": "cleaning",
    "immune_data.emit.records": "rendering",
}


class _Timed:
    """A pool that makes each call here and now, and adds up its processor time by step."""

    ahead = 1

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def submit(self, function: Callable[[Any], Any], item: Any, /) -> Any:
        begun = time.thread_time()
        done, made = outcome(function, item)
        module = getattr(function, "func", function).__module__
        self.seconds[_STEPS[module]] += time.thread_time() - begun
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
    taken = [(step, seconds, "yes") for step, seconds in pool.seconds.items()]
    stays = ("parsing JSON, database, files", whole - pool.seconds.total(), "no")
    return [
        [step, f"{seconds:.1f}", f"{seconds / whole:.1%}", shared]
        for step, seconds, shared in (*taken, stays)
    ]


@contextmanager
def cluster(security: Security | None = None) -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        host="127.0.0.1",
        protocol="tls://" if security else "tcp://",
        security=security,
        dashboard_address=None,
    ) as made:
        yield made


def _spent(made: LocalCluster) -> float:
    """The processor time of a cluster's processes so far: its scheduler is in this one."""
    own = psutil.Process()
    found = [own, *(psutil.Process(nanny.pid) for nanny in made.workers.values())]
    return sum(sum(one.cpu_times()[:2]) for one in found)


def beside(source: Path, work: Path, recipe: str, runs: int) -> list[list[Any]]:
    """Wall and processor time of a cluster : local processes, medians of pairs in turn."""
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
    peak = max(shared.resident for _, shared, _ in pairs) / _MIB
    ratios = (f"{ratio:.2f}" for ratio in (wall, cpu, here))
    return [[recipe, f"{seconds:.0f}", *ratios, f"{peak:,.0f}"]]


def memory(source: Path, work: Path, recipe: str) -> list[list[Any]]:
    """Peak memory of the process that runs `emit`, and of each worker, with workers elsewhere."""
    with cluster() as made:
        run = _emit(source, work / "shared", recipe, made.scheduler_address)
        workers = [psutil.Process(nanny.pid).memory_info().rss for nanny in made.workers.values()]
    size = sum(path.stat().st_size for path in source.iterdir())
    return [[recipe, *(f"{number / _MIB:,.0f}" for number in (size, run.resident, max(workers)))]]


def harm(source: Path, work: Path, recipe: str) -> list[list[Any]]:
    """A run by TLS, one of whose workers is killed in the middle, and one on this machine alone."""
    local = _emit(source, work / "local", recipe)
    security = Security.temporary()
    for name, option in _CERTIFICATES.items():
        file = work / f"{name.lower()}.pem"
        file.write_text(getattr(security, option))
        os.environ[f"DASK_DISTRIBUTED__COMM__TLS__{name}"] = str(file)
    killed: list[int] = []
    with cluster(security) as made:

        def kill() -> None:
            while not (found := [one for one in made.scheduler.workers.values() if one.processing]):
                time.sleep(0.01)
            killed.append(made.workers[found[0].name].pid)
            os.kill(killed[0], signal.SIGKILL)

        # Not half: beside other work the local run may take twice the time of the cluster's.
        timer = threading.Timer(local.wall / 4, kill)
        timer.daemon = True
        timer.start()
        shared = _emit(source, work / "shared", recipe, made.scheduler_address)
        if not killed:
            sys.exit("no worker was killed: the run was over before")
    _compare(work, recipe)
    return [[recipe, made.scheduler_address, f"{local.wall:.0f}", f"{shared.wall:.0f}", "the same"]]


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


_WAYS: dict[str, tuple[Callable[..., list[list[Any]]], list[str]]] = {
    "shares": (shares, ["step", "processor s", "share", "a cluster takes it"]),
    "beside": (beside, ["recipe", "local s", "wall ratio", "CPU, all", "CPU, here", "emit MiB"]),
    "memory": (memory, ["recipe", "sources MiB", "emit peak MiB", "a worker at the end MiB"]),
    "harm": (harm, ["recipe", "address", "local s", "harmed s", "files"]),
}


def main() -> None:
    dask.config.set({"distributed.admin.low-level-log-length": 0})  # of the scheduler, as in docs
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=list(_WAYS))
    parser.add_argument("--scales", type=int, nargs="+", default=[10])
    parser.add_argument("--recipes", nargs="+", default=["unified-v2", "unified-clean"])
    parser.add_argument("--runs", type=int, default=3, help="of `beside`: pairs (default: 3)")
    parser.add_argument("--folder", type=Path, help="keep the sources here (default: nowhere)")
    arguments = parser.parse_args()
    measure, heads = _WAYS[arguments.what]
    settings = {"runs": arguments.runs} if measure is beside else {}
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    for scale in arguments.scales:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            work = Path(folder)
            source = (arguments.folder or work) / f"source-{scale}"
            if not source.is_dir():
                bench.sample_into(source, scale)
            for recipe in arguments.recipes:
                rows = measure(source, work, recipe, **settings)
                table.show(f"scale {scale}, {recipe}", heads, rows)


if __name__ == "__main__":
    main()
