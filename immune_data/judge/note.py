"""The closing note of a judging, for a reader or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from immune_data.ask.asking import Report
from immune_data.ask.note import print_sent
from immune_data.common.table import show as show_table
from immune_data.common.text import counted, one_line
from immune_data.contract.agreement import Estimate
from immune_data.judge.report import Judging, OfTask
from immune_data.judge.verdicts import Verdicts


def show(
    report: Report,
    made: Verdicts,
    judging: Judging,
    rows: dict[str, int],
    file: Path,
    *,
    as_json: bool,
) -> None:
    """Print what was written, and what it says of the judge."""
    if as_json:
        content = {
            "asked": asdict(report),
            "verdicts": len(made.rows),
            "without_verdict": len(made.without),
            "calls": made.calls,
            "calls_left_out": made.left_out,
            "rejected_calls": dict(sorted(made.reasons.items())),
            "rejected_rows": rows,
            "still_open": made.open,
            **judging.as_dictionary(),
            "output": str(file),
        }
        print(json.dumps(content, indent=2))
        return
    names = sorted({name for one in judging.tasks for name in one.means})
    if names:
        columns = [f"{one.task}: {said}" for one in judging.tasks for said in ("mean", "best")]
        show_table(
            f"{counted(len(made.rows), 'verdict')} from {counted(made.calls, 'call')}",
            ["candidate", *columns],
            [[name, *(cell for one in judging.tasks for cell in _of(one, name))] for name in names],
        )
    if made.reasons:
        show_table("calls without an answer", ["reason", "calls"], sorted(made.reasons.items()))
    if rows:
        show_table("not judged", ["reason", "rows"], sorted(rows.items()))
    for line in sentences(made, judging):
        print(one_line(line))
    print_sent(report)
    print(one_line(f"wrote {file}"))


def _of(one: OfTask, name: str) -> tuple[float | None, int | None]:
    if name not in one.means:
        return None, None
    return round(one.means[name], 2), one.best.get(name, 0)


def sentences(made: Verdicts, judging: Judging) -> Iterator[str]:
    """What the verdicts say of the judge, in words."""
    for one in judging.tasks:
        yield from _of_task(one, is_balanced=judging.is_balanced)
    if made.left_out:
        yield (
            f"{counted(made.left_out, 'call')} not counted, since another of the same round gave "
            "no answer"
        )
    if made.without:
        yield f"{counted(len(made.without), 'incident')} without a verdict"
    number = judging.addressing.total()
    if number:
        by = ", ".join(f"{of:,} of {name}" for name, of in judging.addressing.most_common())
        yield f"{counted(number, 'answer')} of {judging.answers:,} address whoever judges ({by})"
    if judging.evidence_addressing:
        yield f"evidence that addresses a model: {counted(judging.evidence_addressing, 'incident')}"


def _of_task(one: OfTask, *, is_balanced: bool) -> Iterator[str]:
    if one.first is not None:
        carried = (
            "every answer stood in every place equally often, so that the verdicts do not carry it"
            if is_balanced
            else "answers did not stand in every place equally often, so that the verdicts carry it"
        )
        gains = one.first.low > 0 or one.first.high < 0
        yield (
            f"{one.task}: the first place is worth {_signed(one.first)}"
            + (f"; {carried}" if gains else ", which may be nothing")
        )
    if one.noise is not None:
        deviation = one.noise.deviation
        yield (
            f"{one.task}: asked again, a score differs by a standard deviation of "
            f"{deviation.value:.2f} ({deviation.low:.2f} to {deviation.high:.2f}; "
            f"{one.noise.freedom:,} degrees of freedom)"
        )
    if one.length is not None:
        yield f"{one.task}: twice the length is worth {_signed(one.length)}"
    if (again := one.again) is not None:
        kept = again.kept / again.incidents
        correlation = "" if again.correlation is None else f", correlation {again.correlation:.2f}"
        yield (
            f"{one.task}: judged again, {again.changed:,} of {again.scores:,} scores changed "
            f"({again.changed / again.scores:.0%}), and the best answer stayed the same in "
            f"{again.kept:,} of {again.incidents:,} incidents ({kept:.0%}){correlation}"
        )


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.2f} points ({estimate.low:+.2f} to {estimate.high:+.2f})"
