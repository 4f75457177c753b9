"""The scales of judges: the criteria that a score of each task is the sum of."""

from __future__ import annotations

# The criteria of a task, each scored from 0 to 10, whose sum is its total; a summary has one score.
SUB_SCORES: dict[str, tuple[str, ...]] = {
    "summary": (),
    "cause": ("evidence_grounding", "cause_specificity", "alternative_hypotheses"),
    "risk": ("risk_calibration", "actionability", "business_impact"),
}
