"""Time GGUF models on this machine's processor, as `generate` uses them.

    python -m immune_train.bench_edge --model immune-q4_k_m.gguf immune-q8_0.gguf --threads 4

In: models, and incidents (real ones, or made-up evidence of given lengths). Out: for each model
and recipe, reading and writing speed, time to the first token, seconds per incident and peak
memory, with the three tasks asked one by one and as `--task all` does. Answers are written to a
given length whether or not the model would stop, so that a model of random weights will do.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from immune_data import cli
from immune_data.errors import ImmuneError
from immune_data.prompts import TASKS

if TYPE_CHECKING:
    from immune_train.local_model import Answer
    from immune_train.prompting import Incident, Question

RECIPES = ("unified-clean", "unified-edge")
# The median and the upper quartile of real incidents' DAGs, in tokens, and the median answers of
# the reference, in the order of the tasks.
DAG_TOKENS = (1500, 6200)
ANSWER_TOKENS = (324, 226, 141)


@dataclass(frozen=True)
class Job:
    """What one process measures."""

    model: Path
    recipe: str
    incidents: tuple[Incident, ...]
    answer_tokens: tuple[int, ...]
    threads: int | None
    flash: bool


@dataclass(frozen=True)
class Timing:
    """What one model does with an incident's three tasks, asked in one way; means of incidents."""

    model: str
    megabytes: int
    recipe: str
    tasks: str
    prompt_tokens: int
    evaluated_tokens: int
    prefill_per_second: float
    generated_per_second: float
    first_token_seconds: float
    next_first_token_seconds: float
    seconds_per_incident: float
    load_seconds: float
    peak_megabytes: int
    threads: int


def made_up(dag_tokens: int) -> Incident:
    """An incident whose evidence has about `dag_tokens` tokens; the same for the same number."""
    from immune_data.tokens import count
    from immune_train.prompting import Incident

    header = (
        "============================================================\n"
        "Incident: 00000000-0000-4000-8000-000000000000\nSource IP: 10.0.0.7 | Timewindow: 12\n"
        "Timeline: 2024-01-01 10:00:00 to 2024-01-01 11:00:00\nThreat Level: 15.5 | Events: 500\n"
    )
    lines = [header]
    tokens, i = count(header), 0
    while tokens < dag_tokens:
        host = f"203.0.{i * 7 % 256}.{i * 13 % 256}"
        lines.append(
            f"• 10:{i % 60:02d} - Event to {host}:{1024 + i * 37 % 50000} [MEDIUM]\n"
            f"  - Connection to unknown destination port {1024 + i * 37 % 50000}/TCP on {host}.\n"
        )
        tokens += count(lines[-1])
        i += 1
    return Incident(
        incident_id="00000000-0000-4000-8000-000000000000",
        dag_analysis="".join(lines),
        source_ip="10.0.0.7",
        timewindow="12",
        timeline="2024-01-01 10:00:00 to 2024-01-01 11:00:00",
        threat_level=15.5,
        event_count=500,
    )


def measure(job: Job) -> list[Timing]:
    """Time one model under one recipe; a process of its own makes its peak memory the model's."""
    from immune_train.local_model import LocalModel
    from immune_train.prompting import Asker

    asker = Asker(job.recipe)
    asked = [asker.questions(incident, TASKS) for incident in job.incidents]
    limits = job.answer_tokens
    longest = max(len(q.ids) + n for some in asked for q, n in zip(some, limits, strict=True))
    start = time.perf_counter()
    model = LocalModel(job.model, max(asker.context, longest), threads=job.threads, flash=job.flash)
    model.answer(asked[0][0].ids[:64], 2, exactly=True)  # reads the file, so that nothing waits
    loaded = time.perf_counter() - start
    found = []
    for together in (False, True):
        took = 0.0
        given: list[list[Answer]] = []
        for questions in asked:
            model.forget()
            start = time.perf_counter()
            given.append([_answer(model, q, n, together) for q, n in zip(questions, limits)])  # noqa: B905
            took += time.perf_counter() - start
        found.append((together, took / len(asked), given))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_bytes = peak if sys.platform == "darwin" else peak * 1024
    return [
        _timing(job, together, seconds, given, loaded, peak_bytes, model.threads)
        for together, seconds, given in found
    ]


def _answer(model, question: Question, tokens: int, together: bool) -> Answer:
    if not together:
        model.forget()
    return model.answer(question.ids, tokens, exactly=True)


def _timing(
    job: Job,
    together: bool,
    seconds: float,
    given: list[list[Answer]],
    loaded: float,
    peak: int,
    threads: int,
) -> Timing:
    every = [answer for answers in given for answer in answers]
    firsts = [answers[0].prefill_seconds for answers in given]
    nexts = [answer.prefill_seconds for answers in given for answer in answers[1:]]
    evaluated = sum(answer.evaluated_tokens for answer in every)
    # The first token of an answer comes with its prompt.
    generated = sum(answer.tokens - 1 for answer in every)
    return Timing(
        model=job.model.name,
        megabytes=round(job.model.stat().st_size / 1e6),
        recipe=job.recipe,
        tasks="all" if together else "one by one",
        prompt_tokens=round(sum(answer.prompt_tokens for answer in every) / len(given)),
        evaluated_tokens=round(evaluated / len(given)),
        prefill_per_second=round(evaluated / sum(a.prefill_seconds for a in every), 1),
        generated_per_second=round(
            generated / max(1e-9, sum(a.generation_seconds for a in every)), 1
        ),
        first_token_seconds=round(sum(firsts) / len(firsts), 2),
        next_first_token_seconds=round(sum(nexts) / len(nexts), 2),
        seconds_per_incident=round(seconds, 2),
        load_seconds=round(loaded, 2),
        peak_megabytes=round(peak / 1e6),
        threads=threads,
    )


def processor() -> str:
    """The name of this machine's processor, as far as it tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def parser() -> argparse.ArgumentParser:
    made = cli.parser(
        "immune_train.bench_edge",
        summary="Time GGUF models on this machine's processor.",
        example="python -m immune_train.bench_edge --model immune-q4_k_m.gguf --threads 4",
    )
    made.add_argument("--model", type=Path, nargs="+", required=True, help="GGUF files")
    made.add_argument(
        "--incident", type=Path, nargs="+", help="files of one incident each, as `generate` takes"
    )
    made.add_argument(
        "--dag-tokens",
        type=cli.positive,
        nargs="+",
        help="lengths of made-up evidence instead (default: 1500 6200, the median and the upper"
        " quartile of real incidents)",
    )
    made.add_argument(
        "--answer-tokens",
        type=cli.positive,
        nargs=len(TASKS),
        default=ANSWER_TOKENS,
        metavar=tuple(task.upper() for task in TASKS),
        help="length of the answers (default: the reference's medians, 324 226 141)",
    )
    made.add_argument(
        "--recipe",
        nargs="+",
        default=RECIPES,
        help="recipes to compare (default: unified-clean unified-edge)",
    )
    made.add_argument("--threads", type=cli.positive, help="default: one per processor")
    made.add_argument("--flash", action="store_true", help="use llama.cpp's flash attention")
    made.add_argument("--json", action="store_true", help="print the timings as JSON")
    return made


def command(arguments: argparse.Namespace) -> None:
    if arguments.incident and arguments.dag_tokens:
        raise ImmuneError("--incident and --dag-tokens exclude each other: give one")
    incidents = _incidents(arguments)
    for model in arguments.model:
        if not model.is_file():
            raise ImmuneError(f"there is no model {model}")
    timings: list[Timing] = []
    with cli.progress() as report:
        for model in arguments.model:
            for recipe in arguments.recipe:
                report(f"timing {model.name} with {recipe}")
                tokens = tuple(arguments.answer_tokens)
                job = Job(model, recipe, incidents, tokens, arguments.threads, arguments.flash)
                timings += _apart(job)
    if arguments.json:
        content = {
            "processor": processor(),
            "incidents": len(incidents),
            "answer_tokens": dict(zip(TASKS, arguments.answer_tokens, strict=True)),
            "timings": [asdict(timing) for timing in timings],
        }
        print(json.dumps(content, indent=2))
    else:
        _show(timings, len(incidents))


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


def _incidents(arguments: argparse.Namespace) -> tuple[Incident, ...]:
    from immune_train.prompting import incident_from_json

    if not arguments.incident:
        return tuple(made_up(tokens) for tokens in arguments.dag_tokens or DAG_TOKENS)
    found = []
    for path in arguments.incident:
        try:
            found.append(incident_from_json(path.read_bytes(), str(path)))
        except OSError as error:
            raise ImmuneError(f"cannot read {path}: {error.strerror}") from None
    return tuple(found)


def _apart(job: Job) -> list[Timing]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, job).result()


def _show(timings: list[Timing], incidents: int) -> None:
    columns = (
        *("model", "MB", "recipe, tasks", "read", "read/s", "written/s"),
        *("first s", "next s", "incident s", "peak MB"),
    )
    rows = [
        [
            timing.model.removesuffix(".gguf"),
            timing.megabytes,
            f"{timing.recipe}, {timing.tasks}",
            timing.evaluated_tokens,
            timing.prefill_per_second,
            timing.generated_per_second,
            timing.first_token_seconds,
            timing.next_first_token_seconds,
            timing.seconds_per_incident,
            timing.peak_megabytes,
        ]
        for timing in timings
    ]
    title = f"{processor()}, {timings[0].threads} threads; an incident's means of {incidents}"
    cli.table(title, columns, rows)
    slowest = max(timings, key=lambda timing: timing.seconds_per_incident)
    fastest = min(
        (timing for timing in timings if timing.model == slowest.model),
        key=lambda timing: timing.seconds_per_incident,
    )
    times = slowest.seconds_per_incident / fastest.seconds_per_incident
    print(
        f"{slowest.model}: three tasks take {times:.2f} times less with {fastest.recipe},"
        f" {fastest.tasks}, than with {slowest.recipe}, {slowest.tasks}"
    )


if __name__ == "__main__":
    sys.exit(main())
