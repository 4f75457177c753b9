"""Scores count what the audit counts, with intervals that hold, for any number of models."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from answers import CAUSE, RISK, SUMMARY
from corpus import query

from immune_data.contract import answer_fields, grounding, names
from immune_train.score import __main__ as score
from immune_train.score import intervals, metrics, table

AUDIT = Path(__file__).parents[2] / "sql" / "audit"
RECIPE = "unified-v2"


def record(task: str, answer: str, incident: str = "a", shown: str = "Events: 1500") -> dict:
    return {
        "messages": [
            {"role": "user", "content": shown},
            {"role": "assistant", "content": answer},
        ],
        "incident_id": incident,
        "task": task,
    }


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def answered(record: dict[str, Any], answer: str, **more: str) -> dict[str, str]:
    return {"incident_id": record["incident_id"], "task": record["task"], "answer": answer, **more}


# The same as the audit


def audited(out: Path, check: str) -> list[tuple]:
    return query(out, (AUDIT / f"{check}.sql").read_text(), RECIPE)


@pytest.fixture(scope="module")
def conversations(sample_out: Callable[[str], Path]) -> dict[tuple[str, int], tuple]:
    rows = query(
        sample_out(RECIPE), "select split, line, task, messages from conversations", RECIPE
    )
    return {(split, line): (task, messages) for split, line, task, messages in rows}


def test_structure_is_what_the_audit_says(
    sample_out: Callable[[str], Path], conversations: dict
) -> None:
    expected = {(row[2], row[3]): tuple(row[5]) for row in audited(sample_out(RECIPE), "structure")}
    found = {
        place: missing
        for place, (task, messages) in conversations.items()
        if (missing := answer_fields.parse(task, messages[-1]["content"]).missing)
    }
    assert found == expected
    assert len(expected) > 30


def test_what_is_ungrounded_is_what_the_audit_says(
    sample_out: Callable[[str], Path], conversations: dict
) -> None:
    expected: dict[tuple, set] = {}
    for _, _, split, line, _, kind, value, _ in audited(sample_out(RECIPE), "ungrounded"):
        expected.setdefault((split, line), set()).add((kind, value))
    found = {}
    for place, (_, messages) in conversations.items():
        shown = "\n".join(message["content"] for message in messages[:-1])
        if of := grounding.ungrounded(messages[-1]["content"], shown):
            found[place] = {(kind, value) for kind, values in of.items() for value in values}
    assert found == expected
    # The instructions name every severity.
    found_kinds = {kind for of in expected.values() for kind, _ in of}
    assert found_kinds == set(names.KINDS) - {"severity_tag"}
    assert len(expected) > 100


def test_event_totals_are_what_the_audit_says(
    sample_out: Callable[[str], Path], conversations: dict
) -> None:
    expected = {(row[2], row[3]) for row in audited(sample_out(RECIPE), "event_total")}
    found = {
        place
        for place, (task, messages) in conversations.items()
        if task == "summary"
        and metrics.totals_right(
            messages[-1]["content"], metrics.event_count(m["content"] for m in messages[:-1])
        )
        is False
    }
    assert found == expected


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (SUMMARY, True),
        (SUMMARY.replace("1,500", "1,501"), False),
        (SUMMARY.replace("1500 events", "15 events"), False),
        ("No number.", None),
    ],
)
def test_totals(answer: str, right: bool | None) -> None:
    assert metrics.totals_right(answer, 1500) is right


# Intervals


def test_wilson_is_the_published_interval() -> None:
    # Brown, Cai and DasGupta 2001, and R's prop.test(correct = FALSE).
    low, high = intervals.wilson(7, 10)
    assert (round(low, 4), round(high, 4)) == (0.3968, 0.8922)
    assert intervals.wilson(0, 75)[0] == 0.0
    assert intervals.wilson(75, 75)[1] == 1.0
    assert round(intervals.wilson(75, 75)[0], 3) == 0.951


def test_wilson_covers() -> None:
    drawn = random.Random(1)
    for share in (0.5, 0.9):
        of = [sum(drawn.random() < share for _ in range(75)) for _ in range(2000)]
        covered = sum(low <= share <= high for low, high in (intervals.wilson(k, 75) for k in of))
        assert 0.93 < covered / 2000 < 0.97


def test_the_bootstrap_is_seeded_and_near_the_normal_interval() -> None:
    drawn = random.Random(1)
    values = [drawn.gauss(100, 20) for _ in range(200)]
    low, high = intervals.bootstrap(values)
    assert (low, high) == intervals.bootstrap(values[::-1])
    mean = sum(values) / 200
    assert abs((high - low) / 2 - 1.96 * 20 / 200**0.5) < 0.6
    assert low < mean < high


# The command


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    records = [
        record(task, answer, incident)
        for incident in "abcdefgh"
        for task, answer in (("summary", SUMMARY), ("cause", CAUSE), ("risk", RISK))
    ]
    reference = write(tmp_path / "eval.jsonl", records)
    good = write(
        tmp_path / "good.jsonl", [answered(r, r["messages"][-1]["content"]) for r in records]
    )
    bad = write(tmp_path / "bad.jsonl", [answered(r, "High. 1.2.3.4") for r in records[:-1]])
    return reference, good, bad


def test_a_table_json_and_a_picture(
    files: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference, good, bad = files
    numbers, svg, png = (tmp_path / "made" / name for name in ("s.json", "s.svg", "s.png"))
    arguments = ["--reference", str(reference), f"good={good}", f"bad={bad}"]
    assert score.main([*arguments, "--output", str(numbers), "--figure", str(svg)]) == 0
    said = capsys.readouterr()
    assert "has the reference's risk level" in said.out
    assert "warning: bad: 1 of 24 answers is missing" in said.err
    content = json.loads(numbers.read_text())
    assert content["models"] == ["good", "bad"]
    of = {(s["task"], s["model"], s["metric"]): s for s in content["scores"]}
    assert of["risk", "good", "level_agrees"]["value"] == 1
    assert of["risk", "bad", "level_agrees"]["value"] == 0
    assert of["risk", "bad", "level_agrees"]["n"] == 7
    assert ("risk", "reference", "level_agrees") not in of
    assert of["summary", "reference", "event_totals"]["value"] == 1
    assert of["cause", "bad", "structure"]["value"] == 0
    assert of["cause", "bad", "ungrounded_addresses"]["value"] == 1
    assert all(s["low"] <= s["value"] <= s["high"] for s in content["scores"] if s["n"])
    first = svg.read_bytes()
    assert b"reference" in first
    assert score.main([*arguments, "--figure", str(svg)]) == 0
    assert score.main([*arguments, "--figure", str(png)]) == 0
    assert svg.read_bytes() == first
    assert png.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in svg.parent.iterdir()) == ["s.json", "s.png", "s.svg"]


def test_the_reference_alone_can_be_measured(
    files: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert score.main(["--reference", str(files[0])]) == 0
    assert "100% (68%–100%)" in capsys.readouterr().out


def cells(out: str, title: str) -> list[list[str]]:
    """What a row of each table says, a list for each table that has it."""
    rows = [line.split("  ") for line in out.splitlines() if line.strip().startswith(title)]
    return [[cell.strip() for cell in row if cell.strip()][1:] for row in rows]


def test_every_cell_says_of_how_many_answers_it_is(
    files: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    reference, good, bad = files
    assert score.main(["--reference", str(reference), f"good={good}", f"bad={bad}"]) == 0
    out = capsys.readouterr().out
    structure = cells(out, "has the documented structure")
    assert [[cell.rpartition(" ")[2] for cell in row] for row in structure] == [
        ["n=8", "n=8", "n=8"],
        ["n=8", "n=8", "n=8"],
        ["n=8", "n=8", "n=7"],
    ]
    assert cells(out, "has the reference's risk level")[0][1].endswith("n=8")


def test_only_all_of_them_are_a_hundred_per_cent() -> None:
    shares = [table._share(value) for value in (0, 0.001, 0.004, 0.5, 0.996, 531 / 532, 1)]
    assert shares == ["0%", "0.1%", "0.4%", "50%", "99.6%", "99.8%", "100%"]


def test_copies_of_a_record_are_one_reference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = write(tmp_path / "twice.jsonl", [record("risk", RISK), record("risk", RISK)])
    assert score.main(["--reference", str(twice)]) == 0
    assert cells(capsys.readouterr().out, "has the documented structure")[0][0].endswith("n=1")


def test_an_answer_that_names_nothing_is_not_grounded(
    files: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [json.loads(line) for line in files[0].read_text().splitlines()]
    for one in records:
        one["messages"][0]["content"] += "\nseen at port 1500"
    reference = write(tmp_path / "reference.jsonl", records)
    said = {"a": "At 1.2.3.4.", "b": "At port 1500.", "c": "Nothing."}
    rows = [answered(one, said.get(one["incident_id"], "")) for one in records]
    some, numbers = write(tmp_path / "some.jsonl", rows), tmp_path / "some.json"
    silent = write(tmp_path / "silent.jsonl", [answered(one, "") for one in records])
    arguments = [f"some={some}", f"silent={silent}", "--output", str(numbers)]
    assert score.main(["--reference", str(reference), *arguments]) == 0
    assert cells(capsys.readouterr().out, "names only what is in the evidence")[1][1:] == [
        "50% (9%–91%) n=2",
        "– n=0",
    ]
    of = {
        (one["task"], one["model"], one["metric"]): one
        for one in json.loads(numbers.read_text())["scores"]
    }
    for metric in ("grounded", "ungrounded_addresses", "ungrounded_ports", "ungrounded_domains"):
        assert of["cause", "some", metric]["n"] == 2
        assert of["cause", "silent", metric]["value"] is None
    assert of["cause", "silent", "structure"]["value"] == 0


def test_how_answers_end_is_told(
    files: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference, good, _ = files
    records = [json.loads(line) for line in reference.read_text().splitlines()]
    ends = ("stop", "stop", "wound_up", "length")
    rows = [
        answered(one, one["messages"][-1]["content"], finish=ends[number // 3 % 4])
        for number, one in enumerate(records)
    ]
    told = write(tmp_path / "told.jsonl", rows)
    assert score.main(["--reference", str(reference), f"told={told}", f"good={good}"]) == 0
    for row in cells(capsys.readouterr().out, "ends by itself"):
        assert row == ["–", "50% (22%–78%) n=8", "– n=0"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("good",), "should be NAME=FILE"),
        (("=good",), "should be NAME=FILE"),
        (("a=GOOD", "a=GOOD"), "two models are called a"),
        (("reference=GOOD",), "two models are called reference"),
        (("a=missing.jsonl",), "cannot read missing.jsonl"),
        (("a=REFERENCE",), "is not an answer"),
        (("a=OTHER",), "is missing from the reference"),
        (("a=TWICE",), "again"),
        (("a=UNHASHABLE",), "is not an answer"),
        (("a=DEEP",), "is not JSON"),
        (("--reference", "NULL"), "is not an emitted record"),
        (("--reference", "CHANGED"), "line 2 of"),
        (("a=EMPTY",), "contains no answer"),
        (("a=BROKEN",), "is not JSON"),
        (("a=GOOD", "--figure", "x.pdf"), "should end in .svg or .png"),
        (("--reference", "GOOD"), "is not an emitted record"),
        (("--reference", "EMPTY"), "contains no record"),
    ],
)
def test_wrong_usage_is_one_sentence(
    refused, files: tuple[Path, Path, Path], tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    reference, good, _ = files
    row = json.loads(good.read_text().splitlines()[0])
    names = {
        "GOOD": good,
        "REFERENCE": reference,
        "OTHER": write(tmp_path / "other", [{**row, "incident_id": "z"}]),
        "TWICE": write(tmp_path / "twice", [row, row]),
        "UNHASHABLE": write(tmp_path / "unhashable", [{**row, "incident_id": ["a"]}]),
        "NULL": write(tmp_path / "null", [record("risk", None)]),
        "CHANGED": write(tmp_path / "changed", [record("risk", RISK), record("risk", "High.")]),
        "DEEP": tmp_path / "deep",
        "EMPTY": write(tmp_path / "empty", []),
        "BROKEN": tmp_path / "broken",
    }
    names["BROKEN"].write_text("{\n")
    names["DEEP"].write_text("[" * 200_000)
    given = []
    for argument in arguments:
        head, equals, tail = argument.rpartition("=")
        given.append(f"{head}{equals}{names.get(tail, tail)}")
    assert says in refused(score.main, "--reference", reference, *given)
