"""Tables for readers: what stands to the right, what a cell may hold, and Markdown."""

from __future__ import annotations

import pytest

from immune_data.common import table

ROWS = [["a", 1200, None, True], ["b\x1b[2J", 1.5, "x", False]]


def test_numbers_stand_to_the_right_and_answers_to_a_question_do_not() -> None:
    assert table.numeric(ROWS, 4) == [False, True, False, False]
    assert table.numeric([], 2) == [False, False]


def test_a_printed_table_holds_no_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    table.show("some [bold]rows[/]", ["na[me]", "number", "text", "answer"], ROWS)
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\\x1b[2J" in printed
    assert "some [bold]rows[/]" in printed
    assert "na[me]" in printed
    assert "1,200" in printed


def test_a_plain_line_is_aligned_and_ends_with_its_text() -> None:
    widths = table.widths([["a", "12"], ["long", "3"]])
    assert widths == [4, 2]
    assert table.aligned(["a", "3"], widths, [False, True]) == "a      3"
    assert table.aligned(["a", "3"], widths, [False, False]) == "a     3"
    assert table.aligned(["much longer", "3"], widths, [False, True]) == "much longer   3"


def test_a_cell_of_markdown_cannot_end_its_row() -> None:
    made = table.markdown(["name", "number"], [["a|b\nc", "1"]], [False, True])
    assert made.splitlines() == ["| name | number |", "| --- | ---: |", "| a\\|b c | 1 |"]
