"""Comparisons time what they say they time; numbers are not tested, only what they are made of."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from edge import incident, random_gguf

from immune_data.contract.incident import from_json
from immune_data.contract.tokens import token_bytes
from immune_data.prompts import TASKS
from immune_train.bench_edge import __main__ as bench_edge
from immune_train.bench_edge import bandwidth, sides, weights
from immune_train.bench_edge.results import Results, Run, line
from immune_train.bench_edge.summary import summary
from immune_train.bench_edge.timing import Timing
from immune_train.edge import grammar
from immune_train.edge.questions import Asker, Question
from immune_train.score import intervals

pytestmark = pytest.mark.usefixtures("kept_models")

LINES = Path(__file__).parents[2] / "benchmarks" / "edge-lines.toml"
CLOSING = "\nTotal Evidence: 40 events\nSeverity breakdown: Low: 40\n"
CAUSE = (
    "**Possible Causes:**\n\n**1. Malicious Activity:**\n• A scan by 192.168.1.7.\n\n"
    "**2. Legitimate Activity:**\n• A backup.\n\n**3. Misconfigurations:**\n• A loop.\n\n"
    "**Conclusion:** A scan is the likeliest."
)
RISK = (
    "**Risk Level:** High\n\n**Justification:** Many hosts are asked.\n\n"
    "**Business Impact:** Data may be lost.\n\n"
    "**Likelihood of Malicious Activity:** High - it goes on.\n\n"
    "**Investigation Priority:** High - look at it now."
)


def answer(question: Question) -> str:
    """What a model might say, in the documented form."""
    if question.task != "summary":
        return {"cause": CAUSE, "risk": RISK}[question.task]
    form = grammar.summary(question.shown)
    assert form is not None
    return f"{form.header}\n\n• 10:00-10:39 - 40 hosts are asked [LOW]\n\n{form.closing}"


@pytest.fixture(scope="module")
def gguf(shared_folder) -> Path:
    return random_gguf(shared_folder)


def records(path: Path, recipe: str, *, incidents: int = 1, tasks: Sequence[str] = TASKS) -> Path:
    """Emitted records of incidents, as far as they ask something."""
    asker = Asker(recipe)
    rows = []
    for i in range(incidents):
        dag = f"{incident(40)['dag_analysis']}{CLOSING}"
        given = incident(incident_id=f"incident {i}", dag_analysis=dag)
        found = from_json(json.dumps(given), "a test")
        for question in asker.questions(found, tasks):
            messages = [
                {"role": message.role, "content": message.content} for message in question.messages
            ]
            messages.append({"role": "assistant", "content": answer(question)})
            rows.append(
                {
                    "messages": messages,
                    "incident_id": question.incident_id,
                    "task": question.task,
                }
            )
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture
def small_bandwidth(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory's speed, measured on less of it."""
    monkeypatch.setattr(bandwidth, "BYTES", 8 << 20)


@pytest.fixture(scope="module")
def condensed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return records(tmp_path_factory.mktemp("condensed") / "eval.jsonl", "unified-edge", incidents=2)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return records(tmp_path_factory.mktemp("lines") / "eval.jsonl", str(LINES), incidents=2)


def text_of(ids: Sequence[int]) -> str:
    return b"".join(map(token_bytes, ids)).decode()


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.usefixtures("in_this_process", "small_bandwidth")
def test_every_side_is_timed_in_every_round(
    gguf: Path,
    condensed: Path,
    lines: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output, figure = tmp_path / "timings.jsonl", tmp_path / "bench.svg"
    arguments = ["--model", gguf, "--eval", condensed, "--lines", lines, "--threads", "1"]
    arguments += ["--pairs", "2", "--replay", "--output", output, "--figure", figure, "--json"]
    assert bench_edge.main([str(one) for one in arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["comparisons"]] == list(sides.NAMES)
    assert {one["pairs"] for one in found["comparisons"]} == {2}
    assert found["peak_bytes"] > found["run"]["model_bytes"] > found["run"]["weight_bytes"] > 0
    by_side = {one["side"]: one for one in found["sides"]}
    default = by_side["default"]
    assert by_side["lines"]["read_tokens"] > default["read_tokens"]
    assert by_side["before"]["read_tokens"] == by_side["lines"]["read_tokens"]
    assert default["prompt_tokens"] > 1.5 * default["read_tokens"]
    assert by_side["no spans"]["steps"] > default["steps"]
    assert by_side["in turn"]["steps"] > default["steps"]
    for one in found["sides"]:
        assert one["times_floor"] == pytest.approx(one["step_seconds"] / one["floor_seconds"])
        assert one["seconds"] == pytest.approx(one["read_seconds"] + one["write_seconds"])
    run, *timings = rows(output)
    assert run == found["run"]
    # Each round has another incident, and begins with another side.
    assert [one["incident_id"] for one in timings] == ["incident 0"] * 7 + ["incident 1"] * 7
    assert timings[0]["side"] != timings[7]["side"]
    # What is written is what was given, by every side that can write it.
    given = {record["task"]: record["messages"][-1]["content"] for record in rows(condensed)}
    for one in timings:
        written = {task: text_of(ids) for task, ids in one["answers"].items()}
        assert written["cause"] == given["cause"], one["side"]
        assert written["risk"] == given["risk"], one["side"]
        if one["side"] != "lines":  # whose header is another one
            assert written["summary"].endswith(given["summary"][-40:]), one["side"]
    # What is shown later is what was shown.
    assert bench_edge.main(["--results", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found
    again = tmp_path / "again.svg"
    assert bench_edge.main(["--results", str(output), "--figure", str(again)]) == 0
    assert again.read_bytes() == figure.read_bytes()
    said = capsys.readouterr().out
    assert "a first look: fewer than 20 pairs of evidence, side-by-side, grounded" in said
    assert "GB/s (numpy's sum over 512 MiB" in said


@pytest.mark.usefixtures("in_this_process", "small_bandwidth")
def test_a_run_that_was_cut_off_goes_on(
    gguf: Path, condensed: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    output = tmp_path / "timings.jsonl"
    unfinished = tmp_path / ".timings.jsonl.unfinished"
    arguments = ["--model", gguf, "--eval", condensed, "--replay", "--compare", "grounded"]
    arguments += ["--pairs", "1", "--threads", "1", "--output", output]
    assert bench_edge.main([str(one) for one in arguments]) == 0
    before = output.read_text().splitlines(keepends=True)
    output.unlink()
    unfinished.write_text("".join(before[:2]) + before[2][:30])
    assert bench_edge.main(["--results", str(unfinished)]) == 0
    assert "with another flash" in refused(bench_edge.main, *arguments, "--flash")
    assert bench_edge.main([str(one) for one in arguments]) == 0
    after = output.read_text().splitlines(keepends=True)
    assert after[:2] == before[:2]
    sides = [(one["round"], one["side"]) for one in rows(output)[1:]]
    assert sides == [(0, "not grounded"), (0, "default")]
    assert not unfinished.exists()


def test_runs_that_share_the_rounds_are_shown_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    def write(name: str, *timings: Timing, run: Run | None = None) -> Path:
        path = tmp_path / name
        header = json.dumps(asdict(run or RUN))
        path.write_bytes(
            b"\n".join([header.encode(), *(line(one).strip() for one in timings), b""])
        )
        return path

    def pair(number: int) -> tuple[Timing, Timing]:
        return timing(number, "not grounded", 10.0), timing(number, "default", 10.0 + number)

    one, other = write("one.jsonl", *pair(0), *pair(1)), write("other.jsonl", *pair(2))
    assert bench_edge.main(["--results", str(other), str(one), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["comparisons"]
    assert found["ratios"] == [1.0, 1.1, 1.2]
    again = write("again.jsonl", *pair(1))
    assert "some rounds twice" in refused(bench_edge.main, "--results", one, again)
    more = write("more.jsonl", *pair(3), run=replace(RUN, threads=4))
    assert "with another threads" in refused(bench_edge.main, "--results", one, more)


RUN = Run("m.gguf", "0", 10, 8, "1", None, "a processor", 2, False, False, "immune 1")


def timing(number: int, side: str, seconds: float, **answers: list[int]) -> Timing:
    return Timing(
        *(number, side, "i", seconds, 900, 400, 1.0, 1.0, 300, seconds - 1, 100, 0, 0, 0),
        answers=answers,
        bytes_per_second=80.0,
        peak_bytes=20,
    )


def test_ratios_are_of_pairs() -> None:
    seconds = [(10.0, 11.0), (20.0, 21.0), (40.0, 60.0)]
    timings = [
        timing(i, side, one)
        for i, pair in enumerate(seconds)
        for side, one in zip(("not grounded", "default"), pair, strict=True)
    ]
    # A round that lacks a side is no pair.
    made = summary(Results(RUN, (*timings, timing(3, "default", 1000.0))))
    (found,) = made.comparisons
    assert (found.name, found.pairs) == ("grounded", 3)
    assert found.ratios == [1.1, 1.05, 1.5]
    assert found.median.value == 1.1
    assert (found.median.low, found.median.high) == (1.05, 1.5)
    assert found.total.value == pytest.approx(92 / 70)
    assert found.total.low == 1.05
    assert found.agreement is None
    default = made.sides[0]
    assert (default.side, default.incidents) == ("default", 4)
    assert default.floor_seconds == 0.1
    assert default.times_floor == pytest.approx((92 + 1000 - 4) / 400 / 0.1)


def test_intervals_of_medians_are_seeded_and_hold_them() -> None:
    values = [1.0, 1.2, 1.1, 1.05, 3.0, 1.15, 0.9]
    low, high = intervals.of_median(values)
    assert (low, high) == intervals.of_median(values[::-1])
    assert min(values) <= low <= 1.1 <= high < 3.0  # one that is far out moves a mean, not this


def test_agreement_ends_at_the_first_difference() -> None:
    plain = timing(0, "default", 10, summary=[1, 2, 3, 4], risk=[7, 8])
    drafted = timing(0, "drafts", 9, summary=[1, 2, 9, 4, 5], risk=[7, 8])
    (found,) = summary(Results(RUN, (plain, drafted))).comparisons
    assert found.agreement is not None
    assert (found.agreement.equal, found.agreement.answers) == (1, 2)
    assert (found.agreement.equal_tokens, found.agreement.tokens) == (4, 7)
    given = Results(replace(RUN, replay=True), (plain, drafted))
    assert summary(given).comparisons[0].agreement is None


@pytest.mark.parametrize("tied", [True, False])
def test_what_a_step_reads_is_all_but_embeddings(tmp_path: Path, tied: bool) -> None:
    from gguf import GGUFWriter

    path = tmp_path / "model.gguf"
    writer = GGUFWriter(path, "qwen2")
    writer.add_string("a text", "x" * 100)
    writer.add_array("texts", ["a", "bc", ""])
    writer.add_array("numbers", [1, 2, 3])
    writer.add_bool("a truth", True)
    sizes = {"token_embd.weight": 640, "blk.0.ffn_up.weight": 320}
    for name, size in sizes.items() if tied else {**sizes, "output.weight": 1280}.items():
        writer.add_tensor(name, np.ones(size // 4, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert weights.read_per_token(path) == (640 + 320 if tied else 320 + 1280)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--eval", "EVAL"), "--model is missing"),
        (("--model", "GGUF"), "--eval is missing"),
        (("--model", "no.gguf", "--eval", "EVAL"), "no model no.gguf"),
        (("--model", "EVAL", "--eval", "EVAL"), "not a GGUF"),
        (("--model", "GGUF", "--eval", "none.jsonl"), "cannot read none.jsonl"),
        (("--model", "GGUF", "--eval", "GGUF"), "random.gguf"),
        (("--model", "GGUF", "--eval", "EVAL", "--lines", "PART"), "no incident has all of"),
        (("--model", "GGUF", "--eval", "EVAL", "--compare", "evidence"), "evidence needs --lines"),
        (("--model", "GGUF", "--eval", "EVAL", "--compare", "speed"), "invalid choice"),
        (("--model", "GGUF", "--eval", "EVAL", "--pairs", "0"), "above zero"),
        (("--model", "GGUF", "--eval", "EVAL", "--figure", "x.pdf"), "ends in .svg or .png"),
        (("--model", "GGUF", "--results", "EVAL"), "leave out --model"),
        (("--results", "EVAL"), "contains no timings"),
        (("--results", "none.jsonl"), "cannot read none.jsonl"),
    ],
)
def test_wrong_usage_is_one_sentence(
    refused: Callable[..., str],
    gguf: Path,
    condensed: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    says: str,
) -> None:
    part = records(tmp_path / "part.jsonl", "unified-edge", tasks=["risk"])
    files = {"GGUF": gguf, "EVAL": condensed, "PART": part}
    given = [files.get(argument, argument) for argument in arguments]
    assert says in refused(bench_edge.main, *given)


def test_help_and_questions_need_no_heavy_module() -> None:
    code = (
        "import sys\nfrom immune_train.bench_edge import __main__ as bench_edge\n"
        "from immune_train.bench_edge import incidents, measuring, summary, terminal\n"
        "from immune_train.edge.questions import Asker\n"
        "Asker('unified-edge'); bench_edge.parser().format_help()\n"
        "heavy = {'torch', 'transformers', 'polars', 'duckdb', 'llama_cpp', 'pyarrow', 'gguf'}\n"
        "heavy |= {'dataframely', 'matplotlib', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_bench_that_is_killed_leaves_no_process(gguf: Path, condensed: Path) -> None:
    arguments = ["--model", gguf, "--eval", condensed, "--threads", "1"]
    started = subprocess.Popen(
        [sys.executable, "-m", "immune_train.bench_edge", *arguments], stderr=subprocess.DEVNULL
    )
    bench = psutil.Process(started.pid)
    deadline = time.monotonic() + 60
    while not (children := bench.children(recursive=True)) and time.monotonic() < deadline:
        time.sleep(0.05)
    started.kill()
    started.wait()
    assert children
    assert psutil.wait_procs(children, timeout=30)[1] == []
