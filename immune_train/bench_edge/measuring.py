"""The measurements: a model, incidents and comparisons in, a timing after the other out."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from immune_data.common import processes
from immune_train.bench_edge import bandwidth
from immune_train.bench_edge.incidents import Asked
from immune_train.bench_edge.sides import Comparison, Side, in_turn, sides_of
from immune_train.bench_edge.timing import Timing, settings, timed
from immune_train.edge.engine import LocalModel

_WARM_UP = 64  # tokens


def timings(
    model: Path,
    incidents: Sequence[Asked],
    comparisons: Sequence[Comparison],
    *,
    rounds: range,
    threads: int,
    flash: bool,
    replay: bool,
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
    bytes_per_second = processes.apart(bandwidth.measured, threads)
    loaded = LocalModel(model, _context(incidents, sides), threads=threads, flash=flash)
    first = incidents[0].questions["condensed"][0]
    loaded.answer(first.ids[:_WARM_UP], 2, exactly=True)  # reads the file, so that nothing waits
    for i, (number, side) in enumerate(left, 1):
        made = timed(
            loaded,
            incidents[number % len(incidents)],
            side,
            number=number,
            replay=replay,
            bytes_per_second=bytes_per_second,
        )
        say(f"{i}/{len(left)} round {number + 1}, {side.name}: {made.seconds:.1f} s")
        yield made


def _context(incidents: Sequence[Asked], sides: Sequence[Side]) -> int:
    """The tokens of the longest prompt and its answer."""
    return max(
        len(question.ids) + settings(side).limit(question)
        for asked in incidents
        for side in sides
        for question in asked.questions[side.evidence]
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
