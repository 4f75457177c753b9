"""The patterns of names: one list, read alike by Python and DuckDB, repeated exactly in SQL."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from immune_data.contract import names

ROOT = Path(__file__).parents[2]

# The SQL files that look for names, and which of them.
LOOKING = {"audit/ungrounded.sql": set(names.PATTERNS)}

# What only a pattern of names has.
_NAMELY = (r"\d{1,3}(?:\.", "[0-9a-f]{1,4}", "|com|", "com|net", "tcp|udp", "sbl", "[0-9a-f]{2}")
_NAMELY += (r"\[(?:critical", "total (?:evidence", "[0-9a-f]{64}", r"\bports?(?:")

_CHAIN = re.compile(r"'(?:[^']|'')*'(?:\s*\|\|\s*'(?:[^']|'')*')*")
_LITERAL = re.compile(r"'((?:[^']|'')*)'")


def literals(sql: str) -> Iterator[str]:
    """The texts in a query, those that are put together of several as one."""
    code = re.sub(r"--[^\n]*", "", sql)
    for chain in _CHAIN.findall(code):
        yield "".join(_LITERAL.findall(chain)).replace("''", "'")


def test_sql_repeats_the_patterns_exactly() -> None:
    for path in sorted((ROOT / "sql").rglob("*.sql")):
        name = path.relative_to(ROOT / "sql").as_posix()
        paths = {text for text in literals(path.read_text("utf-8")) if len(text) > 1}
        of_names = {text for text in paths if any(part in text for part in _NAMELY)}
        assert of_names == {names.PATTERNS[kind] for kind in LOOKING.get(name, ())}, name


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def assert_same(connection: duckdb.DuckDBPyConnection, texts: Iterable[str]) -> dict[str, int]:
    """See that both find the same in every text; how often each kind was found."""
    texts = list(texts)
    counts = {}
    for kind, pattern in names.PATTERNS.items():
        by_duckdb = connection.execute(
            "select regexp_extract_all(text, $pattern, $group) "
            "from (select unnest($texts::varchar[]) as text)",
            {"pattern": pattern, "texts": texts, "group": re.compile(pattern).groups},
        ).fetchall()
        compiled = re.compile(pattern, re.ASCII)
        by_python = [(compiled.findall(text),) for text in texts]
        assert by_duckdb == by_python, kind
        counts[kind] = sum(len(found) for (found,) in by_python)
    return counts


def test_python_and_duckdb_find_the_same_in_real_texts(
    connection: duckdb.DuckDBPyConnection, real_source: Path, pytestconfig: pytest.Config
) -> None:
    """In every third, and in those with a name of a rare kind; thorough, in all."""
    texts: set[str] = set()

    def gather(value: object) -> None:
        if isinstance(value, str):
            texts.add(value.lower())
        elif isinstance(value, dict | list):
            for entry in value.values() if isinstance(value, dict) else value:
                gather(entry)

    for path in real_source.glob("*.json.gz"):
        gather(json.loads(gzip.decompress(path.read_bytes())))
    some = set(texts)
    if not pytestconfig.getoption("--thorough"):
        some = {text for text in texts if names.find("mac", text) or names.find("hash", text)}
        some |= set(sorted(texts)[::3])
    counts = assert_same(connection, sorted(some))
    assert all(counts.values()), counts


_PIECES = (
    *("10.0.0.1", "192.168.1.255", "999", ".", ":", "::", "fe80", "aa", "0f", "-", "/", "/24"),
    *("port", "ports", "(s)", " ", "\t", "\v", "\x1c", "\u00a0", "\n", ",", "and", "or", "443"),
    *("/tcp", "/udp", "a", "xn--", "_", ".com", ".co", ".local", "sbl", "1234", "[", "]", "high"),
    *("[low]", "total evidence", "total events", "*", "1,500", "é", "i̇", "²", "٣", "ſ", "K"),
    *("0123456789abcdef0123456789abcdef", "01:23:45:67:89:ab", "01-23-45-67-89-ab"),
)


@examples(150)
@given(st.lists(st.one_of(st.lists(st.sampled_from(_PIECES)).map("".join), st.text()), max_size=20))
def test_python_and_duckdb_find_the_same_in_any_texts(
    connection: duckdb.DuckDBPyConnection, texts: list[str]
) -> None:
    texts = [text for text in texts if "\0" not in text]
    assert_same(connection, texts)
    for kind, pattern in names.PATTERNS.items():
        for text in texts:
            found = re.findall(pattern, text, re.ASCII)
            places = names._matches(kind, text)
            assert [match[match.lastindex or 0] for match in places] == found, kind
            assert names._texts(kind, text) == set(found), kind


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("address", "from 10.0.0.1 to fe80::1 and 2001:db8:0:1:2:3:4:5", 3),
        ("address", "at 10:15:20 of 3.11", 0),
        ("network", "in 100.64.0.0/10, fe80::/10 and 2001:db8::1/64; 10.0.0.1", 3),
        ("network", "10.0.0.1 1/2", 0),
        ("port", "ports 80, 443 and 8080; 53/udp, port: 22", 5),
        ("port", "portable 80", 0),
        ("port", "to {10.0.0.1, 10.0.0.2, … 9 in all}:{80, 443, … 12 in all}", 2),
        ("port", "port {22, 23}/tcp, ports ['8080', '8081'] of 10.0.0.1:53 at 10:15", 5),
        ("domain", "dns.example.com and x.local, but v1.2 and file.txt", 2),
        ("mac", "8c:ac:57:a3:8e:d4 or 8c-ac-57-a3-8e-d5, not 8c:ac:57", 2),
        ("hash", f"{'a' * 32} {'b' * 40} {'c' * 64} {'d' * 33}", 3),
        ("list_id", "sbl262364, on the sbl list", 1),
        ("severity_tag", "• 10:00 scan [high], [info] but [unknown]", 2),
        ("event_total", "**total evidence:** 1,500 events\ntotal events: 3; total: 5", 2),
        ("event_total", "threat level: 15.2 | events: 12\nno events: 7", 1),
    ],
)
def test_what_is_found(kind: str, text: str, expected: int) -> None:
    assert len(names.find(kind, text)) == expected, names.find(kind, text)


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("address", ("10.0.0.1", "1:2:3:4", "1:2:3:4:5:6:7:8", "fe80::1", "fe80::")),
        ("network", ("10.0.0.0/8", "1:2::/32", "fe80::/10")),
        ("port", ("port 1", "ports: 1", "10.0.0.1:1", "{a}:1", "1/tcp", "1/udp")),
        ("domain", ("a.ru", "a.b.local")),
        ("mac", ("8c:ac:57:a3:8e:d4", "8c-ac-57-a3-8e-d4")),
        ("hash", ("0" * 32, "f" * 40, "0f" * 32)),
        ("list_id", ("sbl1",)),
        ("severity_tag", ("[info]",)),
        ("event_total", ("total events: 1", "total evidence: 1", "| events: 1")),
    ],
)
def test_each_form_is_found_where_there_is_no_other(kind: str, texts: tuple[str, ...]) -> None:
    for text in texts:
        assert names.find(kind, text), text
        assert names.places(kind, text), text


def test_looking_for_names_loads_little() -> None:
    code = (
        "import sys; from immune_data.contract import names; "
        "print([name for name in ('duckdb', 'polars', 'pyarrow', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
