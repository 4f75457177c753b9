"""The measurements: a model, records and comparisons in, results out, a timing after the other."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from immune_data.common import cli, processes, resumed
from immune_data.common.digests import sha256
from immune_data.common.errors import ImmuneError
from immune_train.bench_edge import bandwidth, incidents, results, weights
from immune_train.bench_edge.incidents import Asked
from immune_train.bench_edge.results import Results, Run
from immune_train.bench_edge.sides import Comparison, Side, in_turn, sides_of
from immune_train.bench_edge.timing import Timing, settings, timed
from immune_train.edge.engine import LocalModel

_WARM_UP = 64  # tokens


def measured(
    model: Path,
    condensed: Path,
    lines: Path | None,
    comparisons: Sequence[Comparison],
    *,
    rounds: range,
    threads: int,
    flash: bool,
    replay: bool,
    output: Path | None,
) -> Results:
    """Time what is compared, and keep each timing in `output` as soon as it is there.

    Raises:
        ImmuneError: a file is not what it should be, or the unfinished output is of another run.
    """
    if not model.is_file():
        raise ImmuneError(f"there is no model {model}")
    asked = incidents.read(condensed, lines)
    run = Run(
        model=model.name,
        model_sha256=sha256(model),
        model_bytes=model.stat().st_size,
        weight_bytes=weights.read_per_token(model),
        condensed_sha256=sha256(condensed),
        lines_sha256=sha256(lines) if lines else None,
        processor=processor(),
        threads=threads,
        flash=flash,
        replay=replay,
        version=cli.version(),
    )
    with cli.progress() as report, _kept(output, run) as (made, keep):
        done = {(one.round, one.side) for one in made}
        for timing in _timings(model, asked, comparisons, run, rounds, done, report):
            keep(timing)
            made.append(timing)
    return Results(run, tuple(made))


@contextmanager
def _kept(
    output: Path | None, run: Run
) -> Iterator[tuple[list[Timing], Callable[[Timing], object]]]:
    """The timings that are there already, and what keeps another one; nothing without an output."""
    if output is None:
        yield [], lambda _: None
        return
    with resumed.rows(output, asdict(run), with_run=True) as (done, file):

        def keep(timing: Timing) -> None:
            file.write(results.line(timing))
            file.flush()

        yield [results.timing(row) for row in done], keep


def _timings(
    model: Path,
    asked: Sequence[Asked],
    comparisons: Sequence[Comparison],
    run: Run,
    rounds: range,
    done: set[tuple[int, str]],
    say: Callable[[str], None],
) -> Iterator[Timing]:
    """Each side of each round, but for those that are done.

    A round is one incident, answered once in each way; the ways begin in turn, so that no ratio
    depends on when the machine had other things to do. Where there are fewer incidents than
    rounds, they come again.

    Raises:
        ImmuneError: a prompt and its answer go beyond the model's positions, or the file is none.
    """
    sides = sides_of(comparisons)
    left = [
        (number, side)
        for number in rounds
        for side in in_turn(sides, number)
        if (number, side.name) not in done
    ]
    if not left:
        return
    # In a process of its own: what it reads is no memory that the model takes.
    bytes_per_second = processes.apart(bandwidth.measured, run.threads)
    loaded = LocalModel(model, _context(asked, sides), threads=run.threads, flash=run.flash)
    first = asked[0].questions["condensed"][0]
    loaded.answer(first.ids[:_WARM_UP], 2, exactly=True)  # reads the file, so that nothing waits
    for i, (number, side) in enumerate(left, 1):
        made = timed(
            loaded,
            asked[number % len(asked)],
            side,
            number=number,
            replay=run.replay,
            bytes_per_second=bytes_per_second,
        )
        say(f"{i}/{len(left)} round {number + 1}, {side.name}: {made.seconds:.1f} s")
        yield made


def _context(asked: Sequence[Asked], sides: Sequence[Side]) -> int:
    """The tokens of the longest prompt and its answer."""
    return max(
        len(question.ids) + settings(side).limit(question)
        for one in asked
        for side in sides
        for question in one.questions[side.evidence]
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
