"""Words for readers: numbers of things, verbs that go with them, and names that were meant."""

from __future__ import annotations

import pytest

from immune_data.common.text import are, counted, suggestion


@pytest.mark.parametrize(
    ("number", "row", "entry", "verb"),
    [
        (0, "0 rows", "0 entries", "are"),
        (1, "1 row", "1 entry", "is"),
        (2, "2 rows", "2 entries", "are"),
        (1200, "1,200 rows", "1,200 entries", "are"),
    ],
)
def test_one_thing_is_and_several_are(number: int, row: str, entry: str, verb: str) -> None:
    assert counted(number, "row") == row
    assert counted(number, "entry", "entries") == entry
    assert are(number) == verb


def test_a_name_is_answered_by_those_that_are_near_to_it() -> None:
    known = ["train", "trial", "eval"]
    assert suggestion("trail", known, "none") == "did you mean trial?"
    assert suggestion("trail", known, "none", most=3) == "did you mean trial or train?"
    assert suggestion("xyz", known, "use train or eval") == "use train or eval"
