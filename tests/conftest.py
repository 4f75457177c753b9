"""Fixtures that several test files share.

Corpora and emitted datasets that cost time are made once and shared, also between the workers
of pytest-xdist; tests only read them.
"""

from __future__ import annotations

import fcntl
import gc
import gzip
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import training
from corpus import Corpus, digests, states
from examples import CAMPAIGN, SHORT
from hypothesis import settings
from random_corpus import RandomCorpus

from immune_data import recipes
from immune_data.common import processes
from immune_data.common.digests import sha256
from immune_data.emit import __main__ as emit
from immune_data.emit import records
from immune_data.recipes import DEFAULT
from immune_data.report import __main__ as report
from immune_data.sample import __main__ as sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from immune_train.data.labels import Renderer

if WORKER := os.environ.get("PYTEST_XDIST_WORKER"):
    # The other processors are for the other workers: threads that wait for one another only take
    # time, a sixth of that of an emit. Libraries start as many as there are processors.
    if hasattr(os, "sched_setaffinity"):
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {processors[int(WORKER.removeprefix("gw")) % len(processors)]})
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
else:
    # The workers inherit it: the C library asks for large pages, where the system has them, and
    # keeps small pieces of memory that are freed at hand. An emit takes a tenth less by the one,
    # and a twentieth by the other.
    os.environ.setdefault(
        "GLIBC_TUNABLES",
        "glibc.malloc.hugetlb=1:glibc.malloc.tcache_count=60000:glibc.malloc.tcache_max=2048",
    )

# Databases and stores wait for the disk at every commit, a fifth of the time of all tests. What
# they write for a test is not worth keeping: where memory is plenty, it is written there.
MEMORY = Path("/dev/shm")
_GIB = 1 << 30
if (
    MEMORY.is_dir()
    and shutil.disk_usage(MEMORY).free > 8 * _GIB
    and os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") > 15 * _GIB
):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

REPOSITORY = Path(__file__).parent.parent

Make = Callable[[Path], object]


class Part(NamedTuple):
    """A corpus, and an output folder with it emitted."""

    source: Path
    out: Path


# Of the objects that tests make, few are garbage that only a collection finds.
gc.set_threshold(10_000, 10, 50)

_FROZEN = pytest.StashKey[int]()  # how many modules are left out of garbage collection
_MANY = 50


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Make], Path]:
    """`shared_folder(name, make)`: a folder that `make` filled, once for all workers."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    unfinished_here: set[str] = set()

    def shared(name: str, make: Make) -> Path:
        assert name not in unfinished_here, f"making {name} asks for it"  # it would wait for ever
        final, unfinished = base / name, base / f"{name}.unfinished"
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not final.exists():
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                unfinished_here.add(name)
                try:
                    make(unfinished)
                finally:
                    unfinished_here.discard(name)
                unfinished.rename(final)
        return final

    return shared


@pytest.fixture(scope="session")
def sample_of(shared_folder: Callable[[str, Make], Path]) -> Callable[[int], Path]:
    """`sample_of(seed)`: the sample corpus of a seed at scale 1."""

    def written(seed: int) -> Path:
        def make(folder: Path) -> None:
            assert sample.main(["--output", str(folder), "--seed", str(seed)]) == 0

        return shared_folder(f"sample-source-{seed}", make)

    return written


@pytest.fixture(scope="session")
def sample_source(sample_of: Callable[[int], Path]) -> Path:
    """The sample corpus at scale 1, of the default seed."""
    return sample_of(0)


@pytest.fixture(scope="session")
def real_source() -> Path:
    """The real incidents, which lie beside the repository and not in it."""
    folder = REPOSITORY.parent / "shared" / "data" / "slips"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder


@pytest.fixture(scope="session")
def sample_out(
    shared_folder: Callable[[str, Make], Path], sample_source: Path
) -> Callable[[str], Path]:
    """`sample_out(recipe)`: an output folder with the sample corpus emitted by `recipe`.

    All but the default recipe's also hold what that one made: the tables are read once.
    """

    def emitted(recipe: str) -> Path:
        def make(folder: Path) -> None:
            if recipe != DEFAULT:
                shutil.copytree(emitted(DEFAULT), folder, dirs_exist_ok=True)
            _emit(sample_source, folder, recipe)

        return shared_folder(f"sample-out-{recipe}", make)

    return emitted


@pytest.fixture(scope="session")
def sample_page(
    shared_folder: Callable[[str, Make], Path], sample_out: Callable[[str], Path]
) -> Path:
    """The report of the sample corpus, with its figures."""
    out = sample_out(DEFAULT)

    def make(folder: Path) -> None:
        assert report.main(["--data", str(out), "--output", str(folder / "page.html")]) == 0

    return shared_folder("report-sample", make) / "page.html"


@pytest.fixture(scope="session")
def sample_part(
    shared_folder: Callable[[str, Make], Path],
    sample_source: Path,
    pytestconfig: pytest.Config,
) -> Callable[[str], Part]:
    """`sample_part(recipe)`: a tenth of the sample corpus, and it emitted; thorough, all of it.

    For recipes that few tests look at, as to emit the whole sample takes long.
    """
    # The tenth in which most incidents are held out.
    share, which = (1, 0) if pytestconfig.getoption("--thorough") else (10, 6)

    def cut(folder: Path) -> None:
        for file in sample_source.iterdir():
            content = json.loads(file.read_bytes())
            rows = [
                row
                for row in content["incidents"]
                if int(row["incident_id"][:4], 16) % share == which
            ]
            (folder / file.name).write_text(json.dumps({**content, "incidents": rows}))

    def emitted(recipe: str) -> Part:
        source = shared_folder("sample-part-source", cut)
        out = shared_folder(f"sample-part-{recipe}", lambda folder: _emit(source, folder, recipe))
        return Part(source, out)

    return emitted


@pytest.fixture(scope="session")
def random_part(shared_folder: Callable[[str, Make], Path]) -> Callable[[int, str], Part]:
    """`random_part(seed, recipe)`: a random corpus, and it emitted."""

    def emitted(seed: int, recipe: str) -> Part:
        def make(folder: Path) -> None:
            source = RandomCorpus(seed).write(folder / "source")
            emit.emit(source, folder / "out", recipes.load(recipe))

        folder = shared_folder(f"random-{seed}-{recipe}", make)
        return Part(folder / "source", folder / "out")

    return emitted


@pytest.fixture(scope="session")
def real_out(
    shared_folder: Callable[[str, Make], Path], real_source: Path
) -> Callable[[str], Path]:
    """`real_out(recipe)`: an output folder with the real incidents emitted by `recipe`."""

    def emitted(recipe: str) -> Path:
        def make(folder: Path) -> None:
            _emit(real_source, folder, recipe)

        return shared_folder(f"real-out-{recipe}", make)

    return emitted


@pytest.fixture(scope="session")
def training_out(shared_folder: Callable[[str, Make], Path]) -> Callable[[str], Path]:
    """`training_out(recipe)`: a small corpus with every kind of record, emitted by `recipe`."""

    def emitted(recipe: str) -> Path:
        def make(folder: Path) -> None:
            _emit(training.corpus().write(folder / "source"), folder / "out", recipe)

        return shared_folder(f"training-{recipe}", make) / "out"

    return emitted


@pytest.fixture(scope="session")
def tiny_model(shared_folder: Callable[[str, Make], Path]) -> Path:
    """A Qwen2.5 of random weights, as small as it can be, with the real vocabulary."""

    def make(folder: Path) -> None:
        from immune_train.random_model import __main__ as random_model

        random_model.write(folder / "model", "tiny", **training.SMALL)

    training.keep_memory()
    return shared_folder("tiny-model", make) / "model"


@pytest.fixture(scope="session")
def qwen() -> PreTrainedTokenizerBase:
    """Qwen2.5's tokenizer, as our random models have it."""
    from immune_train import qwen_tokenizer

    return qwen_tokenizer.tokenizer()


@pytest.fixture(scope="session")
def renderer(qwen: PreTrainedTokenizerBase) -> Renderer:
    from immune_train.data.labels import Renderer

    return Renderer(qwen)


@pytest.fixture
def quick(
    qwen: PreTrainedTokenizerBase, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spares commands the seconds in which a tokenizer is loaded."""
    from immune_train import backends
    from immune_train.data import labels

    monkeypatch.setattr(backends, "tokenizer", lambda config: qwen)
    monkeypatch.setattr(labels, "Renderer", lambda tokenizer: renderer)


@pytest.fixture
def kept_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each GGUF file that is asked is loaded once."""
    from edge import loaded

    from immune_train.edge import engine

    monkeypatch.setattr(engine, "Model", loaded)


@pytest.fixture(scope="session")
def kept_vocabularies() -> Iterator[None]:
    """Spares exports the second in which a tokenizer is read: each is read once."""
    from immune_train.export import gguf_file

    def kept(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
        known: dict[tuple[tuple[str, str], ...], Any] = {}

        def known_or_read(path: Path) -> Any:
            """Of a file, or of a model's folder, where weights do not count."""
            files = [path] if path.is_file() else sorted(path.glob("*.j*"))
            content = tuple((file.name, sha256(file)) for file in files)
            if content not in known:
                known[content] = read(path)
            return known[content]

        return known_or_read

    with pytest.MonkeyPatch.context() as patch:
        for name in ("vocabulary", "_special"):
            patch.setattr(gguf_file, name, kept(getattr(gguf_file, name)))
        yield


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command does in a process of its own is done here, where libraries are loaded."""
    monkeypatch.setattr(processes, "apart", _call)


def _call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return function(*arguments, **named)


@pytest.fixture(autouse=True, scope="session")
def _memory_is_kept() -> Iterator[None]:
    """Commands give memory back to the system, and the next one in this process needs it again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "give_back", lambda: None)
        for module in (processes, records):
            patch.setattr(module, "release", lambda: None)
        yield


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares `evaluate` the seconds in which it draws figures."""
    from immune_train.evaluate import figures

    monkeypatch.setattr(figures, "drawings", lambda evaluation: [])


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`refused(main, *arguments)`: a command that must fail; the one sentence it says."""

    def run(main: Callable[[list[str]], int], *arguments: object, code: int = 2) -> str:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == code
        said = capsys.readouterr()
        lines = said.err.splitlines()
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:], said.err
        assert "Traceback" not in said.err
        return lines[-1].removeprefix("error: ")

    return run


@pytest.fixture(scope="session")
def _earlier_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earlier")
    _emit(Corpus().incidents("pqrs").write(folder / "source"), folder / "out", "unified-v2")
    return folder / "out"


@pytest.fixture
def earlier_out(_earlier_run: Path, tmp_path: Path) -> Iterator[Path]:
    """An output folder of an earlier run that the test must leave as it is, byte for byte."""
    folder = tmp_path / "earlier-out"
    shutil.copytree(_earlier_run, folder)
    yield folder
    assert digests(folder) == digests(_earlier_run)
    assert sorted(path.name for path in folder.iterdir()) == ["immune.duckdb", "sft", "tables"]


@pytest.fixture
def standing_out(_earlier_run: Path) -> Iterator[Path]:
    """The same without a copy, for a test whose commands are all refused."""
    before = states(_earlier_run)
    yield _earlier_run
    assert states(_earlier_run) == before


def _emit(source: Path, out: Path, recipe: str) -> None:
    arguments = ["--source", str(source), "--data", str(out), "--recipe", recipe]
    assert emit.main(arguments) == 0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=3, help="killed runs (a campaign: 100)")
    parser.addoption("--broken", type=int, default=60, help="broken sources (a campaign: 10000)")
    parser.addoption("--pairs", type=int, default=40, help="answers of a random model (10000)")
    parser.addoption("--seeds", type=int, default=100, help="evaluations (a campaign: 2000)")
    parser.addoption("--seed", type=int, default=7, help="of the campaigns")
    parser.addoption(
        "--thorough", action="store_true", help="laws on more examples, and every combination"
    )


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Leave libraries that were loaded out of garbage collection, which would look through them.

    Each training asks for a collection; most of a worker's objects are libraries, and stay.
    """
    if nextitem is not None and len(sys.modules) > item.config.stash.get(_FROZEN, 0) + _MANY:
        gc.collect()
        gc.freeze()
        item.config.stash[_FROZEN] = len(sys.modules)


def let_loggers_print() -> None:
    """Let what libraries log go to standard error where it goes to a stream that is closed.

    A library that is first loaded within a test logs to that test's stream, also in later tests.
    """
    for logger in list(logging.root.manager.loggerDict.values()):
        for handler in getattr(logger, "handlers", ()):
            if getattr(getattr(handler, "stream", None), "closed", False):
                handler.stream = sys.__stderr__


def pytest_runtest_setup() -> None:
    let_loggers_print()


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile(CAMPAIGN if config.getoption("--thorough") else SHORT)


@pytest.fixture(scope="session")
def real_answers(real_source: Path) -> list[tuple[str, str, str]]:
    """(task, model, answer) of every answer in the real source files."""
    recipe = recipes.load("unified-v2")

    def rows(name: str) -> Iterator[dict]:
        for path in (real_source / name, real_source / f"{name}.gz"):
            if path.is_file():
                with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
                    found = json.load(file)
                yield from found["incidents"] if isinstance(found, dict) else found

    found = []
    for name, model in recipe.models.items():
        for row in rows(recipe.sources.summaries):
            said = row.get(model.summaries) or {}
            text = said.get("summary") if isinstance(said, dict) else said
            found.append(("summary", name, text))
        for row in rows(recipe.sources.cause_risk):
            said = row.get(model.cause_risk) or {}
            found.append(("cause", name, said.get("cause_analysis")))
            found.append(("risk", name, said.get("risk_assessment")))
    return [one for one in found if one[2]]
