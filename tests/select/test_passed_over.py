"""Why an answer was passed over and which next best stood in: `choices.passed_over` and `why`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from corpus import RISK_TOTALS, SUMMARY_SCORES, Corpus, answer, query, records
from hashed import windows

from immune_data import recipes
from immune_data.emit import __main__ as emit
from immune_data.why import __main__ as why

RECIPE, WITH_CAUSE = "unified-clean", "with-cause"
ADDRESS = "203.0.113.77"
WINNER, SECOND, THIRD, FOURTH = SUMMARY_SCORES
WEAK = {WINNER: 3, SECOND: 2.5, THIRD: 1, FOURTH: 0}

ERROR = "Incident x: LLM query failed - Error code: 429"
ECHO = ("HH:MM High. " * 20).rstrip()
FOREIGN = answer("cause", "x", "y") + f" It talks to {ADDRESS}."
LONG = "High. " + "The host may be lost. " * 80
NO_LEVEL = "The host may be lost. " * 10
SHORT = "Too short."

# incident and task: what is given by the models, the one that is used, those passed over before it
Told = tuple[dict[str, str | None], str, list[tuple[str, str]]]
TOLD: dict[tuple[str, str], Told] = {
    ("dirty", "summary"): (
        {WINNER: ERROR},
        SECOND,
        [(WINNER, "summary refused by error_text")],
    ),
    ("foreign", "cause"): (
        {WINNER: FOREIGN},
        SECOND,
        [(WINNER, "cause refused by ungrounded")],
    ),
    ("long", "risk"): (
        {WINNER: LONG},
        SECOND,
        [(WINNER, f"risk has length {len(LONG.rstrip()) // 4}")],
    ),
    ("short", "summary"): (
        {WINNER: SHORT},
        SECOND,
        [(WINNER, f"summary has length {len(SHORT) // 4}")],
    ),
    ("level", "risk"): ({WINNER: NO_LEVEL}, SECOND, [(WINNER, "risk names no level")]),
    ("empty", "cause"): ({WINNER: None}, SECOND, [(WINNER, "no cause")]),
    # One after another, until one passes; the last is not looked at.
    ("chain", "risk"): (
        {WINNER: ECHO, SECOND: NO_LEVEL, FOURTH: LONG},
        THIRD,
        [(WINNER, "risk refused by placeholder"), (SECOND, "risk names no level")],
    ),
    # A worse one is not passed over.
    ("worse", "cause"): ({SECOND: FOREIGN, THIRD: None}, WINNER, []),
}
# None can be used: the winner stays, and its incident fails a gate.
BELOW = [(model, f"summary scores {score:g}") for model, score in WEAK.items()]
LOW_RISK = RISK_TOTALS | {WINNER: 5}


@pytest.fixture(scope="module")
def out(shared_folder: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    def make(folder: Path) -> None:
        corpus = Corpus()
        train = windows("train", len(TOLD) + 3)
        for (incident, task), (given, _, _) in TOLD.items():
            answers = {model: {task: text} for model, text in given.items()}
            corpus.incident(incident, answers=answers, facts=train.pop())
        corpus.incident("below", summary_scores=WEAK, facts=train.pop())
        corpus.incident("low-risk", risk=LOW_RISK, facts=train.pop())
        [held_out] = windows("eval", 1)
        corpus.incident("held-out", facts=held_out, dag="10:00 - a scan nobody else saw\n")
        recipe = folder / f"{WITH_CAUSE}.toml"
        recipe.write_text(
            f'description = "x"\nextends = "{RECIPE}"\n[choice]\nrisk = "cause_winner"\n'
        )
        source = corpus.write(folder / "source")
        for name in (RECIPE, str(recipe)):
            emit.emit(source, folder / "out", recipes.load(name))

    return shared_folder("passed-over", make) / "out"


def chosen(out: Path, incident: str, recipe: str = RECIPE) -> dict[str, tuple]:
    """By task: the model whose answer is used, the winner, and what was passed over."""
    sql = f"select task, model, winner, passed_over from choices where incident_id = '{incident}'"
    return {
        task: (model, winner, [(one["model"], one["failure"]) for one in passed_over])
        for task, model, winner, passed_over in query(out, sql, recipe)
    }


def said(out: Path, capsys: pytest.CaptureFixture[str], incident: str, *more: str) -> str:
    capsys.readouterr()
    recipe = () if "--recipe" in more else ("--recipe", RECIPE)
    assert why.main([incident, "--data", str(out), *recipe, *more]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("incident", "task"), TOLD)
def test_each_reason_stands_before_the_one_that_is_used(
    out: Path, capsys: pytest.CaptureFixture[str], incident: str, task: str
) -> None:
    _, used, passed_over = TOLD[incident, task]
    result = chosen(out, incident)
    assert result.pop(task) == (used, WINNER, passed_over)
    assert all(rest == (WINNER, WINNER, []) for rest in result.values())
    emitted = [row for row in records(out, "train", RECIPE) if row["incident_id"] == incident]
    assert {row["task"]: row["model"] for row in emitted} == {
        "summary": WINNER,
        "cause": WINNER,
        "risk": WINNER,
        task: used,
    }

    detail = f" (address {ADDRESS})" if incident == "foreign" else ""
    lines = said(out, capsys, incident).splitlines()
    told = [line for line in lines if "passed over" in line]
    assert told == [
        f"  {task} passed over, {model}: {reason}{detail}" for model, reason in passed_over
    ]
    assert any(f"stands in for the winner, {WINNER}" in line for line in lines) == bool(told)
    story = json.loads(said(out, capsys, incident, "--json"))
    by_task = {choice["task"]: choice["passed_over"] for choice in story["choices"]}
    assert by_task[task] == [f"{model}: {reason}{detail}" for model, reason in passed_over]


def test_where_none_can_be_used_all_are_told_and_the_incident_is_lost(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chosen(out, "below")["summary"] == (WINNER, WINNER, BELOW)
    assert query(out, "select verdict from gates where incident_id = 'below'", RECIPE) == [
        ("summary_score",)
    ]
    output = said(out, capsys, "below")
    places = [output.index(f"summary passed over, {model}: {why}\n") for model, why in BELOW]
    assert places == sorted(places)
    assert "stands in" not in output


def test_a_risk_that_comes_with_the_cause_takes_the_cause_with_it(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Risk has no choice of its own then: the next best cause stands in, with its risk."""
    assert chosen(out, "low-risk")["risk"] == (SECOND, SECOND, [])
    assert chosen(out, "low-risk")["cause"] == (WINNER, WINNER, [])
    result = chosen(out, "low-risk", WITH_CAUSE)
    assert set(result) == {"summary", "cause"}
    assert result["cause"] == (SECOND, WINNER, [(WINNER, "risk scores 5")])
    recipe = str(out.with_name(f"{WITH_CAUSE}.toml"))
    output = said(out, capsys, "low-risk", "--recipe", recipe)
    assert f"  cause passed over, {WINNER}: risk scores 5\n" in output
