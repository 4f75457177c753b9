"""SQL and Python agree on what is the same letter in another case, for every letter there is.

What Python refuses or measures, SQL finds again: in lower case, or by expressions that ignore case.
"""

from __future__ import annotations

import re
import string
import sys
from collections.abc import Iterator
from functools import cache

import duckdb
import polars as pl
import pytest

from immune_data.audit import checks
from immune_data.contract import grounding, names
from immune_data.select import cleaning_rules

LETTERS = [chr(i) for i in range(sys.maxunicode + 1) if chr(i).isalpha()]

# Each letter of these is put in the place of each of theirs.
ERRORS = ("LLM query failed", "insufficient_quota", "Risk assessment failed")
PLACEHOLDERS = ("[description]", "[brief justification]", "[specific attack technique]", "HH:MM")
NAMES = (
    *("mail.kiss-it.example", "fe80::dead:beef", "port 443", "53/tcp", "fe80::/10", "sbl1234"),
    *("[critical]", "total evidence: 15", "| events: 12", "02:00:5e:10:00:ff", "0a1b" * 8),
)


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def spelt(texts: tuple[str, ...]) -> list[str]:
    """The texts with each letter replaced by all that might be taken for it."""
    return [
        text[:i] + other + text[i + 1 :]
        for text in texts
        for i, letter in enumerate(text)
        for other in alike().get(letter.lower(), ())
    ]


@cache
def alike() -> dict[str, list[str]]:
    """What might be taken for each letter of ASCII, by any way of ignoring case."""
    found: dict[str, list[str]] = {letter: [] for letter in string.ascii_lowercase}
    for other in LETTERS:
        for letter in folded(other) & found.keys():
            found[letter].append(other)
    assert sum(map(len, found.values())) > 2 * 26 + 4
    return found


def folded(letter: str) -> set[str]:
    """What a letter might become by any way of changing or ignoring its case."""
    ways = (letter, letter.lower(), letter.upper(), letter.title(), letter.casefold())
    return {part.lower() for way in ways for part in way} | {"i" if letter in "ıİ" else letter}


def test_letters_are_those_of_all_of_unicode() -> None:
    assert len(LETTERS) > 130_000
    assert {"ı", "İ", "ſ", "\u212a", "ß", "ǰ", "ﬁ", "Ａ"} < set(LETTERS)


def test_lower_case_is_the_same_where_an_expression_can_see_it(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    """All expressions over texts in lower case ask for ASCII alone."""
    connection.register("letters", pl.DataFrame({"letter": LETTERS}).to_arrow())
    found = connection.execute(
        "select letter, lower(replace(letter, 'İ', 'i̇')) from letters"
    ).fetchall()

    def ascii_only(text: str) -> str:
        return re.sub(r"[^\x00-\x7f]", "?", text)

    differ = [one for one, lower in found if ascii_only(lower) != ascii_only(one.lower())]
    assert differ == []


@pytest.mark.parametrize(("rule", "texts"), [("error_text", ERRORS), ("placeholder", PLACEHOLDERS)])
def test_the_audit_finds_what_cleaning_refuses_in_any_letters(
    rule: str, texts: tuple[str, ...], connection: duckdb.DuckDBPyConnection
) -> None:
    answers = spelt(texts)
    refused = {text for text in answers if cleaning_rules.REFUSALS[rule](text, "summary")}
    assert 0 < len(refused) < len(answers)
    assert any(not text.isascii() for text in refused)
    connection.register("answers", pl.DataFrame({"text": answers}).to_arrow())
    connection.execute(
        "create table responses as select text as incident_id, 'summary' as task, 'm' as model, "
        "text from answers; "
        "create table conversations as select incident_id, task, 'train' as split, 1 as line, "
        "model, [{'role': 'assistant', 'content': text}] as messages from responses; "
        "create table sft_records as from conversations"
    )
    for check in checks.load([rule, f"{rule}_in_responses"]):
        found = {row[0] for row in connection.execute(check.query).fetchall()}
        assert found == refused, check.name


def test_what_is_ungrounded_is_the_same_in_any_letters(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    cases = [(text, shown) for text in spelt(NAMES) for shown in ("nothing", NAMES[0])]
    cases += [(text, other) for text in NAMES for other in spelt((text,))]
    frame = pl.DataFrame(cases, schema=["answer", "shown"], orient="row").with_row_index("line", 1)
    connection.register("cases", frame.to_arrow())
    connection.execute(
        "create table conversations as select line, 'train' as split, "
        "[{'role': 'user', 'content': shown}, {'role': 'user', 'content': shown}, "
        "{'role': 'assistant', 'content': answer}] as messages "
        "from cases; "
        "create table sft_records as select line, split, 'a' as incident_id, 'summary' as task, "
        "'cause_risk' as dag_dataset, 'm' as model from conversations; "
        "create table dags as select 'a' as incident_id, 'cause_risk' as dataset, '' as text"
    )
    [check] = checks.load(["ungrounded"])
    found: dict[int, dict[str, list[str]]] = {}
    for row in connection.execute(f"select line, kind, value from ({check.query})").fetchall():
        line, kind, value = row
        found.setdefault(line, {}).setdefault(kind, []).append(value)
    assert {kind for of in found.values() for kind in of} == set(names.KINDS)
    for line, (answer, shown) in enumerate(cases, start=1):
        assert found.get(line, {}) == grounding.ungrounded(answer, shown), (answer, shown)
