"""The checks of times and totals in summaries, of levels and of scores: what they find, and not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import duckdb
import polars as pl
import pytest
from conftest import Part
from corpus import query, records
from hypothesis import given
from hypothesis import strategies as st
from random_corpus import EMITTED, EMITTED_CLEAN, EMITTED_EDGE

from immune_data import recipes
from immune_data.audit import checks
from immune_data.contract import answer_fields
from immune_data.emit.records import CONVERSATIONS
from immune_data.select.closing_lines import with_closing_lines

EVIDENCE = """\
============================================================
Incident: 7d0f
Source IP: 10.0.0.7 | Timewindow: 3
Timeline: 2024-01-01 23:30:40 to 2024-01-02 00:30:40
Threat Level: 12.5 | Events: 1500

• 23:35 - 1 event [HIGH] Listed address 203.0.113.9 contacted at 12:34.
• 23:50-00:10 - 1498 events [LOW] Port 80 session with {192.0.2.1, 192.0.2.2}.
  - Total Evidence: 3 events
• 00:15-00:20 - 1 event [INFO] Name looked up.

Total Evidence: 1500 events
Severity breakdown: High: 1, Low: 12, Info: 2"""


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def found(
    connection: duckdb.DuckDBPyConnection, check: str, summary: str, evidence: str = EVIDENCE
) -> list[tuple]:
    """The rows of a check on one summary, whose evidence stands before the instructions."""
    fields = answer_fields.parse("summary", summary).fields
    row = dict.fromkeys(CONVERSATIONS) | {
        "split": "train",
        "line": 1,
        "incident_id": "a",
        "task": "summary",
        "answer_total_evidence": fields["total_evidence"],
        "answer_severities": fields["severity_breakdown"],
        "messages": [
            {"role": "system", "content": "Summarise."},
            {"role": "user", "content": f"{evidence}\n\nWrite • and the closing lines."},
            {"role": "assistant", "content": summary},
        ],
    }
    connection.register("given", pl.DataFrame([row], schema=CONVERSATIONS).to_arrow())
    connection.execute(
        "create or replace table conversations as from given; "
        "create or replace table incidents as select 'a' as incident_id, "
        "'2024-01-01 23:30:40 to 2024-01-02 00:30:40' as timeline"
    )
    [one] = checks.load([check])
    return connection.execute(one.query).fetchall()


@pytest.mark.parametrize(
    "closing",
    [
        "Total Evidence: 1500 events\nSeverity breakdown: High: 1, Low: 12, Info: 2",
        "**Total Evidence:** 1,500 events\n**Severity breakdown:** INFO: 2, low: 12, High: 1",
        "Total Evidence: 1500\nSeverity breakdown: Critical: 0, High: 1, Medium: 0, Low: 12, "
        "Info: 2",
        "Total Evidence: 1500\nSeverity Breakdown:\n- 2 Info\n- 12 Low\n- 1 High",
        "Total Evidence: 3\nSeverity breakdown: High: 9\n\n"
        "Total Evidence: 1500\nSeverity breakdown: High: 1, Low: 12, Info: 2",
        "Severity breakdown: as above",
        "",
    ],
)
def test_closing_lines_that_say_the_same_contradict_nothing(
    closing: str, connection: duckdb.DuckDBPyConnection
) -> None:
    assert found(connection, "closing_lines", f"• 23:35 - Listed [HIGH]\n\n{closing}") == []


@pytest.mark.parametrize(
    "closing",
    [
        "Total Evidence: 1501 events\nSeverity breakdown: High: 1, Low: 12, Info: 2",
        "Total Evidence: 3 events",  # of the evidence's text, not of its closing line
        "Severity breakdown: High: 1, Low: 12",
        "Severity breakdown: High: 12, Low: 1, Info: 2",
        "Severity breakdown: Critical: 1, High: 1, Low: 12, Info: 2",
        "Total Evidence: 1500\nSeverity breakdown:\n- 2 Info\n- 11 Low\n- 1 High",
    ],
)
def test_closing_lines_that_say_something_else_are_found(
    closing: str, connection: duckdb.DuckDBPyConnection
) -> None:
    summary = f"• 23:35 - Listed [HIGH]\n\n{closing}"
    assert len(found(connection, "closing_lines", summary)) == 1
    cut = EVIDENCE.split("\n\nTotal")[0]
    assert found(connection, "closing_lines", summary, cut) == []


_PIECES = (
    *("Total Evidence: 3", "Severity breakdown: ", "severity breakdown", "High: 7", "1 Low"),
    *("Total Events: 9", "\n", "\n\n", "• ", "- ", "**", " | ", ", ", ":", "[HIGH]", "info", "٣"),
)


@given(st.one_of(st.text(), st.lists(st.sampled_from(_PIECES), max_size=25).map("".join)))
def test_derived_closing_lines_never_contradict(
    connection: duckdb.DuckDBPyConnection, summary: str
) -> None:
    assert found(connection, "closing_lines", with_closing_lines(summary, EVIDENCE)) == []


@pytest.mark.parametrize(
    ("summary", "times"),
    [
        ("• 23:35 - Listed [HIGH]\n• 23:50-00:10 - Sessions [LOW]", []),
        ("• 23:51–00:09 - Sessions, most at 00:00 and 23:59:59.5. [LOW]", []),
        ("1) **00:15-00:20** - A name [INFO]\n  - at 00:17:", []),
        ("• 23:30-00:30 - All of it [LOW]", []),  # the timeline's ends
        ("• 23:34 - Listed [HIGH]\n• 23:36 - Listed [HIGH]", ["23:34", "23:36"]),
        ("• 23:49-00:11 - Sessions [LOW]", ["00:11", "23:49"]),
        ("• 12:00 - Sessions, again at 12:00 [LOW]", ["12:00"]),  # not from 00:10 to 23:50
        ("• 23:12-00:05 - Sessions at 00:12 [LOW]", ["00:12", "23:12"]),
        ("• 12:34 - Listed [HIGH]", ["12:34"]),  # a time of no event
        ("• 23:30-00:29 - All of it [LOW]", ["00:29"]),
        ("  - at 00:21. Then 00:22...", ["00:21", "00:22"]),
        ("Timeline: 11:00:40 to 12:00:40\nAt 13:00 it ends.", []),  # no bullets
        ("• 23:35 - 10.0.0.7:12:10 02:00:5e:10:00:ff 12:10:5e:10:00:ff fe80::12:10 a12:10", []),
        ("• 23:35 - In a ratio of 9:15, 24:10 or 12:60", []),
    ],
)
def test_times_are_those_of_the_spans_and_the_timeline(
    summary: str, times: list[str], connection: duckdb.DuckDBPyConnection
) -> None:
    assert [row[-1] for row in found(connection, "time_not_in_evidence", summary)] == times


@pytest.mark.parametrize("span", ["23:50-00:10", "00:10-23:50"])  # Slips' tools sort by clock
@given(st.integers(0, 24 * 60 - 1))
def test_a_span_over_midnight_holds_what_lies_between(
    connection: duckdb.DuckDBPyConnection, span: str, minute: int
) -> None:
    time = f"{minute // 60:02}:{minute % 60:02}"
    held = minute >= 23 * 60 + 50 or minute <= 10 or 15 <= minute <= 20
    held |= minute in (23 * 60 + 35, 23 * 60 + 30, 30)
    evidence = EVIDENCE.replace("23:50-00:10", span)
    summary = f"• {time} - Something [LOW]"
    stated = found(connection, "time_not_in_evidence", summary, evidence)
    assert (stated == []) == held


def rated(connection: duckdb.DuckDBPyConnection, check: str, answers: list[tuple]) -> list[tuple]:
    """The rows of a check on risk answers: split, category, level, level once cleaned."""
    frame = pl.DataFrame(
        answers, schema=["split", "category", "raw", "clean"], orient="row", infer_schema_length=99
    )
    connection.register("given", frame.with_row_index("line", 1).to_arrow())
    connection.execute(
        "create or replace table sft_records as select line::varchar as incident_id, "
        "'risk' as task, 'm' as model, split, line from given; "
        "create or replace table incidents as select line::varchar as incident_id, category "
        "from given; "
        "create or replace table responses as select incident_id, task, model, raw as risk_level "
        "from sft_records inner join given using (line); "
        "create or replace table cleaned as select incident_id, task, model, "
        "clean as risk_level from sft_records inner join given using (line) "
        "where clean is not null"
    )
    [one] = checks.load([check])
    return connection.execute(one.query).fetchall()


@pytest.mark.parametrize(
    ("levels", "rows"),
    [
        (["High", "High", "Low"], [("train", "High", 2, 0.6667)]),
        (["High"] * 65 + ["Low"] * 35, []),
        (["High"] * 67 + ["Low"] * 33, [("train", "High", 67, 0.67)]),
        (["High", None], []),
        ([None, None, None], []),
        (["Low"], [("train", "Low", 1, 1.0)]),
        ([], []),
    ],
)
def test_a_constant_level_is_one_of_two_thirds(
    levels: list[str | None], rows: list[tuple], connection: duckdb.DuckDBPyConnection
) -> None:
    eval_ = [("eval", "Malware", level, None) for level in ("Low", "High")]
    train = [("train", "Malware", level, None) for level in levels]
    assert rated(connection, "constant_level", train + eval_) == rows
    # What is used is the cleaned answer.
    train = [("train", "Malware", "Medium", level) for level in levels if level]
    if len(train) == len(levels):
        assert rated(connection, "constant_level", train + eval_) == rows


@pytest.mark.parametrize("cleaned", [False, True])
def test_a_category_is_contradicted_by_its_opposite(
    *, cleaned: bool, connection: duckdb.DuckDBPyConnection
) -> None:
    cases = [
        (category, level)
        for category in ("Normal", "Malware")
        for level in (*("Critical", "High", "Medium", "Low"), *([] if cleaned else [None]))
    ]
    answers = [
        ("train", category, "Medium" if cleaned else level, level if cleaned else None)
        for category, level in cases
    ]
    rows = rated(connection, "category_contradicted", answers)
    assert [row[-2:] for row in rows] == [
        ("Normal", "Critical"),
        ("Normal", "High"),
        ("Malware", "Low"),
    ]


@pytest.mark.parametrize("recipe", recipes.names())
def test_what_is_below_its_gate_is_found_in_every_recipe(
    recipe: str, random_part: Callable[[int, str], Part]
) -> None:
    """Where gates look at the best of any model, the winner of the causes can be below one."""
    least = {"summary": 4, "cause": 14, "risk": 10}
    [check] = checks.load(["below_gate"])
    below = []
    for seed, name in [*EMITTED, *EMITTED_CLEAN[:2], *EMITTED_EDGE[:2]]:
        if name != recipe:
            continue
        out = random_part(seed, recipe).out
        expected = [
            (record["incident_id"], record["task"], split)
            for split in ("train", "eval")
            for record in records(out, split, recipe)
            if record["score"] is None or record["score"] < least[record["task"]]
        ]
        rows = query(out, f"select incident_id, task, split from ({check.query})", recipe)
        assert set(rows) == set(expected)
        below += expected
    # By design in the documented ones, but for the standalone dataset: its winner passes itself.
    assert (below == []) == (recipe in ("risk", "unified-clean", "unified-edge"))
