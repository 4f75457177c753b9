"""Risk levels against what happened: risk answers in, tables of confusion and their cost out."""

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

Costs = dict[str, dict[str, dict[str, float]]]  # against what, its value, the level given
_ROWS = {"category": CATEGORIES, "reference": LEVELS}


@dataclass(frozen=True)
class Share:
    """So many of so many; below 20 there is no estimate."""

    k: int
    n: int
    estimate: Estimate | None


@dataclass(frozen=True)
class Levels:
    """A candidate's risk answers: each level it gave by what it should be, and what that costs.

    `by_*` hold, for each row, how often each level was given, in the order of `GIVEN`, or of
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
    over_constant: Estimate | None  # what it costs more than the best constant, by category


@dataclass(frozen=True)
class Compared:
    """The risk levels of all candidates; `best_constant` is the one that costs least."""

    levels: tuple[Levels, ...]
    best_constant: str | None


def read_costs(path: Path | None) -> Costs:
    """The costs that are shipped, with those of a file in their place.

    Raises:
        ImmuneError: the file is not TOML, or names what there is not.
    """
    shipped = files("immune_train.evaluate").joinpath("costs.toml").read_text(encoding="utf-8")
    costs: Costs = tomllib.loads(shipped)
    if path is None:
        return costs
    try:
        given = tomllib.loads(textfile.read(path))
    except tomllib.TOMLDecodeError as error:
        raise ImmuneError(f"{path} is not TOML: {error}") from None
    for against, rows in given.items():
        for row, levels in _table(rows, f"{against} in {path}").items():
            if row not in _ROWS.get(against, ()):
                known = ", ".join(f"[{a}.{r}]" for a, of in _ROWS.items() for r in of)
                raise ImmuneError(f"{path} has [{against}.{row}]: costs are of {known}")
            for level, cost in _table(levels, f"{against}.{row} in {path}").items():
                number = isinstance(cost, int | float) and not isinstance(cost, bool)
                if level not in GIVEN or not number or not math.isfinite(cost) or cost < 0:
                    raise ImmuneError(
                        f"{path} has {level} = {cost} in [{against}.{row}]: it should be one of "
                        f"{', '.join(GIVEN)}, and a number from 0 on"
                    )
                costs[against][row][level] = float(cost)
    return costs


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ImmuneError(f"{where} should be a table, as in [category.Normal]")
    return value


def compare(
    candidates: Sequence[Candidate], reference: Cases, facts: Mapping[str, Facts], costs: Costs
) -> Compared:
    """The risk levels of every candidate that has risk answers."""
    incidents = [incident for incident, task in reference if task == "risk"]
    truth = {
        incident: _fields(reference[incident, "risk"].answer)["risk_level"]
        for incident in incidents
    }
    judged = [one for one in candidates if "risk" in one.tasks()]
    given = {one.name: _given(one, incidents) for one in judged}
    category = {
        incident: str(facts[incident].category)
        for incident in incidents
        if facts[incident].category in CATEGORIES
    }
    level = {incident: said for incident, said in truth.items() if said is not None}
    constants = {
        constant_name(one): sum(costs["category"][row][one] for row in category.values())
        for one in reversed(LEVELS)  # of equals, the least grave is the best
    }
    best = min(constants, key=constants.__getitem__) if category else None
    found = []
    for one in judged:
        said = {incident: risk for incident, (risk, _) in given[one.name].items()}
        likelihood = {incident: likely for incident, (_, likely) in given[one.name].items()}
        normal = [said[incident] for incident, row in category.items() if row == "Normal"]
        malware = [said[incident] for incident, row in category.items() if row == "Malware"]
        paid = _paid(category, said, costs["category"])
        least = [costs["category"][row][_level_of(best)] for row in category.values()]
        found.append(
            Levels(
                one.name,
                _counts(CATEGORIES, category, said, GIVEN),
                _counts(LEVELS, level, said, GIVEN),
                _counts(CATEGORIES, category, likelihood, LIKELIHOODS),
                _share(sum(risk in ALARMS for risk in normal), len(normal)),
                _share(sum(risk in ("Low", NONE) for risk in malware), len(malware)),
                _mean(paid, category, facts),
                # What the reference costs against itself is nothing, and says nothing.
                None
                if one.kind == "reference"
                else _mean(_paid(level, said, costs["reference"]), level, facts),
                None
                if one.kind == "baseline"
                else _mean(
                    [cost - of for cost, of in zip(paid, least, strict=True)], category, facts
                ),
            )
        )
    return Compared(tuple(found), best)


def _given(candidate: Candidate, incidents: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The risk level and the likelihood that a candidate gives each incident."""
    given = {}
    for incident in incidents:
        case = candidate.answers[incident, "risk"]
        fields = _fields("" if case.failed else case.answer)
        given[incident] = fields["risk_level"] or NONE, fields["likelihood"] or NONE
    return given


def _level_of(constant: str | None) -> str:
    return next((level for level in LEVELS if constant_name(level) == constant), NONE)


def _fields(answer: str) -> dict[str, Any]:
    return answer_fields.parse("risk", answer).fields


def _counts(
    rows: Sequence[str],
    row_of: Mapping[str, str],
    given: Mapping[str, str],
    columns: Sequence[str],
) -> dict[str, tuple[int, ...]]:
    found = Counter((row, given[incident]) for incident, row in row_of.items())
    return {row: tuple(found[row, column] for column in columns) for row in rows}


def _share(k: int, n: int) -> Share:
    return Share(k, n, Estimate(k / n, *wilson(k, n)) if n >= LEAST_INCIDENTS else None)


def _paid(
    row_of: Mapping[str, str], given: Mapping[str, str], costs: Mapping[str, Mapping[str, float]]
) -> list[float]:
    return [costs[row][given[incident]] for incident, row in row_of.items()]


def _mean(
    values: Sequence[float], incidents: Iterable[str], facts: Mapping[str, Facts]
) -> Estimate | None:
    """The mean of what each incident costs; None where there are too few to say."""
    groups = [facts[incident].group for incident in incidents]
    if len(groups) < LEAST_INCIDENTS or len(set(groups)) < LEAST_GROUPS:
        return None
    drawn = Resamples(groups)
    return drawn.estimate(drawn.means(np.array(values, dtype=float)))
