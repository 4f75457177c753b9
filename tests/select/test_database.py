"""The database is shared: with those who read it, with other recipes, and with what people keep."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from conftest import Part
from corpus import Corpus, digests, query

from immune_data import recipes, sql
from immune_data.audit import __main__ as audit
from immune_data.common.errors import ImmuneError
from immune_data.emit import __main__ as emit
from immune_data.publish import __main__ as publish
from immune_data.report import __main__ as report
from immune_data.select import database, steps
from immune_data.why import __main__ as why

REPOSITORY = Path(__file__).parents[2]
CLIENT = [sys.executable, "-m", "duckdb_cli"]

HOLDING = (
    "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == 'reading'); "
    "print('open', flush=True); sys.stdin.readline()"
)

# What a person may keep in the database, by the query that shows it.
OWN = {
    "create schema mine": 'select count(*) from mine."my notes"',
    'create table mine."my notes" as select 7 as a': 'select a from mine."my notes"',
    "create view mine.passing as select count(*) as n from main.incidents": (
        "select n > 0 from mine.passing"
    ),
    "create macro mine.twice(a) as a * 2": "select mine.twice(21)",
    "create table main.labels as select 'x' as label": "from main.labels",
    'create table "unified-v2".checked as select 1 as by_hand': 'from "unified-v2".checked',
    'create view "unified-v2".few as select count(*) < 99 as n from "unified-v2".pool': (
        'from "unified-v2".few'
    ),
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return Corpus().incidents("abcdef").write(tmp_path / "source")


@pytest.fixture
def other_source(tmp_path: Path) -> Path:
    return Corpus().incidents("uvwxyz").write(tmp_path / "other")


@pytest.fixture(scope="module")
def _by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    source = Corpus().incidents("abcdef").write(folder / "source")
    for recipe in ("unified-v2", "risk"):
        emitted(source, folder / "out", recipe)
    return folder / "out"


@pytest.fixture
def out(_by_two: Path, source: Path, tmp_path: Path) -> Path:
    """What two recipes made of `source`."""
    return Path(shutil.copytree(_by_two, tmp_path / "out"))


def emitted(source: Path, out: Path, recipe: str = "unified-v2", **how: bool) -> emit.Emitted:
    return emit.emit(source, out, recipes.load(recipe), **how)


@contextmanager
def held(path: Path, way: str) -> Iterator[int]:
    """Another process that has the database open; its id."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(path), way],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "open\n"
        try:
            yield process.pid
        finally:
            process.kill()


def keep(out: Path, *, killed: bool = False) -> dict[str, list[tuple]]:
    """Put a person's own things into the database; what they say when asked.

    `killed`: by a client that dies and leaves them in its log alone.
    """
    if killed:
        script = (
            "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]); "
            "c.execute(sys.argv[2]); os.kill(os.getpid(), 9)"
        )
        command = [sys.executable, "-c", script, str(out / database.NAME), "; ".join(OWN)]
        assert subprocess.run(command, check=False).returncode == -9
        assert (out / f"{database.NAME}.wal").exists()
    else:
        with duckdb.connect(str(out / database.NAME)) as connection:
            connection.execute("; ".join(OWN))
    return kept(out)


def kept(out: Path) -> dict[str, list[tuple]]:
    with duckdb.connect(str(out / database.NAME), read_only=True) as connection:
        return {asked: connection.execute(asked).fetchall() for asked in OWN.values()}


# Open elsewhere


def test_a_reader_elsewhere_disturbs_nothing(source: Path, out: Path) -> None:
    risk = query(out, "from risk_gates", "risk")
    with held(out / database.NAME, "reading"):
        assert emitted(source, out).current
        assert not emitted(source, out, "unified-v1").current
        assert not emitted(source, out, force=True).current
        assert sql.main(["from funnel", "--data", str(out), "--json"]) == 0
    assert query(out, "from risk_gates", "risk") == risk
    assert emitted(source, out, "risk").current


def test_a_reader_in_the_same_process_disturbs_nothing(source: Path, out: Path) -> None:
    with duckdb.connect(str(out / database.NAME), read_only=True) as connection:
        assert emitted(source, out).current
        assert not emitted(source, out, "unified-v1").current
        assert connection.execute('select count(*) from "unified-v2".pool').fetchall() == [(6,)]


@pytest.mark.parametrize("arguments", [[], ["--force"], ["--replace"], ["--recipe", "unified-v1"]])
def test_a_writer_elsewhere_is_a_sentence(
    arguments: list[str], source: Path, out: Path, refused: Callable[..., str]
) -> None:
    before = digests(out)
    with held(out / database.NAME, "writing") as process:
        message = refused(emit.main, "--source", source, "--data", out, *arguments)
        assert message == (
            f"{out / database.NAME} is open for writing in another program (process {process}): "
            "close it there, or open it there with -readonly, and run again"
        )
        for main, *what in (
            (sql.main, "from pool"),
            (why.main, "a"),
            (audit.main,),
            (report.main,),
        ):
            assert refused(main, *what, "--data", out) == message
    assert digests(out) == before


def test_a_writer_in_the_same_process_is_a_sentence(
    source: Path, out: Path, refused: Callable[..., str]
) -> None:
    with duckdb.connect(str(out / database.NAME)) as connection:
        message = refused(emit.main, "--source", source, "--data", out)
        assert message.endswith("is open for writing in this process: close that connection first")
        assert connection.execute('select count(*) from "unified-v2".pool').fetchall() == [(6,)]


@pytest.mark.parametrize(("written", "closed"), [(True, True), (True, False), (False, False)])
def test_a_writer_that_comes_while_a_run_is_on_loses_nothing(
    written: bool, closed: bool, source: Path, out: Path
) -> None:
    opened = []

    def write(line: str) -> None:
        if line == "rendering records":
            connection = duckdb.connect(str(out / database.NAME))
            if written:
                connection.execute("create table main.labels as select 1 as a")
            opened.append(connection)
            if closed:
                connection.close()

    before = digests(out / "sft")
    with pytest.raises(ImmuneError, match=r"changed during the run|open for writing"):
        emit.emit(source, out, recipes.load("unified-v1"), report=write)
    if not written:
        opened[0].execute("create table main.labels as select 1 as a")
    opened[0].close()
    assert digests(out / "sft") == before
    assert query(out, "from main.labels") == [(1,)]
    assert not emitted(source, out, "unified-v1").current
    assert query(out, "from main.labels") == [(1,)]


# What stays


WAYS = ["unchanged", "force", "another recipe", "edited", "other sources"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Of a client that was killed, a run that makes nothing, one that makes a recipe, and one that
    makes everything; thorough, all ways.
    """
    if "way" in metafunc.fixturenames:
        after_killed = WAYS if metafunc.config.getoption("--thorough") else WAYS[::2]
        cases = [(way, False) for way in WAYS] + [(way, True) for way in after_killed]
        metafunc.parametrize(("way", "killed"), cases)


def test_what_people_keep_stays(
    way: str, killed: bool, source: Path, other_source: Path, out: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.toml"
    own.write_text('extends = "unified-v2"\n')
    if way == "edited":
        emitted(source, out, str(own))
    before = keep(out, killed=killed)
    match way:
        case "unchanged":
            assert emitted(source, out).current
        case "force":
            emitted(source, out, force=True)
        case "another recipe":
            emitted(source, out, "unified-v3")
        case "edited":
            own.write_text('extends = "unified-v2"\nsplit.seed = 7\n')
            emitted(source, out, str(own))
        case "other sources":
            emitted(other_source, out, replace=True)
    assert kept(out) == before
    assert sql.main(["from mine.passing", "--data", str(out), "--json"]) == 0


def test_relations_that_an_earlier_version_signed_are_made_anew(source: Path, out: Path) -> None:
    """It signed them with these words alone."""
    relations = query(
        out, "select table_name from duckdb_tables() where schema_name = 'unified-v2'"
    )
    with duckdb.connect(str(out / database.NAME)) as connection:
        for (name,) in relations:
            connection.execute(
                f"comment on table \"unified-v2\".{name} is 'made by immune_data.emit'"
            )
    keep(out)
    assert not emitted(source, out, force=True).current
    comments = dict(
        query(out, "select table_name, comment from duckdb_tables() where comment is not null")
    )
    assert comments["pool"].startswith("One row per incident")
    assert {"labels", "checked"}.isdisjoint(comments)


def test_what_people_keep_is_not_published(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(out)
    arguments = ["--repo-id", "a/b", "--license", "other", "--data", str(out), "--dry-run"]
    checks = [check.name for check in audit_checks()]
    assert publish.main([*arguments, "--accept", *checks]) == 0
    names = {path.name for path in (out / "publish" / "b").rglob("*.parquet")}
    assert {"gates.parquet", "incidents.parquet", "made_from.parquet"} <= names
    assert not names & {"labels.parquet", "checked.parquet", "few.parquet", "emitted.parquet"}


def audit_checks() -> list:
    from immune_data.audit import checks

    return checks.load()


def test_other_sources_list_what_would_go(
    source: Path, other_source: Path, out: Path, refused: Callable[..., str]
) -> None:
    keep(out)
    before = digests(out)
    lines: list[str] = []
    with pytest.raises(ImmuneError) as caught:
        emit.emit(other_source, out, recipes.load("unified-v1"), report=lines.append)
    assert str(caught.value) == (
        f"{out / database.NAME} contains risk, unified-v2, made from other tables than those of "
        f"{other_source}: emit into another folder with --data, or drop them with --replace"
    )
    assert lines == []  # it is said before the sources are read
    message = refused(emit.main, "--source", other_source, "--data", out)
    assert "contains risk, made from other tables" in message
    assert digests(out) == before
    assert emitted(other_source, out, "unified-v1", replace=True).current is False
    assert "contains mine, unified-v1" in refused(sql.main, "from pool", "--data", out)
    assert query(out, "select distinct recipe from main.eval_incidents", "unified-v1") == [
        ("unified-v1",)
    ]
    # Alone in its folder a recipe gives nothing up, whatever it reads.
    assert emitted(source, out, "unified-v1").current is False


def test_other_recipes_stay_when_their_tables_are_made_anew_and_the_same(
    source: Path, out: Path
) -> None:
    (out / "tables" / "manifest.json").unlink()
    assert not emitted(source, out).current
    assert emitted(source, out, "risk").current


def test_a_table_where_a_relation_should_be_is_a_sentence(
    source: Path, out: Path, refused: Callable[..., str]
) -> None:
    with duckdb.connect(str(out / database.NAME)) as connection:
        connection.execute('create schema "unified-v1"; create view "unified-v1".gates as select 1')
    before = digests(out)
    message = refused(emit.main, "--source", source, "--data", out, "--recipe", "unified-v1")
    assert message == (
        f"{out / database.NAME} contains a view unified-v1.gates that no run made, where a "
        "relation should be: rename it"
    )
    assert digests(out) == before


@pytest.mark.parametrize("kind", ["table", "view"])
def test_a_relation_that_would_be_taken_for_a_table_is_a_sentence(
    kind: str, source: Path, out: Path, refused: Callable[..., str]
) -> None:
    """The queries say `from incidents`, and a schema's own come first."""
    with duckdb.connect(str(out / database.NAME)) as connection:
        connection.execute(f'create {kind} "unified-v2".incidents as select 1 as a')
    before = digests(out)
    message = refused(emit.main, "--source", source, "--data", out, "--force")
    assert message == (
        "the database has a relation unified-v2.incidents that no run made, which would hide "
        "main.incidents: rename it"
    )
    assert digests(out) == before


def test_a_database_that_lacks_what_a_run_leaves_is_a_sentence(
    source: Path, out: Path, refused: Callable[..., str]
) -> None:
    with duckdb.connect(str(out / database.NAME)) as connection:
        connection.execute("drop table main.source_files")
    message = refused(emit.main, "--source", source, "--data", out)
    assert "is not a database of a run" in message
    assert message.endswith("move it away, or rebuild it with --replace")
    assert not emitted(source, out, replace=True).current


def test_a_database_of_another_form_is_made_anew_where_nothing_is_lost(
    source: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with duckdb.connect(str(out / database.NAME)) as connection:
        connection.execute('create schema "unified-v2"; create schema mine')
    message = refused(emit.main, "--source", source, "--data", out)
    assert "contains mine, in a format of DuckDB v2." in message
    assert not emitted(source, out, replace=True).current
    shutil.rmtree(out)
    out.mkdir()
    with duckdb.connect(str(out / database.NAME)) as connection:
        connection.execute('create schema "unified-v2"')
    assert not emitted(source, out).current
    assert database.contents(out / database.NAME).storage == database.STORAGE


# Other clients


def client(folder: Path, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLIENT, *arguments], cwd=folder, input=typed, capture_output=True, text=True, check=False
    )


def readers_folder(folder: Path, out: Path) -> Path:
    """A folder as the docs' readers have it: `data` and `sql`."""
    (folder / "data").symlink_to(out)
    (folder / "sql").symlink_to(steps.sql_folder())
    return folder


def test_the_command_line_is_older_than_our_duckdb() -> None:
    """What the tests below are worth."""
    version = client(REPOSITORY, "--version").stdout.split()[0]
    assert version.startswith("v1.5.")
    assert duckdb.__version__.startswith("2.")


def test_the_shown_block_runs_in_the_command_line_of_duckdb(
    sample_out: Callable[[str], Path], tmp_path: Path
) -> None:
    beside = readers_folder(tmp_path, sample_out("unified-v2"))
    page = (REPOSITORY / "docs" / "querying.md").read_text("utf-8")
    [block] = re.findall(r"^\$ duckdb (.*)\n((?:D .*\n)+)", page, re.MULTILINE)
    typed = "".join(line.removeprefix("D ") for line in block[1].splitlines(keepends=True))
    done = client(beside, "-csv", "-bail", *block[0].split(), typed=typed)
    assert (done.returncode, done.stderr) == (0, "")
    # The same things asked of our DuckDB.
    [(lost,)] = query(beside / "data", "select count(*) from conversations where tokens > 4096")
    assert len(re.findall(r"^[0-9a-f-]{36},(?:summary|cause|risk),\d+$", done.stdout, re.M)) == lost
    assert lost == 81


def test_every_file_of_sql_runs_in_the_command_line_of_duckdb(
    sample_part: Callable[[str], Part], tmp_path: Path
) -> None:
    beside = readers_folder(tmp_path, sample_part("unified-v2").out)
    files = sorted(path.relative_to(beside) for path in (beside / "sql").glob("*/*.sql"))
    assert len(files) > 80
    [(incident,)] = query(beside / "data", "select min(incident_id) from pool")
    typed = f"""use "unified-v2";\nset variable incident = '{incident}';\n"""
    typed += "".join(f".read {path}\n" for path in files)
    done = client(beside, "-csv", "-bail", "-readonly", "data/immune.duckdb", typed=typed)
    assert (done.returncode, done.stderr) == (0, "")
