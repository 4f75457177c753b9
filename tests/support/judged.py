"""Verdicts with the calls behind them, in both documented formats, by a judge of known manners.

    row = judged(summary_verdict("a", {"gpt-4o": 7, "gpt-4o-mini": 6}), random.Random(1))

A verdict in; the same out with the means of calls in which every answer has every place once.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from immune_data.contract import agreement
from immune_data.contract.agreement import Call

CRITERIA = {
    "cause_scores": ("evidence_grounding", "cause_specificity", "alternative_hypotheses"),
    "risk_scores": ("risk_calibration", "actionability", "business_impact"),
}


def judged(
    row: Mapping[str, Any], chance: random.Random, *, noise: float = 1.0, first: float = 0.0
) -> dict[str, Any]:
    """What a judge says that thinks of the answers what the row says.

    `noise` is the standard deviation of each criterion, `first` what the first place adds to it.
    """
    models = list(row.get("scores") or row["cause_scores"])
    calls = []
    for shift in range(len(models)):
        order = models[shift:] + models[:shift]

        def said(worth: float, model: str, order: Sequence[str] = order) -> int:
            favour = first if model == order[0] else 0
            return min(10, max(0, round(worth + favour + chance.gauss(0, noise))))

        call: dict[str, Any] = {"order": order}
        if "scores" in row:
            call["scores"] = {name: said(row["scores"][name], name) for name in order}
        else:
            for key, criteria in CRITERIA.items():
                call[key] = {}
                for name in order:
                    of = {one: said(row[key][name]["total"] / 3, name) for one in criteria}
                    call[key][name] = {**of, "total": sum(of.values())}
        calls.append(call)
    return with_calls(row, calls)


def with_calls(row: Mapping[str, Any], calls: list[dict[str, Any]]) -> dict[str, Any]:
    """The verdict that calls come to: their means, and the spread of each answer's scores."""
    found: dict[str, Any] = {**row, "calls": calls}
    spread = {}
    for key in ("scores", "cause_scores", "risk_scores"):
        if key not in row:
            continue
        models = dict.fromkeys(
            name for name in row[key] if any(name in call[key] for call in calls)
        )
        found[key] = {
            name: _mean([call[key][name] for call in calls if name in call[key]]) for name in models
        }
        of = [
            Call(call["order"], {name: _total(said) for name, said in call[key].items()})
            for call in calls
        ]
        spread[key] = agreement.spread(of, [0.0] * len(models))
    sums = {name: sum(_total(found[key][name]) for key in spread) for name in models}
    ranked = sorted(sums, key=lambda name: -sums[name])
    found["rankings"] = {str(place): name for place, name in enumerate(ranked, start=1)}
    if "scores" in spread:
        found["spread"] = spread["scores"]
    else:
        found["spread"] = {"cause": spread["cause_scores"], "risk": spread["risk_scores"]}
    return found


def _mean(said: list[Any]) -> Any:
    if isinstance(said[0], dict):
        return {part: sum(one[part] for one in said) / len(said) for part in said[0]}
    return sum(said) / len(said)


def _total(said: Any) -> float:
    return said["total"] if isinstance(said, dict) else said
