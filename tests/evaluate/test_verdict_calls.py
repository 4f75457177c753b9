"""Verdicts that are means over calls: the judge's noise is told, contradictions are refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evaluated import TASKS, World
from judged import judged

from immune_train.evaluate import __main__ as evaluate

pytestmark = pytest.mark.usefixtures("undrawn")

NAMES = ("reference", "tuned", "base")  # three: their means are thirds


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path / "world")
    for name in NAMES[1:]:
        made.answers(name, lambda _, task: TASKS[task])
    return made


def rows(world: World) -> list[dict[str, Any]]:
    """Verdicts on summaries of a judge whose noise has a standard deviation of 1."""
    means = dict(zip(NAMES, (6, 5.5, 4), strict=True))
    plain = world.summary_verdicts(lambda _, name: means[name], means)
    return [judged(row, world.random, first=0.5) for row in plain]


def of_causes_and_risks(world: World) -> list[dict[str, Any]]:
    chance = random.Random(1)
    totals = {name: {"total": 18 - 3 * i} for i, name in enumerate(NAMES)}
    return [
        judged({"incident_id": name, "cause_scores": totals, "risk_scores": totals}, chance)
        for name in world.names
    ]


def test_the_noise_of_a_judge_stands_beside_its_scores(world: World) -> None:
    given = rows(world)
    assert any(score % 1 for row in given for score in row["scores"].values())
    files = [
        world.verdicts("summary.json", given),
        world.verdicts("cause_risk.json", of_causes_and_risks(world)),
    ]
    assert evaluate.main(world.arguments("--verdicts", *files)) == 0
    out = world.folder / "out"
    told = json.loads((out / "evaluation.json").read_text())["verdicts"]
    assert told["summary"]["calls"] == 60 * 3
    for task, truth in (("summary", 1), ("cause", 3**0.5), ("risk", 3**0.5)):
        noise = told[task]["noise"]["deviation"]
        assert noise["low"] < truth < noise["high"] < 1.2 * truth
    noise = told["summary"]["noise"]["deviation"]
    said = f"standard deviation of {noise['value']:.2f} ({noise['low']:.2f} to {noise['high']:.2f})"
    assert said in (out / "evaluation.html").read_text()
    assert said in (out / "card_section.md").read_text()


def test_of_a_judge_that_was_asked_once_no_noise_is_known(world: World) -> None:
    once = [row | {"calls": None, "spread": None} for row in rows(world)]
    assert evaluate.main(world.arguments("--verdicts", world.verdicts("v.json", once))) == 0
    out = world.folder / "out"
    told = json.loads((out / "evaluation.json").read_text())["verdicts"]
    assert (told["summary"]["calls"], told["summary"]["noise"]) == (0, None)
    assert "noise is unknown" in (out / "evaluation.html").read_text()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda row: row.update(calls=4), "does not have the documented format"),
        (lambda row: row["calls"][0].pop("order"), "does not have the documented format"),
        (lambda row: row["scores"].update(base=0), "the mean of its calls"),
        (lambda row: row["calls"][1]["scores"].update(base=11), "call 2 of verdict 1 of"),
        (lambda row: row["calls"][1]["scores"].pop("base"), "and has no summary score for it"),
        (lambda row: row["calls"][1]["order"].append("base"), "call 2 shows base twice"),
        (lambda row: row["calls"][1]["scores"].update(gpt=3), "and does not show it"),
    ],
)
def test_a_verdict_that_its_calls_contradict_is_refused(
    refused: Callable[..., str], world: World, spoil: Callable[[dict[str, Any]], Any], says: str
) -> None:
    given = rows(world)
    spoil(given[0])
    verdicts = world.verdicts("verdicts.json", given)
    assert says in refused(evaluate.main, *world.arguments("--verdicts", verdicts))


def test_equal_sums_of_means_may_be_ranked_either_way(world: World) -> None:
    given = of_causes_and_risks(world)
    row = given[0]
    del row["calls"], row["spread"]
    # 0.1 + 0.2 and 0.3 differ as floats.
    row["cause_scores"] = {"reference": {"total": 9}, "tuned": {"total": 0.1}, "base": {"total": 0}}
    row["risk_scores"] = {
        "reference": {"total": 9},
        "tuned": {"total": 0.2},
        "base": {"total": 0.3},
    }
    row["rankings"] = {"1": "reference", "2": "base", "3": "tuned"}
    verdicts = world.verdicts("verdicts.json", given)
    assert evaluate.main(world.arguments("--verdicts", verdicts)) == 0
