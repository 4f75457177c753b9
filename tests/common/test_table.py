"""Tables for readers: what stands to the right, what a cell may hold, and Markdown."""

from __future__ import annotations

import pytest

from immune_data.common import table

ROWS = [["a", 1200, None, True], ["b\x1b[2J", 1.5, "x", False]]


def test_numbers_stand_to_the_right_and_answers_to_a_question_do_not() -> None:
    assert table.numeric(ROWS, 4) == [False, True, False, False]
    assert table.numeric([], 2) == [False, False]


@pytest.mark.parametrize(
    ("texts", "right"),
    [
        (["1.23 GB", "986.0 kB", "12 MB"], True),
        (["+1.25%", "-0.50%", None], True),
        (["97% (95%–99%) n=60", "– n=0", "–"], True),
        (["0.1234 (0.1000 to 0.2000)", "3 of 40 (1% to 20%)", "1e-05"], True),
        (["12 of 40", "–"], True),
        (["10.0.0.7", "10.0.0.8"], False),
        (["10:15", "11:20"], False),
        (["2026-10-02", "2026-10-03"], False),
        (["to 10", "11 to 100", "over 100"], False),
        (["12", "a word"], False),
        ([None, ""], False),
    ],
)
def test_numbers_that_come_as_text_stand_to_the_right(texts: list[str | None], right: bool) -> None:
    assert table.numeric([[text] for text in texts], 1) == [right]


def test_a_column_that_is_whole_is_never_shortened(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    monkeypatch.setenv("COLUMNS", "20")
    rows = [["0123456789-0123456789-0123456789", "more words than there is room for"]]
    table.show("title", ["id", "text"], rows)
    assert rows[0][0] not in capsys.readouterr().out
    table.show("title", ["id", "text"], rows, whole=["id"])
    assert rows[0][0] in capsys.readouterr().out


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
    result = table.markdown(["name", "number"], [["a|b\nc", "1"]], [False, True])
    assert result.splitlines() == ["| name | number |", "| --- | ---: |", "| a\\|b c | 1 |"]
