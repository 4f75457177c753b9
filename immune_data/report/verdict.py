"""Whether a dataset is fit to train on: its facts, with the audit, in; the verdict's words out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from immune_data.audit.checks import Result
from immune_data.common.text import counted
from immune_data.report.facts import Facts


@dataclass(frozen=True)
class Verdict:
    """Yes or no, the reason, and the checks that it is based on, each with its number of rows."""

    fit: bool
    because: str
    checks: tuple[tuple[str, str], ...] = ()


def of(facts: Facts) -> Verdict:
    """The verdict: no if a check finds an error, or if there is nothing to train on."""
    if not facts.overview["train_records"]:
        return Verdict(False, "because it has no train record")
    errors, warnings = (
        [
            offence.result
            for offence in facts.audit
            if offence.result.failed and offence.result.check.severity == severity
        ]
        for severity in ("error", "warn")
    )
    if errors:
        finds = "finds" if len(errors) == 1 else "find"
        because = f"because {counted(len(errors), 'check')} {finds} errors"
        return Verdict(False, because, _rows(errors))
    because = f"because none of {counted(len(facts.audit), 'check')} finds an error"
    if warnings:
        gives = "gives a warning" if len(warnings) == 1 else "give warnings"
        because = f"{because}; {counted(len(warnings), 'check')} {gives}"
        return Verdict(True, because, _rows(warnings))
    return Verdict(True, because)


def _rows(results: Iterable[Result]) -> tuple[tuple[str, str], ...]:
    return tuple((result.check.name, counted(result.rows, "row")) for result in results)
