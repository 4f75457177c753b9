"""What another version of us wrote is one sentence that says what to rerun, for every command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from corpus import Corpus

from immune_data import Dataset, sql
from immune_data.audit import __main__ as audit
from immune_data.common.errors import ImmuneError
from immune_data.contract.manifest import SCHEMA_VERSION
from immune_data.emit import __main__ as emit
from immune_data.publish import __main__ as publish
from immune_data.report import __main__ as report
from immune_data.why import __main__ as why

Refused = Callable[..., str]

PUBLISH = ("--repo-id", "org/name", "--license", "mit", "--dry-run")
READ_DATABASE = {
    "audit": (audit.main, []),
    "funnel": (audit.main, ["funnel"]),
    "why": (why.main, ["a"]),
    "sql": (sql.main, ["from pool"]),
    "report": (report.main, []),
    "publish": (publish.main, PUBLISH),
}
READ_MANIFEST = {
    "check": (emit.main, ["--check"]),
    "report": (report.main, []),
    "publish": (publish.main, PUBLISH),
}


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("emitted")
    source = Corpus().incidents("abcdefghijklmnop").write(folder / "source")
    assert emit.main(["--source", str(source), "--data", str(folder / "out")]) == 0
    return folder


@pytest.fixture
def out(emitted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(emitted / "out", tmp_path / "out"))


@pytest.fixture(
    params=['drop table "unified-v2".sides', "alter table main.judgements drop column position"]
)
def earlier(request: pytest.FixtureRequest, out: Path) -> Path:
    """An output folder whose database lacks what a run of this version makes."""
    with duckdb.connect(str(out / "immune.duckdb")) as connection:
        connection.execute(request.param)
    return out


@pytest.mark.parametrize("name", READ_DATABASE)
def test_a_database_of_another_version(name: str, earlier: Path, refused: Refused) -> None:
    main, arguments = READ_DATABASE[name]
    said = refused(main, *arguments, "--data", earlier)
    assert said.startswith(f"{earlier / 'immune.duckdb'} was made by another version of immune")
    assert said.endswith("`python -m immune_data.emit --recipe unified-v2`")


def test_a_database_of_another_version_from_python(earlier: Path) -> None:
    with pytest.raises(ImmuneError, match="was made by another version of immune"):
        Dataset(earlier).table("pool")


def test_what_a_person_adds_to_a_database_is_not_another_version(out: Path) -> None:
    with duckdb.connect(str(out / "immune.duckdb")) as connection:
        connection.execute('create table "unified-v2".mine as select 1 as one')
        connection.execute("create table main.notes as select 2 as two")
    assert sql.main(["from mine", "--data", str(out)]) == 0


def test_a_published_dataset_of_another_version(
    earlier: Path, tmp_path: Path, refused: Refused
) -> None:
    folder = tmp_path / "published"
    (folder / "tables").mkdir(parents=True)
    (folder / "unified-v2" / "relations").mkdir(parents=True)
    with duckdb.connect(str(earlier / "immune.duckdb"), read_only=True) as connection:
        for schema, name in connection.execute(
            "select schema_name, table_name from duckdb_tables()"
        ).fetchall():
            into = folder / ("tables" if schema == "main" else "unified-v2/relations")
            connection.execute(f'copy "{schema}"."{name}" to \'{into}/{name}.parquet\'')
    said = refused(audit.main, "--dataset", folder, "--data", tmp_path / "mine")
    assert said.startswith(f"{folder} was published by another version of immune: publish it again")


@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1, None])
@pytest.mark.parametrize("name", READ_MANIFEST)
def test_a_manifest_of_another_version(
    name: str, version: int | None, out: Path, refused: Refused
) -> None:
    folder = out / "sft" / "unified-v2"
    content = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    content["schema_version"] = version
    if version is None:
        del content["schema_version"]
    (folder / "manifest.json").write_text(json.dumps(content))
    main, arguments = READ_MANIFEST[name]
    said = refused(main, *arguments, "--data", out)
    assert said == f"{folder} was emitted by another version of immune: emit it again"


def test_emit_rebuilds_what_another_version_emitted(emitted: Path, out: Path) -> None:
    path = out / "sft" / "unified-v2" / "manifest.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {"schema_version": SCHEMA_VERSION - 1}))
    assert emit.main(["--source", str(emitted / "source"), "--data", str(out)]) == 0
    assert json.loads(path.read_text(encoding="utf-8")) == content
