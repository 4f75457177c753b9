"""Risk levels compared with the truth: risk answers in, confusion tables and costs out."""

from __future__ import annotations

import math
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from immune_data.common import textfile
from immune_data.common.errors import ImmuneError
from immune_data.contract import answer_fields
from immune_train.evaluate.baselines import LEVELS, constant_name
from immune_train.evaluate.candidates import Candidate
from immune_train.evaluate.incidents import CATEGORIES, Facts
from immune_train.evaluate.resampling import Estimate, Resamples
from immune_train.evaluate.scores import LEAST_GROUPS, LEAST_INCIDENTS
from immune_train.score.answers import Cases
from immune_train.score.intervals import wilson

NONE = "none"
GIVEN = (*LEVELS, NONE)
LIKELIHOODS = (*(level.capitalize() for level in answer_fields.LEVELS["likelihood"]), NONE)
ALARMS = ("Critical", "High")

Costs = dict[str, dict[str, dict[str, float]]]  # compared with what, its value, the level given
_ROWS = {"category": CATEGORIES, "reference": LEVELS}


@dataclass(frozen=True)
class Share:
    """`k` of `n`; below 20 there is no estimate."""

    k: int
    n: int
    estimate: Estimate | None


@dataclass(frozen=True)
class Levels:
    """A candidate's risk answers: the levels it gave, by the correct ones, and their costs.

    `by_*` contain, for each row, how often each level was given, in the order of `GIVEN` or
    `LIKELIHOODS`. Costs are means over incidents.
    """

    candidate: str
    by_category: dict[str, tuple[int, ...]]
    by_reference: dict[str, tuple[int, ...]]
    likelihood_by_category: dict[str, tuple[int, ...]]
    false_alarms: Share  # Critical or High of a Normal incident
    missed: Share  # Low, or no level, of a Malware incident
    cost_by_category: Estimate | None
    cost_by_reference: Estimate | None
    over_constant: Estimate | None  # cost minus that of the best constant, by category


@dataclass(frozen=True)
class LevelComparison:
    """The risk levels of all candidates; `best_constant` is the constant with the lowest cost."""

    levels: tuple[Levels, ...]
    best_constant: str | None


def read_costs(path: Path | None) -> Costs:
    """The shipped costs, overridden by those of a file.

    Raises:
        ImmuneError: the file is not TOML, or contains an unknown name.
    """
    text = files("immune_train.evaluate").joinpath("costs.toml").read_text(encoding="utf-8")
    costs: Costs = tomllib.loads(text)
    if path is None:
        return costs
    try:
        overrides = tomllib.loads(textfile.read(path))
    except tomllib.TOMLDecodeError as error:
        raise ImmuneError(f"{path} is not TOML: {error}") from None
    for against, rows in overrides.items():
        for row, levels in _table(rows, f"{against} in {path}").items():
            if row not in _ROWS.get(against, ()):
                tables = ", ".join(f"[{a}.{r}]" for a, names in _ROWS.items() for r in names)
                raise ImmuneError(f"{path} has [{against}.{row}]: use one of {tables}")
            for level, cost in _table(levels, f"{against}.{row} in {path}").items():
                number = isinstance(cost, int | float) and not isinstance(cost, bool)
                if level not in GIVEN or not number or not math.isfinite(cost) or cost < 0:
                    raise ImmuneError(
                        f"{path} has {level} = {cost} in [{against}.{row}]: the name should be "
                        f"one of {', '.join(GIVEN)}, and the value a number from 0"
                    )
                costs[against][row][level] = float(cost)
    return costs


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ImmuneError(f"{where} should be a table, as in [category.Normal]")
    return value


def compare(
    candidates: Sequence[Candidate], reference: Cases, facts: Mapping[str, Facts], costs: Costs
) -> LevelComparison:
    """The risk levels of every candidate with risk answers."""
    incidents = [incident for incident, task in reference if task == "risk"]
    truth = {
        incident: _fields(reference[incident, "risk"].answer)["risk_level"]
        for incident in incidents
    }
    judged_candidates = [candidate for candidate in candidates if "risk" in candidate.tasks()]
    answers_by_name = {
        candidate.name: _answers_of(candidate, incidents) for candidate in judged_candidates
    }
    category = {
        incident: str(facts[incident].category)
        for incident in incidents
        if facts[incident].category in CATEGORIES
    }
    reference_levels = {incident: level for incident, level in truth.items() if level is not None}
    constants = {
        constant_name(level): sum(costs["category"][row][level] for row in category.values())
        for level in reversed(LEVELS)  # if equal, the least grave is the best
    }
    best = min(constants, key=constants.__getitem__) if category else None
    levels_found = []
    for candidate in judged_candidates:
        risks = {incident: risk for incident, (risk, _) in answers_by_name[candidate.name].items()}
        likelihood = {
            incident: value for incident, (_, value) in answers_by_name[candidate.name].items()
        }
        normal = [risks[incident] for incident, row in category.items() if row == "Normal"]
        malware = [risks[incident] for incident, row in category.items() if row == "Malware"]
        incident_costs = _costs_of(category, risks, costs["category"])
        constant_costs = [costs["category"][row][_level_of(best)] for row in category.values()]
        levels_found.append(
            Levels(
                candidate.name,
                _counts(CATEGORIES, category, risks, GIVEN),
                _counts(LEVELS, reference_levels, risks, GIVEN),
                _counts(CATEGORIES, category, likelihood, LIKELIHOODS),
                _share(sum(risk in ALARMS for risk in normal), len(normal)),
                _share(sum(risk in ("Low", NONE) for risk in malware), len(malware)),
                _mean(incident_costs, category, facts),
                # Compared with itself, the reference trivially costs nothing.
                None
                if candidate.kind == "reference"
                else _mean(
                    _costs_of(reference_levels, risks, costs["reference"]), reference_levels, facts
                ),
                None
                if candidate.kind == "baseline"
                else _mean(
                    [cost - of for cost, of in zip(incident_costs, constant_costs, strict=True)],
                    category,
                    facts,
                ),
            )
        )
    return LevelComparison(tuple(levels_found), best)


def _answers_of(candidate: Candidate, incidents: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A candidate's risk level and likelihood for each incident."""
    levels = {}
    for incident in incidents:
        case = candidate.answers[incident, "risk"]
        fields = _fields("" if case.failed else case.answer)
        levels[incident] = fields["risk_level"] or NONE, fields["likelihood"] or NONE
    return levels


def _level_of(constant: str | None) -> str:
    return next((level for level in LEVELS if constant_name(level) == constant), NONE)


def _fields(answer: str) -> dict[str, Any]:
    return answer_fields.parse("risk", answer).fields


def _counts(
    rows: Sequence[str],
    row_of: Mapping[str, str],
    levels: Mapping[str, str],
    columns: Sequence[str],
) -> dict[str, tuple[int, ...]]:
    counts = Counter((row, levels[incident]) for incident, row in row_of.items())
    return {row: tuple(counts[row, column] for column in columns) for row in rows}


def _share(k: int, n: int) -> Share:
    return Share(k, n, Estimate(k / n, *wilson(k, n)) if n >= LEAST_INCIDENTS else None)


def _costs_of(
    row_of: Mapping[str, str], levels: Mapping[str, str], costs: Mapping[str, Mapping[str, float]]
) -> list[float]:
    return [costs[row][levels[incident]] for incident, row in row_of.items()]


def _mean(
    values: Sequence[float], incidents: Iterable[str], facts: Mapping[str, Facts]
) -> Estimate | None:
    """The mean cost per incident; None if there are too few incidents."""
    groups = [facts[incident].group for incident in incidents]
    if len(groups) < LEAST_INCIDENTS or len(set(groups)) < LEAST_GROUPS:
        return None
    resamples = Resamples(groups)
    return resamples.estimate(resamples.means(np.array(values, dtype=float)))
