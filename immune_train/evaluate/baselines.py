"""Baselines, which need no model: the records that are asked in, an answer to each out.

The same level for every incident shows what agreement is worth, and the gravest bullets of the
evidence show what summarising is worth. They are answers like any other, and can be judged.
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

# The other two levels of an answer with a constant risk level.
_LIKELIHOOD = {"Critical": "High", "High": "High", "Medium": "Medium", "Low": "Low"}
_PRIORITY = {"Critical": "Immediate", "High": "High", "Medium": "Medium", "Low": "Low"}


def constant_name(level: str) -> str:
    return f"constant-{level.lower()}"


NAMES = (*(constant_name(level) for level in LEVELS), EXTRACT)


def constant(level: str) -> str:
    """A risk answer with the documented structure that does not depend on the incident."""
    return (
        f"**Risk Level:** {level}\n\n"
        "**Justification:** This level is given to every incident.\n\n"
        "**Business Impact:** Not assessed.\n\n"
        f"**Likelihood of Malicious Activity:** {_LIKELIHOOD[level]} - as for every incident.\n\n"
        f"**Investigation Priority:** {_PRIORITY[level]} - as for every incident."
    )


def extract(text: str) -> str:
    """A summary with the documented structure: the header, the gravest bullets, the totals."""
    parsed = evidence.read(text)
    bullets = parsed.bullets(_VALUES)
    header = [line for line in parsed.before if _HEADER.match(line)]
    footer = [line for line in parsed.after if _FOOTER.match(line)]
    if not footer:  # the evidence was cut before its end
        counts: Counter[str] = Counter()
        for group in parsed.groups:
            counts[group.severity] += group.events
        breakdown = ", ".join(
            f"{severity.capitalize()}: {counts[severity]}"
            for severity in sorted(counts, key=evidence.gravity)
        )
        footer = [f"Total Evidence: {counts.total()} events", f"Severity breakdown: {breakdown}"]
    return "\n".join([_RULE, *header, "", *bullets[:_BULLETS], "", *footer])


def answers(reference: Cases) -> dict[str, Cases]:
    """Each baseline's answers to the records of its task."""
    answers_by_name: dict[str, Cases] = {}
    for level in LEVELS:
        text = constant(level)
        answers_by_name[constant_name(level)] = {
            key: Case("risk", text, case.reference, case.shown, "stop")
            for key, case in reference.items()
            if case.task == "risk"
        }
    answers_by_name[EXTRACT] = {
        key: Case("summary", extract(case.shown[-1]), case.reference, case.shown, "stop")
        for key, case in reference.items()
        if case.task == "summary"
    }
    return {name: answers_of for name, answers_of in answers_by_name.items() if answers_of}


@dataclass(frozen=True)
class MostFrequent:
    """The most frequent level of the risk answers in train."""

    level: str
    answers: int
    of: int


def most_frequent(train: Iterable[Case]) -> MostFrequent | None:
    """The most frequent level in train; if equal, the graver one; None if there is no level."""
    levels = [
        answer_fields.parse("risk", case.answer).fields["risk_level"]
        for case in train
        if case.task == "risk"
    ]
    counts = Counter(level for level in levels if level)
    if not counts:
        return None
    level = max(LEVELS, key=lambda name: (counts[name], -LEVELS.index(name)))
    return MostFrequent(level, counts[level], len(levels))
