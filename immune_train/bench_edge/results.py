"""What was measured, as it is kept: lines of JSON, the first of which says of what the others are.

The lines come one by one, so that a run that is cut off keeps what it has; the same run goes on
from there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from immune_data.common import textfile
from immune_data.common.errors import ImmuneError
from immune_train.bench_edge.timing import Timing


@dataclass(frozen=True)
class Run:
    """What timings are of.

    Attributes:
        weight_bytes: what a decoding step reads of the model.
        replay: whether answers were written that were given.
    """

    model: str
    model_sha256: str
    model_bytes: int
    weight_bytes: int
    condensed_sha256: str
    lines_sha256: str | None
    processor: str
    threads: int
    flash: bool
    replay: bool
    version: str


@dataclass(frozen=True)
class Results:
    """A run and its timings."""

    run: Run
    timings: tuple[Timing, ...]


def line(timing: Timing) -> bytes:
    return json.dumps(asdict(timing)).encode() + b"\n"


def read(path: Path) -> Results:
    """What was written, whether or not the run came to its end.

    Raises:
        ImmuneError: the file holds something else.
    """
    lines = textfile.read(path).split("\n")[:-1]  # what no line end follows was cut off
    try:
        first, *others = [json.loads(one) for one in lines]
        return Results(_made(Run, first), tuple(timing(one) for one in others))
    except (ValueError, TypeError):
        raise ImmuneError(
            f"{path} contains no timings: name a file that bench_edge --output wrote"
        ) from None


def together(paths: Sequence[Path]) -> Results:
    """What several runs have measured that shared the rounds of one.

    Raises:
        ImmuneError: a file holds something else, or what another one holds, or is of another run.
    """
    first, *others = [read(path) for path in paths]
    for path, other in zip(paths[1:], others, strict=True):
        if other.run != first.run:
            ours, theirs = asdict(first.run), asdict(other.run)
            differ = ", ".join(key for key in ours if ours[key] != theirs[key])
            raise ImmuneError(f"{paths[0]} and {path} are of runs with another {differ}")
    timings = [timing for one in (first, *others) for timing in one.timings]
    if len({(one.round, one.side) for one in timings}) < len(timings):
        raise ImmuneError("the files hold some rounds twice: give each run a --skip of its own")
    return Results(first.run, tuple(sorted(timings, key=lambda one: one.round)))


def timing(row: dict[str, Any]) -> Timing:
    return _made(Timing, row)


def _made(of: type, row: Any) -> Any:
    if not isinstance(row, dict) or set(row) != {field.name for field in fields(of)}:
        raise TypeError
    return of(**row)
