"""The closing note of `judge`, for a reader or as JSON."""

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
from immune_data.judge.report import Judging, TaskReport
from immune_data.judge.verdicts import Verdicts


def show(
    report: Report,
    verdicts: Verdicts,
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
            "verdicts": len(verdicts.rows),
            "without_verdict": len(verdicts.without),
            "calls": verdicts.calls,
            "calls_left_out": verdicts.left_out,
            "rejected_calls": dict(sorted(verdicts.reasons.items())),
            "rejected_rows": rows,
            "still_open": verdicts.open,
            **judging.as_dictionary(),
            "output": str(file),
        }
        print(json.dumps(content, indent=2))
        return
    names = sorted({name for task in judging.tasks for name in task.means})
    if names:
        columns = [f"{task.task}: {word}" for task in judging.tasks for word in ("mean", "best")]
        show_table(
            f"{counted(len(verdicts.rows), 'verdict')} from {counted(verdicts.calls, 'call')}",
            ["candidate", *columns],
            [
                [name, *(cell for task in judging.tasks for cell in _cells(task, name))]
                for name in names
            ],
        )
    if verdicts.reasons:
        reasons = sorted(verdicts.reasons.items())
        show_table("calls without an answer", ["reason", "calls"], reasons)
    if rows:
        show_table("not judged", ["reason", "rows"], sorted(rows.items()))
    for line in sentences(verdicts, judging):
        print(one_line(line))
    print_sent(report)
    print(one_line(f"wrote {file}"))


def _cells(task: TaskReport, name: str) -> tuple[float | None, int | None]:
    if name not in task.means:
        return None, None
    return round(task.means[name], 2), task.best.get(name, 0)


def sentences(verdicts: Verdicts, judging: Judging) -> Iterator[str]:
    """What the verdicts say of the judge, in words."""
    for task in judging.tasks:
        yield from _of_task(task, is_balanced=judging.is_balanced)
    if verdicts.left_out:
        yield (
            f"{counted(verdicts.left_out, 'call')} not counted, since another call of the same "
            "round gave no answer"
        )
    if verdicts.without:
        yield f"{counted(len(verdicts.without), 'incident')} without a verdict"
    number = judging.addressing.total()
    if number:
        by_name = ", ".join(
            f"{count:,} by {name}" for name, count in judging.addressing.most_common()
        )
        yield f"{counted(number, 'answer')} of {judging.answers:,} address the judge ({by_name})"
    if judging.evidence_addressing:
        yield f"evidence that addresses a model: {counted(judging.evidence_addressing, 'incident')}"


def _of_task(task: TaskReport, *, is_balanced: bool) -> Iterator[str]:
    if task.first is not None:
        effect = (
            "every answer was in every place equally often, so the verdicts are free of it"
            if is_balanced
            else "answers were not in every place equally often, so it biases the verdicts"
        )
        gains = task.first.low > 0 or task.first.high < 0
        yield (
            f"{task.task}: the first place is worth {_signed(task.first)}"
            + (f"; {effect}" if gains else ", which may be nothing")
        )
    if task.noise is not None:
        deviation = task.noise.deviation
        yield (
            f"{task.task}: asked again, the judge gives a score that differs by a standard "
            f"deviation of {deviation.value:.2f} ({deviation.low:.2f} to {deviation.high:.2f}; "
            f"{task.noise.freedom:,} degrees of freedom)"
        )
    if task.length is not None:
        yield f"{task.task}: twice the length is worth {_signed(task.length)}"
    if (again := task.again) is not None:
        kept = again.kept / again.incidents
        correlation = "" if again.correlation is None else f", correlation {again.correlation:.2f}"
        yield (
            f"{task.task}: judged again, {again.changed:,} of {again.scores:,} scores changed "
            f"({again.changed / again.scores:.0%}), and the best answer stayed the same in "
            f"{again.kept:,} of {again.incidents:,} incidents ({kept:.0%}){correlation}"
        )


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.2f} points ({estimate.low:+.2f} to {estimate.high:+.2f})"
