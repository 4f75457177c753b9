"""Judges whose preferences and noise are known: what the report says of them, and what a verdict
keeps of them."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from typing import Any

import pytest
from chat_server import answered_by
from corpus import MODELS
from judging import arguments, corpus, drawn, nowhere, text, verdicts
from synthetic_judge import SyntheticJudge

from immune_data.ask import asking
from immune_data.judge import __main__ as judge

IDS = [f"p{number:03}" for number in range(90)]

Judged = tuple[dict[str, Any], dict[str, dict[str, Any]], list[str]]
Runs = Callable[..., Judged]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """`judged(judge, *options)`: the report, the verdicts, and the command's arguments."""
    folder = tmp_path_factory.mktemp("judged")
    source = corpus(IDS).write(folder / "lab")
    made: dict[tuple[object, ...], Judged] = {}

    def run(capsys: pytest.CaptureFixture[str], first: float, noise: float, *more: str) -> Judged:
        key = (first, noise, *more)
        if key not in made:
            to = folder / str(len(made))
            to.mkdir()
            script = SyntheticJudge(drawn, first=first, noise=noise)
            given = arguments(to, source, nowhere(to), *more)
            capsys.readouterr()
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(asking, "Client", answered_by(script))
                assert judge.main([*given, "--json"]) == 0
            report = json.loads(capsys.readouterr().out)
            made[key] = report, verdicts(to / "verdicts.json"), given
        return made[key]

    return run


def note(given: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says to a reader; it asks nobody again."""
    capsys.readouterr()
    assert judge.main(given) == 0
    return capsys.readouterr().out


def true(incident: str, model: str) -> float:
    return drawn(incident, "summary", text("summary", incident, model))


def favour(found: dict[str, dict[str, Any]], first: dict[str, str]) -> tuple[float, float]:
    """By how much verdicts favour the answers that stood `first`, and its standard error."""
    gains = []
    for incident, row in found.items():
        errors = {name: row["scores"][name] - true(incident, name) for name in MODELS}
        others = [error for name, error in errors.items() if name != first[incident]]
        gains.append(errors[first[incident]] - statistics.mean(others))
    return statistics.mean(gains), statistics.stdev(gains) / math.sqrt(len(gains))


def test_points_for_the_first_place_bias_one_order_and_not_all_of_them(
    judged: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    seeded, of_one, asked_seeded = judged(capsys, 1, 1, "--orders", "seeded")
    balanced, of_all, asked_balanced = judged(capsys, 1, 1)
    first = {incident: row["calls"][0]["order"][0] for incident, row in of_one.items()}

    gain, error = favour(of_one, first)
    assert abs(gain - 1) < 4 * error
    assert gain > 4 * error
    assert favour(of_all, first)[0] == pytest.approx(0, abs=2.5 * favour(of_all, first)[1])

    # The report knows nothing of the truth, and says the same of both judges.
    for report in (seeded, balanced):
        place = report["tasks"][0]["places"][0]
        assert 0 < place["low"] < 1 < place["high"] < 1.6
    assert (seeded["is_balanced"], balanced["is_balanced"]) == (False, True)
    assert "so it biases the verdicts" in note(asked_seeded, capsys)
    assert "so the verdicts are free of it" in note(asked_balanced, capsys)


def test_a_judge_without_preferences_is_not_said_to_have_one(
    judged: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    report, _, asked = judged(capsys, 0, 1)
    (task,) = report["tasks"]
    assert task["places"][0]["low"] < 0 < task["places"][0]["high"]
    assert task["length"] is None or task["length"]["low"] < 0 < task["length"]["high"]
    assert "which may be nothing" in note(asked, capsys)


@pytest.mark.parametrize(
    ("first", "options"),
    [(0, ()), (1, ()), (1, ("--orders", "seeded", "--repeats", "4"))],
)
def test_noise_is_estimated_within_a_tenth(
    options: tuple[str, ...], first: float, judged: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 1.0 on scores from 3 to 7, what rounding adds taken out."""
    report, found, _ = judged(capsys, first, 1, *options)
    noise = report["tasks"][0]["noise"]
    assert noise["freedom"] >= 1000
    assert abs(noise["deviation"]["value"] - 1) < 0.1
    assert noise["deviation"]["low"] < 1.05
    assert noise["deviation"]["high"] > 0.95
    # A verdict's own spread is of the scores as they were given, rounded.
    spreads = [of for row in found.values() for of in row["spread"].values()]
    pooled = math.sqrt(statistics.mean(of**2 for of in spreads))
    assert abs(pooled - math.sqrt(1 + 1 / 12)) < 0.1


def test_of_totals_every_criterion_is_rounded(
    judged: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    report, _, _ = judged(capsys, 0, 1, "--judges", "cause_risk")
    for task in report["tasks"]:
        assert abs(task["noise"]["deviation"]["value"] - math.sqrt(3)) < 0.17
        assert task["noise"]["freedom"] >= 1000
