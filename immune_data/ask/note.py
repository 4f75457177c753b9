"""What every command that asks models prints: what it would take and what came of it, or JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from immune_data.ask import plan
from immune_data.ask.asking import Report
from immune_data.ask.plan import Plan
from immune_data.common.text import counted, one_line


def show_plan(planned: Plan, *, as_json: bool) -> None:
    """Print what would be asked."""
    if as_json:
        print(json.dumps(plan.as_dictionary(planned), indent=2))
    else:
        plan.print_tables(planned)


def show_shard(
    report: Report, still_open: int, store: Path, shard: tuple[int, int], *, as_json: bool
) -> None:
    """Print what came of one part of the incidents."""
    if as_json:
        print(json.dumps({"asked": asdict(report), "still_open": still_open}, indent=2))
        return
    print_sent(report)
    print(one_line(f"part {shard[0]} of {shard[1]} is in {store}: merge the parts with `ask`"))


def print_sent(report: Report) -> None:
    """Print what was sent and what came of it."""
    cost = f", for {report.cost:,.4f}" if report.cost else ""
    failed = sum(report.failures.values())
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(report.failures.items()))
    sent = f"sent {counted(report.sent, 'request')}{cost}: {counted(report.answered, 'answer')}"
    print(one_line(sent + (f" and {counted(failed, 'failure')} ({reasons})" if failed else "")))
