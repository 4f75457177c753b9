"""Time GGUF models on this machine's processor, as `generate` uses them.

    python -m immune_train.bench_edge --model immune-q4_k_m.gguf immune-q8_0.gguf --threads 4

In: models, and incidents (real ones, or made-up evidence of given lengths). Out: for each model
and recipe, reading and writing speed, time to the first token, seconds per incident and peak
memory, with the three tasks asked one by one and as `--task all` does. Recipes and ways take turns
at each incident, so that their ratios do not depend on when the machine had other things to do.
Answers are written to a given length whether or not the model would stop, so that a model of random
weights will do.
"""

from __future__ import annotations

import argparse
import platform
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from immune_data.common import cli, files, jsonfile, processes, table, textfile
from immune_data.common.errors import ImmuneError
from immune_data.contract.incident import Incident, from_json
from immune_data.prompts import TASKS

if TYPE_CHECKING:
    from immune_train.edge.engine import LocalModel
    from immune_train.edge.questions import Question
    from immune_train.edge.writing import Answer

RECIPES = ("unified-clean", "unified-edge")
# The median and the upper quartile of real incidents' DAGs, in tokens, and the median answers of
# the reference, in the order of the tasks.
DAG_TOKENS = (1500, 6200)
ANSWER_TOKENS = (324, 226, 141)
WAYS = ("one by one", "all")
_LONGEST = 1_000_000  # tokens; the longest evidence of a real incident has an eighth of that


@dataclass(frozen=True)
class Job:
    """What one process measures."""

    model: Path
    recipes: tuple[str, ...]
    incidents: tuple[Incident, ...]
    answer_tokens: tuple[int, ...]
    threads: int | None
    flash: bool
    side_by_side: bool


@dataclass(frozen=True)
class Timing:
    """What a model does with an incident's three tasks, asked in one way; means of incidents."""

    recipe: str
    tasks: str
    prompt_tokens: int
    evaluated_tokens: int
    prefill_per_second: float
    generated_per_second: float
    first_token_seconds: float
    next_first_token_seconds: float
    seconds_per_incident: float
    seconds: list[float]  # of each incident, in their order


@dataclass(frozen=True)
class Timings:
    """One model's, and what it took to have it."""

    model: str
    megabytes: int
    load_seconds: float
    peak_megabytes: int
    threads: int
    timings: list[Timing]


def made_up(dag_tokens: int) -> Incident:
    """An incident whose evidence has about `dag_tokens` tokens; the same for the same number."""
    from immune_data.contract.tokens import count

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


def measure(job: Job) -> Timings:
    """Time one model; a process of its own makes its peak memory the model's."""
    from immune_train.edge.engine import LocalModel
    from immune_train.edge.questions import Asker

    askers = [Asker(recipe) for recipe in job.recipes]
    # By incident, as each recipe asks it.
    asked = [[asker.questions(one, TASKS) for asker in askers] for one in job.incidents]
    every = [question for by_recipe in asked for questions in by_recipe for question in questions]
    longest = max(len(question.ids) for question in every) + max(job.answer_tokens)
    context = max(longest, *(asker.context for asker in askers))
    start = time.perf_counter()
    model = LocalModel(job.model, context, threads=job.threads, flash=job.flash)
    model.answer(every[0].ids[:64], 2, exactly=True)  # reads the file, so that nothing waits
    loaded = time.perf_counter() - start
    given: dict[tuple[str, str], list[list[Answer]]] = {}
    seconds: dict[tuple[str, str], list[float]] = {}
    for by_recipe in asked:
        for recipe, questions in zip(job.recipes, by_recipe, strict=True):
            for way in WAYS:
                model.forget()
                start = time.perf_counter()
                answers = _answers(model, questions, job, together=way == "all")
                seconds.setdefault((recipe, way), []).append(time.perf_counter() - start)
                given.setdefault((recipe, way), []).append(answers)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Timings(
        model=job.model.name,
        megabytes=round(job.model.stat().st_size / 1e6),
        load_seconds=round(loaded, 2),
        peak_megabytes=round((peak if sys.platform == "darwin" else peak * 1024) / 1e6),
        threads=model.threads,
        timings=[_timing(*key, seconds[key], given[key]) for key in given],
    )


def _answers(
    model: LocalModel, questions: Sequence[Question], job: Job, *, together: bool
) -> list[Answer]:
    from immune_train.edge.writing import Prompt

    limits = zip(questions, job.answer_tokens, strict=True)
    prompts = [Prompt(one.ids, limit) for one, limit in limits]
    if together:
        return model.answers(prompts, exactly=True, beside=job.side_by_side)
    answers = []
    for prompt in prompts:
        model.forget()
        answers.append(model.answer(prompt.ids, prompt.limit, exactly=True))
    return answers


def _timing(recipe: str, way: str, seconds: list[float], given: list[list[Answer]]) -> Timing:
    every = [answer for answers in given for answer in answers]
    firsts = [answers[0].prefill_seconds for answers in given]
    nexts = [answer.prefill_seconds for answers in given for answer in answers[1:]]
    evaluated = sum(answer.evaluated_tokens for answer in every)
    prefill = sum(answer.prefill_seconds for answer in every)
    # The first token of an answer comes with its prompt.
    generated = sum(answer.tokens - 1 for answer in every)
    return Timing(
        recipe=recipe,
        tasks=way,
        prompt_tokens=round(sum(answer.prompt_tokens for answer in every) / len(given)),
        evaluated_tokens=round(evaluated / len(given)),
        prefill_per_second=round(evaluated / prefill, 1),
        generated_per_second=round(generated / max(1e-9, sum(seconds) - prefill), 1),
        first_token_seconds=round(sum(firsts) / len(firsts), 2),
        next_first_token_seconds=round(sum(nexts) / len(nexts), 2),
        seconds_per_incident=round(sum(seconds) / len(seconds), 2),
        seconds=[round(one, 2) for one in seconds],
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


def _tokens(text: str) -> int:
    """An argument that is a length, of which evidence has been seen."""
    number = cli.positive(text)
    if number > _LONGEST:
        raise argparse.ArgumentTypeError(f"{number} is more than {_LONGEST}")
    return number


def parser() -> argparse.ArgumentParser:
    made = cli.parser(
        "immune_train.bench_edge",
        summary="Time GGUF models on this machine's processor.",
        example="python -m immune_train.bench_edge --model immune-q4_k_m.gguf --threads 4",
    )
    made.add_argument("--model", type=cli.file, nargs="+", required=True, help="GGUF files")
    made.add_argument(
        "--incident",
        type=cli.file,
        nargs="+",
        help="files of one incident each, as `generate` takes",
    )
    made.add_argument(
        "--dag-tokens",
        type=_tokens,
        nargs="+",
        help="lengths of made-up evidence instead (default: 1500 6200, the median and the upper"
        " quartile of real incidents)",
    )
    made.add_argument(
        "--answer-tokens",
        type=_tokens,
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
    made.add_argument("--threads", type=cli.threads, help="default: one per processor")
    made.add_argument(
        "--side-by-side",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="as `generate` does with --task all (default)",
    )
    made.add_argument("--flash", action="store_true", help="use llama.cpp's flash attention")
    made.add_argument("--json", action="store_true", help="print the timings as JSON")
    made.add_argument("--output", type=cli.file, metavar="FILE", help="write them there, as JSON")
    return made


def command(arguments: argparse.Namespace) -> None:
    if arguments.incident and arguments.dag_tokens:
        raise ImmuneError("--incident and --dag-tokens exclude each other: give one")
    if arguments.output:
        files.target(arguments.output)
    incidents = _incidents(arguments.incident, arguments.dag_tokens or DAG_TOKENS)
    for model in arguments.model:
        if not model.is_file():
            raise ImmuneError(f"there is no model {model}")
    tokens = tuple(arguments.answer_tokens)
    measured: list[Timings] = []
    with cli.progress() as report:
        for model in arguments.model:
            report(f"timing {model.name}")
            job = Job(
                *(model, tuple(dict.fromkeys(arguments.recipe)), incidents, tokens),
                *(arguments.threads, arguments.flash, arguments.side_by_side),
            )
            measured.append(processes.apart(measure, job))
    content = {
        "processor": processor(),
        "incidents": len(incidents),
        "answer_tokens": dict(zip(TASKS, tokens, strict=True)),
        "models": [asdict(one) for one in measured],
    }
    if arguments.json:
        print(jsonfile.text(content), end="")
    else:
        for one in measured:
            _show(one, len(incidents))
    if arguments.output:
        with files.replacing(arguments.output) as beside:
            beside.write_text(jsonfile.text(content), encoding="utf-8")
        said = sys.stderr if arguments.json else sys.stdout
        print(f"wrote {arguments.output}", file=said)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


def _incidents(paths: Sequence[Path] | None, dag_tokens: Sequence[int]) -> tuple[Incident, ...]:
    """The incidents of the files, or made-up ones of these lengths where there are none."""
    if not paths:
        return tuple(made_up(tokens) for tokens in dag_tokens)
    return tuple(from_json(textfile.read(path), str(path)) for path in paths)


def _show(measured: Timings, incidents: int) -> None:
    columns = (
        *("recipe", "tasks", "tokens read", "read/s", "written/s"),
        *("first s", "next s", "incident s"),
    )
    rows = [
        [
            timing.recipe,
            timing.tasks,
            timing.evaluated_tokens,
            timing.prefill_per_second,
            timing.generated_per_second,
            timing.first_token_seconds,
            timing.next_first_token_seconds,
            timing.seconds_per_incident,
        ]
        for timing in measured.timings
    ]
    title = (
        f"{measured.model}: {measured.megabytes:,} MB, {measured.peak_megabytes:,} MB at most in "
        f"memory, {measured.threads} threads of {processor()}; "
        f"{f'means of {incidents} incidents' if incidents > 1 else 'one incident'}"
    )
    table.show(title, columns, rows)
    for line in ratios(measured.timings):
        print(line)
    print()


def ratios(timings: Sequence[Timing]) -> Iterator[str]:
    """What each way that asks all tasks together saves against the first recipe's."""
    base, *others = [timing for timing in timings if timing.tasks == "all"]
    if not others:
        base, others = timings[0], [base]
    for other in others:
        by_incident = [a / b for a, b in zip(base.seconds, other.seconds, strict=True)]
        times, what = [sum(base.seconds) / sum(other.seconds), *by_incident], "faster"
        if times[0] < 1:
            times, what = [1 / one for one in times], "slower"
        yield (
            f"the three tasks of an incident are {times[0]:.2f}× {what} with {other.recipe}, "
            f"{other.tasks}, than with {base.recipe}, {base.tasks} ({min(times[1:]):.2f} to "
            f"{max(times[1:]):.2f} by incident)"
        )


if __name__ == "__main__":
    sys.exit(main())
