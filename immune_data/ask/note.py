"""What every command that asks says of it: what it would take, and what came, or as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from immune_data.ask import plan
from immune_data.ask.asking import Report
from immune_data.ask.plan import Plan
from immune_data.common.text import counted, one_line


def show_plan(made: Plan, *, as_json: bool) -> None:
    """Print what would be asked."""
    if as_json:
        print(json.dumps(plan.as_dictionary(made), indent=2))
    else:
        plan.say(made)


def show_shard(
    report: Report, left: int, store: Path, shard: tuple[int, int], *, as_json: bool
) -> None:
    """Print what became of a part."""
    if as_json:
        print(json.dumps({"asked": asdict(report), "still_open": left}, indent=2))
        return
    say_sent(report)
    print(one_line(f"part {shard[0]} of {shard[1]} is in {store}: merge the parts with `ask`"))


def say_sent(report: Report) -> None:
    """Print what was sent and what came of it."""
    cost = f", for {report.cost:,.4f}" if report.cost else ""
    failed = sum(report.failures.values())
    why = ", ".join(f"{number:,} {reason}" for reason, number in sorted(report.failures.items()))
    said = f"sent {counted(report.sent, 'request')}{cost}: {counted(report.answered, 'answer')}"
    print(one_line(said + (f" and {counted(failed, 'failure')} ({why})" if failed else "")))
