"""Killed runs and broken sources, by chance: nothing half-written, no row unaccounted for.

    pytest tests/end_to_end/test_safety.py --kills 100 --broken 10000 --seed 7

runs the campaigns; without options a short version of them.
"""

from __future__ import annotations

import copy
import json
import random
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
import warm
from corpus import CAUSE_RISK, CAUSE_RISK_RUN, FILES, RUN_1, RUN_2, SUMMARIES, Corpus, digests

from immune_data import recipes
from immune_data.common.errors import ImmuneError
from immune_data.contract.manifest import check
from immune_data.emit.__main__ import emit, main
from immune_data.read.normalise import normalise

RECIPE = "unified-clean"


def start(folder: Path, source: Path, out: Path) -> BaseProcess:
    """A run with workers, so that killed ones have some to leave behind; it speaks to `folder`."""
    return warm.start(folder, warm.emit_with_workers, emitting(source, out))


def emitting(source: Path, out: Path) -> list[str]:
    return ["--source", str(source), "--data", str(out), "--recipe", RECIPE, "--threads", "2"]


def assert_done(folder: Path, source: Path, out: Path, *, workers: bool) -> None:
    """Run to the end, with workers in a process of its own, or here."""
    if not workers:
        assert main(emitting(source, out)) == 0
        return
    process = start(folder, source, out)
    process.join(120)
    assert process.exitcode == 0, (folder / "stderr").read_text()


def final(out: Path) -> dict[str, str]:
    """Digests of everything under a final name but the database, whose bytes may vary."""
    return {
        name: sha256
        for name, sha256 in digests(out).items()
        if not name.startswith(".") and name != "immune.duckdb"
    }


def assert_database_opens(out: Path) -> None:
    import duckdb

    assert not (out / "immune.duckdb.wal").exists()
    with duckdb.connect(str(out / "immune.duckdb"), read_only=True) as connection:
        assert connection.execute(f'from "{RECIPE}".funnel').fetchall()


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive


def test_a_kill_at_any_moment_harms_nothing(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Of runs that nobody kills, only the one that is timed has workers; thorough, all of them."""
    rng = random.Random(request.config.getoption("--seed"))
    every = request.config.getoption("--thorough")
    sources = []
    for name in "ab":
        corpus = Corpus()
        for i in range(25):
            corpus.incident(f"{name}{i}", facts={"source_ip": name, "timewindow": str(i)})
        sources.append(corpus.write(tmp_path / f"source-{name}"))
    whole = [tmp_path / f"out-{name}" for name in "ab"]
    for source, out in zip(sources, whole, strict=True):
        began = time.monotonic()
        assert_done(tmp_path, source, out, workers=every or out == whole[-1])
        lasts = time.monotonic() - began
    finished = 0
    for _ in range(request.config.getoption("--kills")):
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        if rng.random() < 0.7:
            shutil.copytree(whole[0], out)
        process = start(tmp_path, sources[1], out)
        time.sleep(rng.uniform(0, 1.1 * lasts))
        children = []
        with suppress(psutil.NoSuchProcess):  # it has ended
            children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.join()
        finished += process.exitcode == 0
        assert_gone(children)

        either = [final(folder) for folder in whole]
        for name, sha256 in final(out).items():
            assert sha256 in {known.get(name) for known in either}, f"{name} is half-written"
        if (out / "immune.duckdb").exists():
            assert_database_opens(out)
        if (out / "sft" / RECIPE / "manifest.json").exists():
            check(out / "sft" / RECIPE)

        assert_done(tmp_path, sources[1], out, workers=every)
        assert final(out) == either[1]
        assert sorted(path.name for path in out.iterdir()) == ["immune.duckdb", "sft", "tables"]
        assert_database_opens(out)
    assert finished < request.config.getoption("--kills")


# --- broken sources ---------------------------------------------------------------------------

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 15.0, 15.5, 1e400, -0.0, 2**63, 10**400, 31, 10.0001),
    *("", " ", "a", "x" * 5000, "\x00", "\u2028", "GPT-4o", "Qwen2.5 3B", "nobody", "🦙", "```"),
    *([], {}, [1], {"a": {}}, {"summary": 3}, {"total": "9"}, {"total": 40}, [[[[]]]]),
]
BYTES = [b"", b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\xff", b"\xc3", b"\x00", b"NaN"]
BYTES += [
    b"\\ud800",
    b"\\u0000",
    b"1e999",
    b"null",
    b"\r",
    b"\xef\xbb\xbf",
    b"Infinity",
    b"\xed\xa0\x80",
]


def break_values(rows: list[Any], rng: random.Random) -> None:
    """Change a few of the values, keys or rows somewhere in a file."""
    for _ in range(rng.randint(1, 4)):
        node: Any = rows
        while True:
            if not node:
                break
            key = rng.randrange(len(node)) if isinstance(node, list) else rng.choice(list(node))
            inner = node[key]
            if isinstance(inner, dict | list) and inner and rng.random() < 0.75:
                node = inner
                continue
            what = rng.random()
            if what < 0.6:
                node[key] = copy.deepcopy(rng.choice(VALUES))
            elif what < 0.75:
                del node[key]
            elif isinstance(node, list):
                node.insert(key, copy.deepcopy(inner))
            else:
                node[rng.choice(["incident_id", "GPT-4o", "total", "odd", key.upper()])] = inner
            break


def break_bytes(data: bytes, rng: random.Random) -> bytes:
    """Cut, repeat, drop or replace a few bytes."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((0, 1, 1, 2, 50, 1000)))
        match rng.randrange(4):
            case 0:
                data = data[:at]
            case 1:
                data = data[:at] + data[end:]
            case 2:
                data = data[:at] + rng.choice(BYTES) + data[end:]
            case 3:
                data = data[:end] + data[at:]
    return data


def real_corpus(real: Path, number: int) -> Corpus:
    """A corpus of the first real incidents that are judged on both tasks."""
    import gzip

    corpus = Corpus()
    content = {
        name: json.loads(
            gzip.decompress((real / f"{name}.gz").read_bytes())
            if (real / f"{name}.gz").exists()
            else (real / name).read_bytes()
        )
        for name in FILES
    }
    ids = [row["incident_id"] for row in content[CAUSE_RISK_RUN]][:number]
    for name, rows in content.items():
        corpus.rows[name] = [row for row in rows if row["incident_id"] in ids]
    return corpus


def assert_accounted_for(tables: Path, broken: dict[str, int | None]) -> None:
    """Every row that was read is in the tables or a reject, and as many were read as written."""
    table = {path.stem: pl.read_parquet(path) for path in tables.glob("*.parquet")}
    rejected = table["rejects"].filter(scope="row").group_by("file").len()
    rejected = dict(rejected.iter_rows())
    for file in table["source_files"].iter_rows(named=True):
        name = file["file"]
        match name:
            case _ if name == SUMMARIES:
                taken = table["incidents"]["in_summaries"].sum()
            case _ if name == CAUSE_RISK:
                taken = table["incidents"]["in_cause_risk"].sum()
            case _:
                judged = table["judgements"].filter(judge_run=name)
                taken = judged["incident_id"].n_unique()
        assert file["rows_rejected"] == rejected.get(name, 0)
        assert file["rows_read"] == taken + file["rows_rejected"]
        if broken[name] is not None:
            assert file["rows_read"] == broken[name]


@pytest.fixture(params=["hand-made", "real"])
def base(request: pytest.FixtureRequest) -> Corpus:
    if request.param == "real":
        return real_corpus(request.getfixturevalue("real_source"), 3)
    return Corpus().incidents("abc").incident("d", run=RUN_2).incident("e", run=RUN_1)


def test_broken_sources_are_refused_or_accounted_for(
    base: Corpus, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    rng = random.Random(request.config.getoption("--seed"))
    recipe = recipes.load(RECIPE)
    outcomes = {"taken": 0, "refused": 0}
    for i in range(request.config.getoption("--broken") // 2):
        source, tables, out = (tmp_path / name for name in ("source", "tables", "out"))
        for folder in (source, tables, out):
            shutil.rmtree(folder, ignore_errors=True)
        tables.mkdir()
        corpus = Corpus()
        corpus.rows = copy.deepcopy(base.rows)
        name = rng.choice([name for name, rows in corpus.rows.items() if rows])
        by_value = rng.random() < 0.5
        if by_value:
            break_values(corpus.rows[name], rng)
        corpus.write(source, wrapped=rng.random() < 0.2, ascii_only=rng.random() < 0.5)
        counts: dict[str, int | None] = {name: len(rows) for name, rows in corpus.rows.items()}
        if not by_value:
            (source / name).write_bytes(break_bytes((source / name).read_bytes(), rng))
            counts[name] = None
        run: Callable[[], object] = lambda: normalise(source, recipe, tables, None)  # noqa: E731,B023
        if i % 25 == 0:
            run = lambda: emit(source, out, recipe)  # noqa: E731,B023
        try:
            run()
        except ImmuneError as refusal:
            outcomes["refused"] += 1
            sentence = str(refusal)
            assert "\n" not in sentence
            assert name in sentence
        else:
            outcomes["taken"] += 1
            assert_accounted_for(out / "tables" if i % 25 == 0 else tables, counts)
    assert min(outcomes.values()) > 0, outcomes
