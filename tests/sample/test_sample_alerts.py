"""The sample corpus as alerts: back to incidents, and on to the records that it gives anyway."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from corpus import records
from slips_alerts import DIALECTS, IDEA0, write

from immune_data.emit import __main__ as emit
from immune_data.sample import __main__ as sample
from immune_data.sample import alerts, plan
from immune_data.sample import incidents as sample_incidents
from immune_data.sample.incidents import Incident
from immune_data.slips import __main__ as slips


@pytest.fixture(scope="module")
def incidents() -> list[Incident]:
    """Some incidents of the corpus, windows whole, of few events."""
    found: list[Incident] = []
    every = sample_incidents.incidents(0, plan.plan_block(0, 0))
    for _, window in itertools.groupby(every, lambda one: (one.source_ip, one.timewindow)):
        members = list(window)
        if max(one.event_count for one in members) < 150:
            found += members
        if len(found) >= 40:
            return found
    raise AssertionError("too few small incidents")


def made(incidents: list[Incident], folder: Path, dialect: str) -> dict[str, dict[str, Any]]:
    lines = [
        line
        for number, one in enumerate(incidents)
        for line in alerts.lines(one, dialect, 0, number)
    ]
    file = write(folder / alerts.NAME, lines)
    output = folder / "incidents.json"
    assert slips.main([str(file), "--output", str(output)]) == 0
    assert (folder / "incidents.rejects.jsonl").read_bytes() == b""
    events = pl.read_parquet(folder / "incidents.events.parquet")
    assert events["incident_id"].null_count() == 0
    return {row["incident_id"]: row for row in json.loads(output.read_bytes())}


@pytest.fixture(scope="module", params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def rebuilt(
    incidents: list[Incident], tmp_path_factory: pytest.TempPathFactory, dialect: str
) -> dict[str, dict[str, Any]]:
    """What `slips` makes of their alerts, by incident."""
    return made(incidents, tmp_path_factory.mktemp("slips"), dialect)


def test_alerts_give_the_incidents_back(
    incidents: list[Incident], rebuilt: dict[str, dict[str, Any]], dialect: str
) -> None:
    assert len(rebuilt) == len(incidents)
    for one in incidents:
        row = rebuilt[one.role.incident_id]
        assert row["timeline"] == (None if dialect == IDEA0 else one.timeline)
        for fact in ("source_ip", "timewindow", "threat_level", "event_count"):
            assert row[fact] == getattr(one, fact)
        # The last two lines: all events, and by severity.
        assert row["dag_analysis"].split("\n")[-2:] == one.risk_dag.split("\n")[-2:]


@pytest.fixture(scope="module")
def contents(incidents: list[Incident], sample_source: Path) -> dict[str, dict[str, Any]]:
    """The files of the sample with these incidents alone."""
    ids = {one.role.incident_id for one in incidents}
    contents = {}
    for file in sample.FILES:
        content = json.loads((sample_source / file).read_bytes())
        rows = [row for row in content["incidents"] if row["incident_id"] in ids]
        contents[file] = {**content, "incidents": rows}
    return contents


def of_records(
    contents: dict[str, dict[str, Any]], dags: dict[str, str], folder: Path
) -> list[list[Any]]:
    """What `emit` makes of these incidents: the keys of the records.

    `dags` is their evidence where it is not that of the sample.
    """
    source, data = folder / "source", folder / "data"
    source.mkdir(parents=True)
    for file, content in contents.items():
        rows = [
            {**row, "dag_analysis": dags.get(row["incident_id"], row["dag_analysis"])}
            if row.get("dag_analysis")
            else row
            for row in content["incidents"]
        ]
        (source / file).write_text(json.dumps({**content, "incidents": rows}))
    words = ["--source", str(source), "--data", str(data), "--recipe", "unified-v2"]
    assert emit.main(words) == 0
    keys = ("incident_id", "task", "model", "score", "origin")
    return [
        [record[key] for key in keys]
        for split in ("train", "eval")
        for record in records(data, split)
    ]


@pytest.fixture(scope="module")
def plain(
    contents: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> list[list[Any]]:
    return of_records(contents, {}, tmp_path_factory.mktemp("plain"))


def test_records_are_as_many_as_without_the_detour(
    rebuilt: dict[str, dict[str, Any]],
    plain: list[list[Any]],
    contents: dict[str, dict[str, Any]],
    tmp_path: Path,
) -> None:
    dags = {incident: row["dag_analysis"] for incident, row in rebuilt.items()}
    assert dags.keys() == {row["incident_id"] for row in contents[sample.SUMMARIES]["incidents"]}
    assert of_records(contents, dags, tmp_path) == plain
    assert len(plain) > 20


def test_the_command_writes_alerts_that_say_they_are_synthetic(
    incidents: list[Incident],
    tmp_path: Path,
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sample_incidents, "incidents", lambda seed, block: iter(incidents[:3]))
    words = ["--output", str(tmp_path), "--dialect", "2.d.v03"]
    assert sample.main(words) == 0
    first = (tmp_path / "alerts.json").read_bytes()
    assert all(b"immune sample corpus" in line for line in first.splitlines())
    assert "already exists" in refused(sample.main, *words)
    assert sample.main([*words, "--force"]) == 0
    assert (tmp_path / "alerts.json").read_bytes() == first
    (tmp_path / "alerts.json").write_text("{}\n")
    assert "does not belong to a sample corpus" in refused(sample.main, *words, "--force")
