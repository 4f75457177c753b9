"""`emit` on a Dask cluster makes what it makes alone, or says in one sentence why it cannot."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import clusters
import dask
import polars as pl
import pytest
from corpus import digests
from distributed import LocalCluster, Security
from polars.testing import assert_frame_equal

from immune_data import Dataset, recipes
from immune_data.common import cluster as clustered
from immune_data.common import processes
from immune_data.common.errors import ImmuneError
from immune_data.emit import __main__ as emit
from immune_data.emit import build, inputs
from immune_data.read import rows
from immune_data.read.tables import TABLES

REPOSITORY = Path(__file__).parents[2]
RECIPES = ("unified-v2", "unified-clean", "risk")
_INCIDENTS = 60
_IMPORTS_DASK = re.compile(r"^\s*(?:import|from) (?:dask|distributed)\b", re.MULTILINE)


@pytest.fixture(scope="session")
def small_source(shared_folder: Callable[..., Path], sample_source: Path) -> Path:
    """Some incidents of the sample corpus: several calls of each kind."""

    def make(folder: Path) -> None:
        files = {path.name: json.loads(path.read_text()) for path in sample_source.iterdir()}
        ids = {row["incident_id"] for content in files.values() for row in content["incidents"]}
        kept = set(sorted(ids)[:_INCIDENTS])
        for name, content in files.items():
            content["incidents"] = [
                row for row in content["incidents"] if row["incident_id"] in kept
            ]
            (folder / name).write_text(json.dumps(content))

    return shared_folder("small-source", make)


@pytest.fixture(scope="session")
def alone(shared_folder: Callable[..., Path], small_source: Path) -> Path:
    """What the recipes make of it without a cluster."""

    def make(folder: Path) -> None:
        for recipe in RECIPES:
            assert emit.main(_arguments(small_source, folder, recipe)) == 0

    return shared_folder("small-alone", make)


@pytest.fixture(scope="session")
def configuration(tmp_path_factory: pytest.TempPathFactory, security: Security) -> dict[str, str]:
    return clusters.certificates(tmp_path_factory.mktemp("certificates"), security)


@pytest.fixture(scope="session")
def security() -> Security:
    return Security.temporary()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, security: Security) -> Iterator[LocalCluster]:
    """Of the module alone, as its processes are never quite idle."""
    folder = tmp_path_factory.mktemp("workers")
    with clusters.encrypted(security, local_directory=str(folder)) as made:
        yield made


@pytest.fixture
def cluster(running: LocalCluster, configuration: dict[str, str]) -> Iterator[LocalCluster]:
    """Two processes behind a scheduler, whose certificates this process has."""
    with dask.config.set(configuration):
        yield running


@pytest.fixture
def mortal() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A scheduler and a worker in a process of their own, without encryption, and its address."""
    with subprocess.Popen(
        [sys.executable, clusters.__file__],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def _arguments(source: Path, out: Path, recipe: str, scheduler: str | None = None) -> list[str]:
    arguments = ["--source", str(source), "--data", str(out), "--recipe", recipe]
    return arguments if scheduler is None else [*arguments, "--executor", scheduler]


def _made(out: Path) -> dict[str, str]:
    """The files that are the same whoever makes them."""
    return {name: digest for name, digest in digests(out).items() if name != "immune.duckdb"}


def test_a_cluster_makes_the_same_bytes(
    cluster: LocalCluster, small_source: Path, alone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for recipe in RECIPES:
        before = cluster.scheduler.transition_counter
        arguments = _arguments(small_source, out, recipe, cluster.scheduler_address)
        assert emit.main(arguments) == 0
        assert cluster.scheduler.transition_counter > before, "others did the work"
    assert _made(out) == _made(alone)


def test_it_is_the_same_from_python(
    cluster: LocalCluster, small_source: Path, alone: Path, tmp_path: Path
) -> None:
    before = cluster.scheduler.transition_counter
    dataset = Dataset(tmp_path, "risk")
    dataset.emit(small_source, executor=cluster.scheduler_address)
    assert cluster.scheduler.transition_counter > before, "others did the work"
    assert digests(dataset.folder) == digests(alone / "sft" / "risk")


def test_what_a_killed_worker_had_is_done_by_another(
    cluster: LocalCluster, small_source: Path, alone: Path, tmp_path: Path
) -> None:
    killed = []

    def kill() -> None:
        while not (found := clusters.working(cluster)):
            time.sleep(0.005)
        killed.append(cluster.workers[found[0].name].pid)
        os.kill(killed[0], signal.SIGKILL)

    out, recipe = tmp_path / "out", "unified-clean"
    shutil.copytree(alone / "tables", out / "tables")
    threading.Thread(target=kill, daemon=True).start()
    assert emit.main(_arguments(small_source, out, recipe, cluster.scheduler_address)) == 0
    assert len(killed) == 1
    made, expected = (digests(folder / "sft" / recipe) for folder in (out, alone))
    assert made == expected


def test_calls_in_flight_are_as_many_as_there_are_threads_and_a_few(cluster: LocalCluster) -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(30):
            taken.append(number)
            yield number

    with clustered.workers(cluster.scheduler_address, inputs.program, print) as pool:
        threads = sum(worker.nthreads for worker in cluster.scheduler.workers.values())
        results = processes.in_order(pool, abs, items())
        assert next(results) == 0
        assert len(taken) == threads + clustered.MARGIN
        assert list(results) == list(range(1, 30))


class _Here:
    """A pool that makes each call at once, and remembers what was sent."""

    ahead = 1

    def __init__(self) -> None:
        self.items: list[Any] = []

    def submit(self, function: Callable[[Any], Any], item: Any, /) -> Any:
        self.items.append(item)
        return _Made(function(item))


class _Made(NamedTuple):
    made: Any

    def result(self) -> Any:
        return self.made


def test_no_call_of_reading_holds_more_rows_than_a_batch(
    small_source: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_BATCH_ROWS", 40)
    pool = _Here()
    build.emit(small_source, tmp_path, recipes.load("risk"), workers=lambda: nullcontext(pool))
    sent = [item for item in pool.items if isinstance(item, dict)]  # rows by table
    assert max(len(tables.get("incidents", ())) for tables in sent) == 40 < _INCIDENTS
    assert all(sum(map(len, tables.values())) < 60 for tables in sent)
    for name in TABLES:
        made, expected = (
            pl.read_parquet(folder / "tables" / f"{name}.parquet") for folder in (tmp_path, alone)
        )
        assert_frame_equal(made, expected)


def test_evidence_travels_once_to_where_the_answers_of_its_incident_are_cleaned(
    small_source: Path, tmp_path: Path
) -> None:
    pool = _Here()
    recipe = recipes.load("unified-clean")
    build.emit(small_source, tmp_path, recipe, workers=lambda: nullcontext(pool))
    sent = [item for item in pool.items if isinstance(item, list) and "condensed" in item[0]]
    assert len(sent) > 1
    for answers in sent:
        texts = {answer["incident_id"]: answer["condensed"] for answer in answers}
        travels = pickle.dumps(answers)
        assert len(answers) > 5 * len(texts)
        for text in texts.values():
            assert travels.count(text.encode()) == 1


def test_what_was_sent_is_not_kept(mortal: tuple[subprocess.Popen[str], str]) -> None:
    _, address = mortal
    with clustered.workers(clustered.address(address), inputs.program, print) as pool:
        list(processes.in_order(pool, len, [b"", b""]))
        tracemalloc.start()
        texts = (bytes(400_000) for _ in range(40))
        assert sum(processes.in_order(pool, len, texts)) == 16_000_000
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert kept < 4_000_000


def test_an_error_of_a_call_is_the_same_here(cluster: LocalCluster) -> None:
    with (
        pytest.raises(ValueError, match="invalid literal") as raised,
        clustered.workers(cluster.scheduler_address, inputs.program, print) as pool,
    ):
        list(processes.in_order(pool, int, ["1", "one", "2"]))
    assert "outcome" in raised.value.__notes__[0]


def test_workers_of_other_code_are_refused_by_name(
    cluster: LocalCluster,
    small_source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[..., str],
) -> None:
    theirs = inputs.program()
    monkeypatch.setattr(inputs, "code_sha256", lambda: "f" * 64)
    ours = inputs.program()
    assert ours != theirs
    arguments = _arguments(small_source, tmp_path / "out", "risk", cluster.scheduler_address)
    said = refused(emit.main, *arguments)
    assert f"runs {theirs}, and this machine {ours}" in said
    monkeypatch.setattr(clustered._Cluster, "check_workers", lambda self: None)
    assert refused(emit.main, *arguments) == said, "one that joins later refuses its first call"
    assert not (tmp_path / "out").exists()


def test_workers_that_cannot_load_our_calls_are_told_what_to_install(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = ModuleType("not_there_yet")
    exec("def program():\n    return 'immune 9'", new.__dict__)
    monkeypatch.setitem(sys.modules, new.__name__, new)
    with (
        pytest.raises(ImmuneError, match=r"'not_there_yet'\): install immune 9 for the scheduler"),
        clustered.workers(cluster.scheduler_address, new.program, print),
    ):
        pass


def test_without_certificates_a_sentence_names_the_settings(
    running: LocalCluster, small_source: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    arguments = _arguments(small_source, tmp_path / "out", "risk", running.scheduler_address)
    assert "DASK_DISTRIBUTED__COMM__TLS__CA_FILE" in refused(emit.main, *arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("scheme", ["tls", "dask"])
def test_who_has_no_or_other_certificates_gets_no_answer(
    scheme: str,
    cluster: LocalCluster,
    small_source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[..., str],
) -> None:
    monkeypatch.setattr(clustered, "_ANSWER", 0.5)
    others = clusters.certificates(tmp_path, Security.temporary())
    address = cluster.scheduler_address.replace("tls", scheme)
    with dask.config.set(others):
        arguments = _arguments(small_source, tmp_path / "out", "risk", address)
        assert refused(emit.main, *arguments).startswith("no Dask scheduler answers at")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("dask://10.0.0.1:8786", "neither encrypted nor on this machine"),
        ("tcp://node17:8786", "neither encrypted nor on this machine"),
        ("dask://127.0.0.1.example.org:8786", "neither encrypted nor on this machine"),
        ("dask://[fe80::1]:8786", "neither encrypted nor on this machine"),
        ("dask://127.0.0.1", "is not the address of a Dask scheduler"),
        ("dask://127.0.0.1:0", "is not the address of a Dask scheduler"),
        ("dask://127.0.0.1:99999", "is not the address of a Dask scheduler"),
        ("dask://me@127.0.0.1:8786", "is not the address of a Dask scheduler"),
        ("tls://127.0.0.1:8786/path", "is not the address of a Dask scheduler"),
        ("http://127.0.0.1:8786", "is not the address of a Dask scheduler"),
        ("tls://[::1:8786", "is not the address of a Dask scheduler"),
        ("ray", "is not the address of a Dask scheduler"),
        ("", "is not the address of a Dask scheduler"),
    ],
)
def test_an_address_is_on_this_machine_or_encrypted(
    address: str, said: str, small_source: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    sentence = refused(emit.main, *_arguments(small_source, out, "risk", address))
    assert said in sentence
    with pytest.raises(ImmuneError) as raised:
        Dataset(out, "risk").emit(small_source, executor=address)
    assert str(raised.value) == sentence, "the same from Python"
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("dask://localhost:8786", "tcp://localhost:8786"),
        ("dask://127.0.0.2:1", "tcp://127.0.0.2:1"),
        ("tcp://[::1]:8786", "tcp://[::1]:8786"),
        ("tls://node17:8786", "tls://node17:8786"),
    ],
)
def test_addresses_are_written_as_dask_writes_them(text: str, address: str) -> None:
    assert clustered.address(text) == address
    assert clustered.address("dask://node17:8786", insecure=True) == "tcp://node17:8786"


def test_options_that_say_nothing_are_refused(
    small_source: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    arguments = _arguments(small_source, tmp_path / "out", "risk")
    assert "--insecure needs an --executor" in refused(emit.main, *arguments, "--insecure")
    with pytest.raises(ImmuneError, match="--insecure needs an --executor"):
        Dataset(tmp_path / "out", "risk").emit(small_source, insecure=True)
    for option in (["--insecure"], ["--executor", "dask://127.0.0.1:8786"]):
        said = refused(emit.main, *arguments, *option, "--check")
        assert "leave --executor and --insecure out" in said


def test_an_insecure_address_is_asked_for_by_name(
    small_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def connected(distributed: Any, scheduler: str) -> Any:
        asked.append(scheduler)
        raise ImmuneError("no further")

    monkeypatch.setattr(clustered, "_connected", connected)
    out, address = tmp_path / "out", "dask://node17:8786"
    arguments = _arguments(small_source, out, "risk", address)
    assert emit.main([*arguments, "--insecure"]) == 2
    with pytest.raises(ImmuneError, match="no further"):
        Dataset(out, "risk").emit(small_source, executor=address, insecure=True)
    assert asked == ["tcp://node17:8786"] * 2


def test_a_scheduler_that_is_killed_is_a_sentence(
    mortal: tuple[subprocess.Popen[str], str],
    small_source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[..., str],
) -> None:
    process, address = mortal
    given = clustered._Cluster.submit

    def give(self: Any, *call: Any) -> Any:
        pending = given(self, *call)
        process.kill()
        return pending

    monkeypatch.setattr(clustered._Cluster, "submit", give)
    arguments = _arguments(small_source, tmp_path / "out", "risk", address)
    assert refused(emit.main, *arguments) == (
        f"the scheduler {address} is gone: start it and run again; nothing was changed"
    )
    assert not (tmp_path / "out").exists()


def test_ctrl_c_takes_back_what_is_queued(
    cluster: LocalCluster, configuration: dict[str, str], small_source: Path, tmp_path: Path
) -> None:
    arguments = _arguments(
        small_source, tmp_path / "out", "unified-clean", cluster.scheduler_address
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "immune_data.emit", *arguments],
        env={**os.environ, **clusters.variables(configuration)},
        stderr=subprocess.PIPE,
        text=True,
    )
    _wait_for(lambda: clusters.working(cluster))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "interrupted: no file is half-written; run again"
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
    _wait_for(lambda: not cluster.scheduler.tasks)


_WITHOUT_DASK = """
import sys
from pathlib import Path
sys.modules["dask"] = sys.modules["distributed"] = None
import immune_data.__main__, immune_train.__main__
from immune_data.common import cli
for package in (immune_data.__main__, immune_train.__main__):
    for verb in package.VERBS:
        cli.module(f"{package.__package__}.{verb}")
from immune_data.emit import __main__ as emit
print(emit.main(sys.argv[1:]), emit.main([*sys.argv[1:], "--force", "--executor", "tls://h:1"]))
"""


def test_no_other_command_needs_dask(small_source: Path, tmp_path: Path) -> None:
    arguments = _arguments(small_source, tmp_path / "out", "risk")
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_DASK, *arguments], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1:] == ["0 2"], done.stderr
    assert done.stderr.splitlines()[-1] == (
        "error: --executor needs Dask: pip install 'immune-sft[cluster]', here and on the cluster"
    )


def test_one_module_alone_knows_dask() -> None:
    packages = [REPOSITORY / name for name in ("immune_data", "immune_train")]
    modules = [path for package in packages for path in package.rglob("*.py")]
    knowing = [path for path in modules if re.search(_IMPORTS_DASK, path.read_text("utf-8"))]
    assert [path.name for path in knowing] == ["cluster.py"]
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, immune_data.emit.__main__; print('dask' in sys.modules)",
        ],
        capture_output=True,
        text=True,
    )
    assert loaded.stdout == "False\n"


def _wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
