"""The sample corpus as alerts: back to incidents, and on to the records that it gives anyway."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
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


@pytest.mark.parametrize("dialect", DIALECTS)
def test_alerts_give_the_incidents_back(
    incidents: list[Incident], tmp_path: Path, dialect: str
) -> None:
    found = made(incidents, tmp_path, dialect)
    assert len(found) == len(incidents)
    for one in incidents:
        row = found[one.role.incident_id]
        assert row["timeline"] == (None if dialect == IDEA0 else one.timeline)
        for fact in ("source_ip", "timewindow", "threat_level", "event_count"):
            assert row[fact] == getattr(one, fact)
        # The last two lines: all events, and by severity.
        assert row["dag_analysis"].split("\n")[-2:] == one.risk_dag.split("\n")[-2:]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_records_are_as_many_as_without_the_detour(
    incidents: list[Incident], sample_source: Path, tmp_path: Path, dialect: str
) -> None:
    found = made(incidents, tmp_path, dialect)
    counts = []
    for name in ("plain", "detour"):
        source = tmp_path / name
        source.mkdir()
        for file in sample.FILES:
            content = json.loads((sample_source / file).read_bytes())
            rows = [row for row in content["incidents"] if row["incident_id"] in found]
            for row in rows if name == "detour" else ():
                if row.get("dag_analysis"):
                    row["dag_analysis"] = found[row["incident_id"]]["dag_analysis"]
            (source / file).write_text(json.dumps({**content, "incidents": rows}))
        data = tmp_path / f"data-{name}"
        words = ["--source", str(source), "--data", str(data), "--recipe", "unified-v2"]
        assert emit.main(words) == 0
        lines = [
            json.loads(line)
            for split in ("train", "eval")
            for line in (data / "sft" / "unified-v2" / f"{split}.jsonl").open(encoding="utf-8")
        ]
        keys = ("incident_id", "task", "model", "score", "origin")
        counts.append([[line[key] for key in keys] for line in lines])
        shutil.rmtree(data)
    assert counts[0] == counts[1]
    assert len(counts[0]) > 20


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
