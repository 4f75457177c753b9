"""Answers that take no model: the records that are asked in, an answer to each out.

A level that is said of every incident shows what agreeing is worth, and the gravest bullets of the
evidence what summarising is worth. They are answers like any other: they can be given to a judge.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from immune_data.contract import answer_fields, evidence
from immune_train.score.answers import Case, Cases

EXTRACT = "extract"
LEVELS = tuple(level.capitalize() for level in answer_fields.LEVELS["risk_level"])

_BULLETS, _VALUES = 5, 3
_HEADER = re.compile(r"(?:Incident|Source IP|Timeline|Threat Level):")
_FOOTER = re.compile(r"(?:Total Evidence|Severity breakdown):")
_RULE = "=" * 60

# The other two levels of an answer that says a risk level of every incident.
_LIKELIHOOD = {"Critical": "High", "High": "High", "Medium": "Medium", "Low": "Low"}
_PRIORITY = {"Critical": "Immediate", "High": "High", "Medium": "Medium", "Low": "Low"}


def constant_name(level: str) -> str:
    return f"constant-{level.lower()}"


NAMES = (*(constant_name(level) for level in LEVELS), EXTRACT)


def constant(level: str) -> str:
    """A risk answer of the documented structure that fits every incident as well as any."""
    return (
        f"**Risk Level:** {level}\n\n"
        "**Justification:** This level is given to every incident.\n\n"
        "**Business Impact:** Not assessed.\n\n"
        f"**Likelihood of Malicious Activity:** {_LIKELIHOOD[level]} - as for every incident.\n\n"
        f"**Investigation Priority:** {_PRIORITY[level]} - as for every incident."
    )


def extract(shown: str) -> str:
    """A summary of the documented structure: the header, the gravest bullets, the totals."""
    read = evidence.read(shown)
    bullets = read.bullets(_VALUES)
    header = [line for line in read.before if _HEADER.match(line)]
    footer = [line for line in read.after if _FOOTER.match(line)]
    if not footer:  # the evidence was cut before its end
        counts: Counter[str] = Counter()
        for group in read.groups:
            counts[group.severity] += group.events
        said = ", ".join(
            f"{severity.capitalize()}: {counts[severity]}"
            for severity in sorted(counts, key=evidence.gravity)
        )
        footer = [f"Total Evidence: {counts.total()} events", f"Severity breakdown: {said}"]
    return "\n".join([_RULE, *header, "", *bullets[:_BULLETS], "", *footer])


def answers(reference: Cases) -> dict[str, Cases]:
    """Each baseline's answers to the records of its task."""
    made: dict[str, Cases] = {}
    for level in LEVELS:
        said = constant(level)
        made[constant_name(level)] = {
            key: Case("risk", said, case.reference, case.shown, "stop")
            for key, case in reference.items()
            if case.task == "risk"
        }
    made[EXTRACT] = {
        key: Case("summary", extract(case.shown[-1]), case.reference, case.shown, "stop")
        for key, case in reference.items()
        if case.task == "summary"
    }
    return {name: of for name, of in made.items() if of}


@dataclass(frozen=True)
class MostFrequent:
    """The level that most risk answers of train give."""

    level: str
    answers: int
    of: int


def most_frequent(train: Iterable[Case]) -> MostFrequent | None:
    """The most frequent level of train; the graver one of equals; None where none is given."""
    said = [
        answer_fields.parse("risk", case.answer).fields["risk_level"]
        for case in train
        if case.task == "risk"
    ]
    counts = Counter(level for level in said if level)
    if not counts:
        return None
    level = max(LEVELS, key=lambda one: (counts[one], -LEVELS.index(one)))
    return MostFrequent(level, counts[level], len(said))
