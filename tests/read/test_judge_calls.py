"""Verdicts with their calls: read into tables whole, or rejected where they contradict."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corpus import CAUSE_RISK_RUN, MODELS, RUN_1, Corpus, table
from judged import judged, with_calls

from immune_data.contract import agreement
from immune_data.emit import __main__ as emit


def corpus() -> Corpus:
    """Two incidents whose verdicts rest on four calls each, and two whose do not say."""
    sources = Corpus().incidents("abcd")
    chance = random.Random(1)
    for name in (RUN_1, CAUSE_RISK_RUN):
        sources.rows[name][:2] = [judged(row, chance) for row in sources.rows[name][:2]]
    return sources


def emitted(corpus: Corpus, folder: Path) -> Path:
    source = corpus.write(folder / "source")
    assert emit.main(["--source", str(source), "--data", str(folder / "out"), "--json"]) == 0
    return folder / "out"


def test_every_call_of_a_verdict_is_in_the_tables(tmp_path: Path) -> None:
    sources = corpus()
    out = emitted(sources, tmp_path)
    expected = [
        {
            "incident_id": verdict.incident,
            "task": task,
            "judge_run": RUN_1 if task == "summary" else CAUSE_RISK_RUN,
            "call": number,
            "model": model,
            "position": call.order.index(model) + 1,
            "score": call.scores[model],
        }
        for name in (RUN_1, CAUSE_RISK_RUN)
        for task, verdicts in agreement.verdicts(sources.rows[name]).items()
        for verdict in verdicts
        for number, call in enumerate(verdict.calls, start=1)
        for model in call.order
    ]
    assert len(expected) == 2 * 3 * 4 * 4

    def place(row: dict[str, Any]) -> list[Any]:
        return [row[key] for key in ("task", "incident_id", "call", "position")]

    assert sorted(table(out, "judge_calls"), key=place) == sorted(expected, key=place)
    rows = {name: {row["incident_id"]: row for row in sources.rows[name]} for name in sources.rows}
    for row in table(out, "judgements"):
        given = rows[row["judge_run"]][row["incident_id"]]
        if row["incident_id"] in "cd":
            assert (row["calls"], row["spread"]) == (None, None)
        else:
            spread = given["spread"]
            of_task = spread if row["task"] == "summary" else spread[row["task"]]
            assert (row["calls"], row["spread"]) == (4, of_task[row["model"]])
    assert table(out, "rejects") == []


def test_calls_may_show_a_part_of_the_answers_and_models_that_nobody_declared(
    tmp_path: Path,
) -> None:
    sources = Corpus().incidents("abcd")
    pairs = [
        {"order": [one, other], "scores": {one: 6, other: 7}}
        for one in MODELS
        for other in MODELS
        if one != other
    ]
    sources.rows[RUN_1][0] = with_calls(sources.rows[RUN_1][0], pairs)
    alone = [{"order": [name], "scores": {name: 9 - i}} for i, name in enumerate(MODELS)]
    sources.rows[RUN_1][1] = with_calls(sources.rows[RUN_1][1], alone)
    spelled = [{"order": ["gpt-5", "Qwen2.5 3B", "GPT-4o"],
                "scores": {"GPT-4o": 9, "gpt-5": 10, "Qwen2.5 3B": 5}}]  # fmt: skip
    sources.rows[RUN_1][2] |= {
        "scores": {"GPT-4o": 9, "Qwen2.5 3B": 5, "gpt-5": 10},
        "calls": spelled,
        "spread": {"GPT-4o": None, "gpt-5": None},
    }
    sources.rows[RUN_1][3] |= {"calls": [], "spread": None}
    out = emitted(sources, tmp_path)
    calls = [row for row in table(out, "judge_calls") if row["task"] == "summary"]
    assert sum(row["incident_id"] == "a" for row in calls) == 24
    assert {row["position"] for row in calls if row["incident_id"] == "b"} == {1}
    assert [
        (row["model"], row["position"], row["score"]) for row in calls if row["incident_id"] == "c"
    ] == [("qwen2.5-3b", 2, 5), ("gpt-4o", 3, 9)]
    actual = {
        (row["incident_id"], row["model"]): (row["calls"], row["spread"])
        for row in table(out, "judgements")
        if row["task"] == "summary"
    }
    assert actual["a", "gpt-4o"] == (6, pytest.approx(0.3**0.5))
    assert actual["b", "gpt-4o"] == (1, None)
    assert actual["c", "gpt-4o"] == (1, None)
    assert actual["d", "gpt-4o"] == (None, None)
    rejects = [(row["incident_id"], row["reason"], row["scope"]) for row in table(out, "rejects")]
    assert rejects == [("c", "undeclared_model", "entry")]


Change = Callable[[dict[str, Any]], Any]


def _set(*path: str | int, to: Any) -> Change:
    def change(row: dict[str, Any]) -> None:
        at: Any = row
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = to

    return change


TWICE = ["gpt-4o", "gpt-4o", "gpt-4o-mini", "qwen2.5-3b"]
SPELLED_TWICE = ["gpt-4o", "GPT-4o", "gpt-4o-mini", "qwen2.5-3b"]
BAD: dict[str, tuple[str, Change, str, str]] = {
    "calls are a number": (RUN_1, _set("calls", to=4), "wrong_type", "calls"),
    "calls are an object": (RUN_1, _set("calls", to={}), "wrong_type", "calls"),
    "a call is an array": (RUN_1, _set("calls", 0, to=[]), "wrong_type", "calls"),
    "a call without order": (
        RUN_1,
        lambda row: row["calls"][0].pop("order"),
        "wrong_type",
        "order",
    ),
    "a call without scores": (
        RUN_1,
        lambda row: row["calls"][0].pop("scores"),
        "wrong_type",
        "scores",
    ),
    "an order of numbers": (RUN_1, _set("calls", 0, "order", to=[1, 2]), "wrong_type", "order"),
    "null as score": (RUN_1, _set("calls", 1, "scores", "gpt-4o", to=None), "wrong_type", "scores"),
    "a text as score": (
        RUN_1,
        _set("calls", 1, "scores", "gpt-4o", to="9"),
        "wrong_type",
        "scores",
    ),
    "a score above 10": (
        RUN_1,
        _set("calls", 1, "scores", "gpt-4o", to=11),
        "score_out_of_range",
        "summary score of gpt-4o in call 2 is 11",
    ),
    "a score below 0": (
        RUN_1,
        _set("calls", 1, "scores", "gpt-4o", to=-1),
        "score_out_of_range",
        "in call 2",
    ),
    "an answer twice": (
        RUN_1,
        _set("calls", 2, "order", to=TWICE),
        "calls_contradict",
        "call 3 shows gpt-4o twice",
    ),
    "an answer twice, spelled otherwise": (
        RUN_1,
        _set("calls", 2, "order", to=SPELLED_TWICE),
        "calls_contradict",
        "call 3 shows GPT-4o, and has no summary score for it",
    ),
    "an answer twice, spelled otherwise, and scored twice": (
        RUN_1,
        lambda row: (
            _set("calls", 2, "order", to=SPELLED_TWICE)(row),
            _set("calls", 2, "scores", to=dict.fromkeys(SPELLED_TWICE, 5))(row),
        ),
        "calls_contradict",
        "call 3 shows gpt-4o twice",
    ),
    "a score of nothing shown": (
        RUN_1,
        _set("calls", 3, "scores", "gpt-5", to=3),
        "calls_contradict",
        "call 4 has a summary score for gpt-5, and does not show it",
    ),
    "no score of what is shown": (
        RUN_1,
        lambda row: row["calls"][3]["scores"].pop("qwen2.5-3b"),
        "calls_contradict",
        "call 4 shows qwen2.5-3b, and has no summary score for it",
    ),
    "a mean that is none": (
        RUN_1,
        _set("scores", "gpt-4o", to=1.5),
        "calls_contradict",
        "the summary score of gpt-4o is 1.5, and the mean of its calls ",
    ),
    "a score of no call": (
        RUN_1,
        lambda row: (
            [
                (call["order"].remove("gpt-4o"), call["scores"].pop("gpt-4o"))
                for call in row["calls"]
            ]
            and row["spread"].pop("gpt-4o")
        ),
        "calls_contradict",
        "the verdict has a summary score for gpt-4o, and no call has",
    ),
    "calls of no score": (
        RUN_1,
        _set("scores", "gpt-4o", to=None),
        "calls_contradict",
        "calls have summary scores for gpt-4o, and the verdict has none",
    ),
    "a spread without calls": (
        RUN_1,
        _set("calls", to=None),
        "calls_contradict",
        "has a spread of summary scores, and not two calls",
    ),
    "a negative spread": (
        RUN_1,
        _set("spread", "gpt-4o", to=-0.1),
        "score_out_of_range",
        "summary spread of gpt-4o is -0.1",
    ),
    "a spread past the scale": (
        RUN_1,
        _set("spread", "gpt-4o", to=10.5),
        "score_out_of_range",
        "summary spread",
    ),
    "a spread past all floats": (
        RUN_1,
        _set("spread", "gpt-4o", to=10**400),
        "wrong_type",
        "spread",
    ),
    "a text as spread": (RUN_1, _set("spread", "gpt-4o", to="1"), "wrong_type", "spread"),
    "a spread twice": (RUN_1, _set("spread", "GPT-4o", to=1), "calls_contradict", "gpt-4o twice"),
    "spread of the other format": (
        RUN_1,
        _set("spread", to={"cause": {}, "risk": {}}),
        "wrong_type",
        "spread",
    ),
    "a call on causes alone": (
        CAUSE_RISK_RUN,
        lambda row: row["calls"][0].pop("risk_scores"),
        "wrong_type",
        "risk_scores",
    ),
    "a call without a total": (
        CAUSE_RISK_RUN,
        lambda row: row["calls"][0]["risk_scores"]["gpt-4o"].pop("total"),
        "wrong_type",
        "total",
    ),
    "a total above 30": (
        CAUSE_RISK_RUN,
        _set("calls", 0, "risk_scores", "gpt-4o", "total", to=31),
        "score_out_of_range",
        "risk score of gpt-4o in call 1",
    ),
    "a mean of risks that is none": (
        CAUSE_RISK_RUN,
        _set("risk_scores", "gpt-4o", "total", to=3),
        "calls_contradict",
        "the risk score of gpt-4o",
    ),
    "a flat spread of two tasks": (
        CAUSE_RISK_RUN,
        _set("spread", to={"cause": 1}),
        "wrong_type",
        "spread",
    ),
}


def test_a_verdict_that_its_calls_contradict_is_a_reject_that_says_how(tmp_path: Path) -> None:
    sources = corpus()
    good = {name: sources.rows[name][0] for name in (RUN_1, CAUSE_RISK_RUN)}
    places = {}
    for number, (case, (name, change, _, _)) in enumerate(BAD.items()):
        sources.incident(f"case {number}")
        row = copy.deepcopy(good[name]) | {"incident_id": f"case {number}"}
        change(row)
        sources.rows[name][-1] = row
        places[f"case {number}"] = case
    out = emitted(sources, tmp_path)
    rejects = {row["incident_id"]: row for row in table(out, "rejects")}
    for incident, case in places.items():
        reject = rejects.pop(incident)
        _, _, reason, said = BAD[case]
        assert reject["reason"] == reason, case
        assert said in reject["detail"], case
        assert reject["scope"] == "row"
    assert rejects == {}
    # Nothing of a rejected verdict is in a table.
    assert {row["incident_id"] for row in table(out, "judge_calls")} == {"a", "b"}
