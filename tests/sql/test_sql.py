"""`sql`: any query over what was emitted, and nothing but queries."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from corpus import Corpus, states

from immune_data import sql
from immune_data.emit import __main__ as emit

HOSTILE = "a\x1b[2J\nb\u202e|\t\"c\", 'd' – é"

Refused = Callable[..., str]
Ask = Callable[..., str]


@pytest.fixture(scope="session")
def out(shared_folder: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    def make(folder: Path) -> None:
        corpus = Corpus().incidents("abcdefgh").incident("i", facts={"category": HOSTILE})
        source = corpus.write(folder / "source")
        assert emit.main(["--source", str(source), "--data", str(folder / "out")]) == 0

    return shared_folder("sql-out", make) / "out"


@pytest.fixture(scope="session")
def before(out: Path) -> dict[Path, tuple[int, ...]]:
    """What was emitted, which no query changes."""
    return states(out)


@pytest.fixture
def ask(out: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    def run(*arguments: object) -> str:
        capsys.readouterr()
        assert sql.main([*map(str, arguments), "--data", str(out)]) == 0
        return capsys.readouterr().out

    return run


def test_tables_and_the_recipes_relations_are_there(ask: Ask) -> None:
    counts = "select (select count(*) from incidents) as i, (select count(*) from gates) as g"
    assert json.loads(ask(counts, "--json")) == [{"i": 9, "g": 9}]
    assert json.loads(ask("select recipe from settings", "--json")) == [{"recipe": "unified-v2"}]
    assert json.loads(ask("from main.dags limit 0", "--json")) == []


def test_a_file_and_standard_input_are_queries_too(
    ask: Ask, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "with a space.sql"
    file.write_text("\ufeff-- a comment\nselect count(*) as n\nfrom pool; -- the end\n")
    assert json.loads(ask(file, "--json")) == [{"n": 9}]
    for argument in ([], ["-"]):
        stdin = io.TextIOWrapper(io.BytesIO(b"select 'x;y' as a -- ;\n"))
        monkeypatch.setattr("sys.stdin", stdin)
        assert json.loads(ask(*argument, "--json")) == [{"a": "x;y"}]


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("date '2024-02-29'", "2024-02-29"),
        ("timestamp '2024-02-29 10:00:00'", "2024-02-29 10:00:00"),
        ("{'a': [1, null], 'b': {'c': 'é\"'}}", {"a": [1, None], "b": {"c": 'é"'}}),
        ("map {'k': 1.5}", {"k": 1.5}),
        ("170141183460469231731687303715884105727", 170141183460469231731687303715884105727),
        ("'nan'::double", None),
        ("[1.5, '-inf'::double]", [1.5, None]),
        ("'NaN and Infinity'", "NaN and Infinity"),
        ("true", True),
        ("null", None),
        ("'a\nb\t' || chr(8238)", "a\nb\t\u202e"),
    ],
)
def test_json_holds_every_kind_of_value(ask: Ask, query: str, value: object) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    result = json.loads(ask(f'select {query} as "a ""name"""', "--json"), parse_constant=refuse)
    assert result == [{'a "name"': value}]


def test_csv_is_what_a_csv_reader_reads(ask: Ask) -> None:
    query = "select incident_id, category, [1, 2] as l, null as n from incidents order by all"
    rows = list(csv.reader(io.StringIO(ask(query, "--csv"), newline="")))
    assert rows[0] == ["incident_id", "category", "l", "n"]
    assert rows[1:] == [
        *([letter, "Malware", "[1,2]", ""] for letter in "abcdefgh"),
        ["i", HOSTILE, "[1,2]", ""],
    ]
    assert ask("select 1 as a, 2 as a", "--csv") == "a,a\n1,2\n"


def test_parquet_is_written_whole_or_not_at_all(ask: Ask, out: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    output = ask("from conversations order by split, line", "--parquet", file)
    frame = pl.read_parquet(file)
    assert output == f"wrote {frame.height} rows, {file}\n"
    assert frame.height >= 27
    assert frame["messages"][0][0]["role"] == "system"
    assert ask("select 1 as a where false", "--parquet", file).startswith("wrote 0 rows")
    assert pl.read_parquet(file).columns == ["a"]
    before = file.read_bytes()
    failing = "select (if(i = 19999, 'x', '1'))::int as n from range(20000) as t (i)"
    assert sql.main([failing, "--parquet", str(file), "--data", str(out)]) == 2
    assert sql.main(["select interval 1 month as i", "--parquet", str(file), "--data", str(out)])
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "query",
    [
        "select 3 as n;",
        "select 3 as n ; ; -- x",
        "select 1 -- ; x\n + 2 as n",
        "select 1 /* ; */ + 2 as n; /* ; */",
        "-- ;\nselect 3 as n -- the end",
        "select 3 as n, -- ';\n",
    ],
)
def test_semicolons_and_comments_are_no_hindrance(ask: Ask, query: str) -> None:
    assert json.loads(ask(query, "--json")) == [{"n": 3}]


def test_a_plain_table_is_aligned_and_cannot_be_broken(ask: Ask) -> None:
    lines = ask("select category as c, 12 as number, null as n from incidents").splitlines()
    assert lines[0].split() == ["c", "number", "n"]
    assert len(lines) == 2 + 9
    assert len({line.index(" 12 ") for line in lines[2:]}) == 1
    assert "a\\x1b[2J\\nb\\u202e|\\t" in lines[-1]
    assert lines[-1].endswith("null")


def test_a_plain_table_gives_every_row_and_shortens_cells(ask: Ask) -> None:
    lines = ask("select i, repeat('x', 500) as x from range(3000) as t (i)").splitlines()
    assert len(lines) == 3002
    assert all(len(line) < 120 and line.endswith("…") for line in lines[2:])


def on_terminal(*arguments: str, columns: int = 80) -> str:
    """What a command prints on a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = [sys.executable, "-m", *arguments]
    with subprocess.Popen(command, stdout=theirs, stdin=theirs, stderr=theirs) as process:
        os.close(theirs)
        output = b""
        while True:
            try:
                output += os.read(ours, 65536)
            except OSError:
                break
    os.close(ours)
    assert process.returncode == 0, output.decode()
    return output.decode().replace("\r\n", "\n")


def test_a_terminal_shows_some_rows_and_says_how_many_there_are(out: Path) -> None:
    long = "select i, repeat('x', 500) as x from range(1234) as t (i)"
    output = on_terminal("immune_data.sql", long, "--data", str(out))
    assert "the first 50 of 1,234 rows" in output
    assert "…" in output
    assert max(len(re.sub("\x1b\\[[0-9;]*m", "", line)) for line in output.splitlines()) <= 80
    few = on_terminal("immune_data.sql", "select category from incidents", "--data", str(out))
    assert "9 rows" in few
    assert "\x1b[2J" not in few
    assert "\u202e" not in few
    wide = on_terminal("immune_data.sql", "from settings", "--data", str(out))
    assert "max_sequence_tokens" in wide
    assert "4096" in wide


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "empty"),
        ("  -- only a comment\n", "empty"),
        ("selec 1", '"selec" (line 1, column 1)'),
        ("select\n  foo from gates", "(line 2, column 3)"),
        ("select '€', zz", "(line 1, column 13)"),
        ("from nothing", "nothing"),
        ("select 1; select 2", "2 statements"),
        ("select 'a'::int from pool", "'a'"),
        ("select error('two\nlines')::varchar from pool", "two lines"),
        ("drop table main.dags", "DROP"),
        ("insert into main.dags from main.dags", "INSERT"),
        ("create temp table x as select 1", "CREATE"),
        ("copy pool to '{}/written'", "COPY"),
        ("explain analyze copy pool to '{}/written'", "COPY"),
        ("explain (analyze) copy pool to '{}/written'", "statement"),
        ("/* x */ explain /* y */ analyze copy pool to '{}/written'", "statement"),
        ("attach '{}/written'", "ATTACH"),
        ("set memory_limit = '1TB'", "SET"),
        ("export database '{}/written'", "EXPORT"),
        ("missing.sql", "there is no file missing.sql"),
    ],
)
@pytest.mark.parametrize("form", ["--csv", "--json"])
def test_what_is_no_query_is_a_sentence(
    refused: Refused,
    out: Path,
    before: dict[Path, tuple[int, ...]],
    tmp_path: Path,
    query: str,
    said: str,
    form: str,
) -> None:
    assert said in refused(sql.main, query.replace("{}", str(tmp_path)), form, "--data", out)
    assert list(tmp_path.iterdir()) == []
    assert states(out) == before


def test_wrong_uses_are_sentences(refused: Refused, out: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.sql"
    bad.write_bytes(b"select '\xff'")
    assert "not UTF-8 (byte 8)" in refused(sql.main, bad, "--data", out)
    twice = "select 1 as a, 2 as a"
    assert "two columns are called a" in refused(sql.main, twice, "--json", "--data", out)
    target = tmp_path / "x.parquet"
    assert "called a" in refused(sql.main, twice, "--parquet", target, "--data", out)
    assert "folder" in refused(sql.main, "from pool", "--parquet", tmp_path, "--data", out)
    missing = tmp_path / "none" / "x.parquet"
    assert "there is no folder" in refused(
        sql.main, "from pool", "--parquet", missing, "--data", out
    )
    assert "not allowed with" in refused(sql.main, "from pool", "--csv", "--json", "--data", out)
    assert "emit a recipe first" in refused(sql.main, "from pool", "--data", tmp_path)
    assert "risk" in refused(sql.main, "from pool", "--data", out, "--recipe", "risk")
    assert "no recipe" in refused(sql.main, "from pool", "--data", out, "--recipe", "none")
    assert list(tmp_path.iterdir()) == [bad]


def test_explain_pivot_describe_and_show_are_queries(ask: Ask) -> None:
    assert "physical_plan" in ask("explain from pool")
    assert "analyzed_plan" in ask("explain analyze from pool")
    assert "incident_id" in ask("describe pool")
    assert "splits" in ask("show tables")
    pivoted = ask("pivot splits on split using count(*)", "--json")
    assert json.loads(pivoted)[0].keys() >= {"eval", "train"}


def test_the_help_warns_that_sql_reads_files(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        sql.main(["--help"])
    assert "SQL may still read any file that you may read" in capsys.readouterr().out.replace(
        "\n", " "
    )


def test_our_own_files_are_found_from_anywhere(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "verdict" in ask("sql/pipeline/10_gates.sql", "--csv").splitlines()[0]


MEASURED = """
import re, sys
from pathlib import Path
from immune_data import sql
code = sql.main(sys.argv[1:])
# Not getrusage: its peak counts that of the process we were forked from.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(int(peak[1]) // 1024, file=sys.stderr)
sys.exit(code)
"""


# 2 KB of text a row, which no column of a Parquet file can make small. What Python writes takes it
# longer, and grows more where it is kept.
@pytest.mark.parametrize(
    ("form", "rows", "most"),
    [
        ("--csv", 60_000, 310),
        ("--json", 60_000, 310),
        ("--parquet", 100_000, 350),
        ("table", 100_000, 350),
    ],
)
def test_large_results_stream(out: Path, tmp_path: Path, form: str, rows: int, most: int) -> None:
    query = f"select i, repeat(md5(i::varchar), 64) as x from range({rows}) as t (i)"
    target = {"--parquet": [str(tmp_path / "x.parquet")]}.get(form, [])
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, query, "--data", str(out)]
        + ([] if form == "table" else [form, *target]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stderr) < most
    if target:
        assert pl.scan_parquet(target[0]).select(pl.len()).collect().item() == rows


def test_a_reader_that_goes_away_is_no_failure(out: Path) -> None:
    query = "select i from range(1000000) as t (i)"
    for form in ("", "--csv", "--json"):
        command = (
            f'"{sys.executable}" -m immune_data.sql "{query}" {form} --data "{out}" | head -n 1'
        )
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "name", ["immune.duckdb", "sft/unified-v2/train.jsonl", "sft/new.parquet", "tables/x.parquet"]
)
def test_what_a_run_made_is_not_written_over(
    name: str, out: Path, tmp_path: Path, refused: Refused
) -> None:
    before = states(out)
    (tmp_path / "link").symlink_to(out / name)
    for path in (out / name, tmp_path / "link", out / "audit" / ".." / name):
        message = refused(sql.main, "from pool", "--parquet", path, "--data", out)
        assert message == f"{path} is an output of `emit`: name another file"
    assert states(out) == before
