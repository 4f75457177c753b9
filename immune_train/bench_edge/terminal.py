"""A summary for a terminal: its two tables, and what they do not say in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from immune_data.common import table
from immune_data.common.text import counted
from immune_train.bench_edge.sides import PAIRS
from immune_train.bench_edge.summary import Ratio, Summary

_SIDES = (
    *("side", "incidents", "read", "read/s", "written", "written/s"),
    *("first s", "incident s", "step ms", "× floor"),
)
_COMPARISONS = ("comparison", "pairs", "median of pairs", "of all seconds")


def show(of: Summary) -> None:
    run = of.run
    title = (
        f"{run.model}: {run.model_bytes / 1e6:,.0f} MB, {of.peak_bytes / 1e6:,.0f} MB at most in"
        f" memory, {counted(run.threads, 'thread')} of {run.processor};"
        " tokens and seconds are means"
    )
    sides = [
        [
            one.side,
            one.incidents,
            round(one.read_tokens),
            round(one.read_per_second, 1),
            round(one.written_tokens),
            round(one.written_per_second, 1),
            round(one.first_token_seconds, 2),
            round(one.seconds, 2),
            round(one.step_seconds * 1000, 1),
            round(one.times_floor, 2),
        ]
        for one in of.sides
    ]
    table.show(title, _SIDES, sides)
    comparisons = [
        [one.title, one.pairs, _said(one.median), _said(one.total)] for one in of.comparisons
    ]
    if comparisons:
        table.show(
            "Seconds of an incident as a ratio, with 95% intervals", _COMPARISONS, comparisons
        )
    for line in _sentences(of):
        print(line)


def _said(ratio: Ratio) -> str:
    return f"{ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"


def _sentences(of: Summary) -> Iterator[str]:
    run = of.run
    if of.sides:
        yield (
            f"floor: a step reads {run.weight_bytes / 1e6:,.0f} MB of weights, which takes"
            f" {of.sides[0].floor_seconds * 1000:.1f} ms at {of.bytes_per_second / 1e9:.1f} GB/s"
            f" ({of.bandwidth_method})"
        )
    if run.replay:
        yield "answers: those of the records, whatever the model would choose"
    for side in of.sides:
        if side.drafted_tokens:
            yield (
                f"{side.side}: {side.accepted_tokens / side.drafted_tokens:.0%} of"
                f" {side.drafted_tokens:,.0f} drafted tokens an incident accepted"
            )
    for one in of.comparisons:
        if one.agreement:
            alike = one.agreement
            yield (
                f"{one.name}: {alike.equal} of {counted(alike.answers, 'answer')} are the same,"
                f" and {alike.equal_tokens / max(1, alike.tokens):.1%} of their tokens before the"
                " first difference"
            )
    if few := [one.name for one in of.comparisons if one.pairs < PAIRS]:
        yield f"a first look: fewer than {PAIRS} pairs of {', '.join(few)}"
