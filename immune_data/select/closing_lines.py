"""The closing lines of a summary (rule 14): the evidence's own, which a summary is asked to copy.

In: a summary and its evidence. Out: the summary, with the two lines in which the evidence states
its totals at its end, in place of its own, wherever they were.
"""

from __future__ import annotations

import re

from immune_data.contract.closing_lines import OF_EVIDENCE, closing_lines
from immune_data.contract.names import EVENT_TOTAL

_MARKS = r"[ \t*_#>•-]*"
_BREAKDOWN = r"(?:total |overall )?severity breakdown"
_CLOSING = re.compile(rf"{_MARKS}(?:{EVENT_TOTAL}|{_BREAKDOWN})\b[^\n]*", re.IGNORECASE)
# Above the events, "Total Events" is a fact in the header.
_CLOSING_ANYWHERE = re.compile(rf"{_MARKS}(?:total evidence|{_BREAKDOWN})\b[^\n]*", re.IGNORECASE)
_BULLET = re.compile(r"[ \t]*(?:[•*-]|\d+[.)])[ \t]")
_OPENS_LIST = re.compile(rf"{_MARKS}{_BREAKDOWN}\b[^\n\d]*", re.IGNORECASE)
# A line of nothing but severities with their numbers, as below the heading of a breakdown.
_COUNTS = re.compile(
    rf"{_MARKS}(?:\[?\b(?:critical|high|medium|low|info)\b\]?[\s*_:=(–-]*\d[\d,]*"
    r"(?: events?)?[\s*_),;.\]]*)+",
    re.IGNORECASE,
)


def with_closing_lines(summary: str, evidence: str) -> str:
    """The summary with the evidence's closing lines at its end, instead of its own.

    If one of them is missing from the evidence, the summary is not changed.
    """
    evidence_lines = closing_lines(evidence)
    if len(evidence_lines) < len(OF_EVIDENCE):
        return summary
    kept: list[str] = []
    in_list = has_events = False
    for line in summary.split("\n"):
        has_events = has_events or _BULLET.match(line) is not None
        if (_CLOSING if has_events else _CLOSING_ANYWHERE).fullmatch(line):
            in_list = _OPENS_LIST.fullmatch(line) is not None
        elif in_list and (_COUNTS.fullmatch(line) or not line.strip()):
            continue
        else:
            in_list = False
            kept.append(line)
    return "\n".join(["\n".join(kept).rstrip(), "", *evidence_lines]).lstrip("\n")
