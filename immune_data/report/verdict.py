"""Whether a dataset is fit to train on: its facts, audit included, in; one sentence's parts out."""

from __future__ import annotations

from dataclasses import dataclass

from immune_data.common.text import counted
from immune_data.report.facts import Facts


@dataclass(frozen=True)
class Verdict:
    """Yes or no, why, and the checks that say so, each with the number of its rows."""

    fit: bool
    because: str
    checks: tuple[tuple[str, str], ...] = ()


def of(facts: Facts) -> Verdict:
    """No where a check finds an error, or where there is nothing to train on."""
    if not facts.overview["train_records"]:
        return Verdict(False, "because it has no train record")
    errors, warnings = (
        [one.result for one in facts.audit if one.result.failed and one.result.check.severity == of]
        for of in ("error", "warn")
    )
    if errors:
        found = tuple((one.check.name, counted(one.rows, "row")) for one in errors)
        finds = "finds" if len(errors) == 1 else "find"
        return Verdict(False, f"because {counted(len(errors), 'check')} {finds} errors", found)
    because = f"because none of {counted(len(facts.audit), 'check')} finds an error"
    if warnings:
        found = tuple((one.check.name, counted(one.rows, "row")) for one in warnings)
        gives = "gives a warning" if len(warnings) == 1 else "give warnings"
        return Verdict(True, f"{because}; {counted(len(warnings), 'check')} {gives}", found)
    return Verdict(True, because)
