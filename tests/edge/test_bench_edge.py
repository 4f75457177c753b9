"""The bench times what it says it times; numbers are not tested, only that they are there."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from edge import incident, random_gguf

from immune_data.contract.tokens import count
from immune_train import bench_edge


@pytest.fixture(scope="module")
def gguf(shared_folder) -> Path:
    return random_gguf(shared_folder)


@pytest.mark.parametrize("tokens", [300, 1500, 6200])
def test_made_up_evidence_has_its_length(tokens: int) -> None:
    found = bench_edge.made_up(tokens)
    assert tokens <= count(found.dag_analysis) < tokens + 100
    assert found == bench_edge.made_up(tokens)


def test_every_way_is_timed(gguf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "incident.json"
    file.write_text(json.dumps(incident(60)))
    arguments = ["--model", str(gguf), "--incident", str(file), "--threads", "1"]
    arguments += ["--answer-tokens", "4", "3", "2"]
    assert bench_edge.main([*arguments, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["models"]
    assert found["threads"] == 1
    assert found["peak_megabytes"] > found["megabytes"]
    timings = found["timings"]
    assert [(timing["recipe"], timing["tasks"]) for timing in timings] == [
        (recipe, tasks)
        for recipe in ("unified-clean", "unified-edge")
        for tasks in ("one by one", "all")
    ]
    apart, together = timings[2:]
    assert apart["evaluated_tokens"] == apart["prompt_tokens"] == together["prompt_tokens"]
    assert together["evaluated_tokens"] < 0.5 * apart["evaluated_tokens"]
    for timing in timings:
        assert timing["seconds_per_incident"] == pytest.approx(sum(timing["seconds"]), abs=0.01)
        for key in ("prefill_per_second", "generated_per_second", "seconds_per_incident"):
            assert timing[key] > 0
    assert bench_edge.main([*arguments, "--recipe", "unified-edge"]) == 0
    assert " with unified-edge, all, than with unified-edge, one by one (" in said(capsys)
    assert bench_edge.main(arguments) == 0
    assert " with unified-edge, all, than with unified-clean, all (" in said(capsys)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_ratios_are_of_the_same_incidents() -> None:
    def timing(recipe: str, tasks: str, seconds: list[float]) -> bench_edge.Timing:
        return bench_edge.Timing(recipe, tasks, 1, 1, 1, 1, 1, 1, sum(seconds) / 2, seconds)

    timings = [
        timing("a", "one by one", [90.0, 90.0]),
        timing("a", "all", [30.0, 60.0]),
        timing("b", "one by one", [80.0, 80.0]),
        timing("b", "all", [10.0, 30.0]),
    ]
    (line,) = bench_edge.ratios(timings)
    assert "are 2.25× faster with b, all, than with a, all (2.00 to 3.00 by incident)" in line
    (line,) = bench_edge.ratios([*timings[:1], timing("a", "all", [180.0, 270.0])])
    assert "are 2.50× slower with a, all, than with a, one by one (2.00 to 3.00 by" in line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--model", "no.gguf"), "no model no.gguf"),
        (("--model", "GGUF", "--incident", "none.json"), "cannot read none.json"),
        (("--model", "GGUF", "--incident", "x", "--dag-tokens", "9"), "exclude each other"),
        (("--model", "GGUF", "--answer-tokens", "1", "2"), "expected 3 arguments"),
        (("--model", "GGUF", "--dag-tokens", "1000001"), "is more than 1000000"),
        (("--model", "GGUF", "--answer-tokens", "40000", "1", "1"), "positions up to 32,768"),
    ],
)
def test_wrong_usage_is_one_sentence(
    refused, gguf: Path, arguments: tuple[str, ...], says: str
) -> None:
    given = [gguf if argument == "GGUF" else argument for argument in arguments]
    assert says in refused(bench_edge.main, *given)


def test_a_bench_that_is_killed_leaves_no_process(gguf: Path) -> None:
    arguments = ["--model", gguf, "--dag-tokens", "3000", "--answer-tokens", "900", "9", "9"]
    started = subprocess.Popen(
        [sys.executable, "-m", "immune_train.bench_edge", *arguments], stderr=subprocess.DEVNULL
    )
    bench = psutil.Process(started.pid)
    deadline = time.monotonic() + 60
    while not (children := bench.children(recursive=True)) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)  # in the middle of it, or still importing
    started.kill()
    started.wait()
    assert children
    assert psutil.wait_procs(children, timeout=30)[1] == []
