"""The lines in which evidence states its totals, which a summary is asked to copy (rule 14)."""

from __future__ import annotations

import re

OF_EVIDENCE = (
    re.compile(r"^Total Evidence: \d{1,18} events$", re.ASCII | re.MULTILINE),
    re.compile(r"^Severity breakdown: \w+: \d{1,18}(?:, \w+: \d{1,18})*$", re.ASCII | re.MULTILINE),
)


def closing_lines(evidence: str) -> tuple[str, ...]:
    """The lines in which evidence states its totals: the last one of each kind, if any."""
    matches_by_line = (list(line.finditer(evidence)) for line in OF_EVIDENCE)
    return tuple(matches[-1][0] for matches in matches_by_line if matches)
