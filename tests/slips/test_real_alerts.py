"""Real alert files, and those made of real incidents: read whole, and equal to what is public."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from slips_alerts import IDMEF_203, Event, Incident, number, write

from immune_data.contract import evidence
from immune_data.slips.build import Output, build
from immune_data.slips.selection import Selection

REBUILT = ["rebuilt-2.0.3.alerts.json.gz", "rebuilt-2.D.V03.alerts.json.gz"]
WEIGHTS = {"info": 0.0, "low": 0.2, "medium": 0.5, "high": 0.8, "critical": 1.0}

# incidents, events, in incidents, missing, rejects by reason
READ = {
    "constructed/edge-2.0.3.alerts.json": (4, 12, 10, 1, {}),
    "constructed/edge-2.D.V03.alerts.json": (4, 12, 10, 1, {}),
    "constructed/rebuilt-2.0.3.alerts.json.gz": (83, 2811, 2811, 0, {}),
    "constructed/rebuilt-2.D.V03.alerts.json.gz": (83, 2811, 2811, 0, {}),
    "idea0-2023-08.alerts.json.gz": (1, 301, 21, 0, {}),
    "idea0-2024-04.alerts.json.gz": (4, 360, 157, 0, {}),
    "idea0-2024-05.alerts.json.gz": (0, 1731, 0, 0, {}),
    "idea0-2025-02-cut.alerts.json.gz": (0, 317, 0, 0, {"cut": 1}),
    "idmefv2-2.0.3.alerts.json.gz": (1, 999, 21, 310, {}),
    "idmefv2-2.D.V03.events.json": (0, 11, 0, 0, {}),
    "mixed-2025-05.alerts.json": (0, 2, 0, 0, {}),
}


@pytest.fixture(scope="module")
def alerts(real_source: Path) -> Path:
    folder = real_source.parent / "slips-alerts"
    if not folder.is_dir():
        pytest.skip(f"no real alerts at {folder}")
    return folder


@pytest.fixture(scope="module")
def public(real_source: Path) -> dict[str, dict[str, Any]]:
    with gzip.open(real_source / "risk_dataset_v2.json.gz") as file:
        content = json.load(file)
    rows = content["incidents"] if isinstance(content, dict) else content
    return {row["incident_id"]: row for row in rows}


def made(file: Path, folder: Path, form: str = "condensed") -> tuple[Output, dict[str, Any]]:
    output = folder / "incidents.json"
    done = build([file], output, form=form, selection=Selection())
    return done, {row["incident_id"]: row for row in json.loads(output.read_bytes())}


@pytest.mark.parametrize("name", READ)
def test_a_file_is_read_to_its_end(alerts: Path, tmp_path: Path, name: str) -> None:
    done, incidents = made(alerts / name, tmp_path)
    (account,) = done.accounts
    reasons = {row["reason"]: row["lines"] for row in done.reasons}
    counts = (account[key] for key in ("incidents", "events", "linked", "missing"))
    assert (*counts, reasons) == READ[name]
    assert len(incidents) == account["incidents"]
    for row in incidents.values():
        groups = evidence.read(row["dag_analysis"]).groups
        assert sum(group.events for group in groups) == row["event_count"]


def blocks(dag: str) -> list[tuple[str, list[str]]]:
    """The lines of a DAG, each bullet with its example lines in any order."""
    actual: list[tuple[str, list[str]]] = []
    for line in dag.split("\n"):
        if line.startswith("  - "):
            actual[-1][1].append(line)
        else:
            actual.append((line, []))
    return [(line, sorted(details)) for line, details in actual]


@pytest.mark.parametrize("name", REBUILT)
def test_the_documented_form_is_what_is_public(
    alerts: Path, public: dict[str, dict[str, Any]], tmp_path: Path, name: str
) -> None:
    _, incidents = made(alerts / "constructed" / name, tmp_path, "documented")
    assert len(incidents) == 83
    for one, row in incidents.items():
        known = public[one]
        assert blocks(row["dag_analysis"]) == blocks(known["dag_analysis"])
        for fact in ("source_ip", "timewindow", "timeline", "threat_level", "event_count"):
            assert row[fact] == known[fact]


@pytest.mark.parametrize("name", REBUILT)
def test_condensing_the_events_is_condensing_the_text(
    alerts: Path, public: dict[str, dict[str, Any]], tmp_path: Path, name: str
) -> None:
    def groups(dag: str) -> list[tuple[object, ...]]:
        result = evidence.read(dag).groups
        return sorted(
            (one.severity, str(one.kind), one.events, one.first, one.last) for one in result
        )

    _, incidents = made(alerts / "constructed" / name, tmp_path)
    for one, row in incidents.items():
        assert groups(row["dag_analysis"]) == groups(public[one]["dag_analysis"])


def test_dialects_of_the_same_facts_give_the_same(alerts: Path, tmp_path: Path) -> None:
    for kind in ("edge", "rebuilt"):
        actual = []
        for dialect in ("2.0.3", "2.D.V03"):
            (file,) = (alerts / "constructed").glob(f"{kind}-{dialect}*")
            _, incidents = made(file, tmp_path)
            for row in incidents.values():
                assert row.pop("dialect") == dialect
            events = pl.read_parquet(tmp_path / "incidents.events.parquet")
            actual.append((incidents, events.drop("file", "text").to_dicts()))
        assert actual[0] == actual[1]


def test_levels_of_idea0_add_up_to_those_of_the_alerts(alerts: Path, tmp_path: Path) -> None:
    _, incidents = made(alerts / "idea0-2024-04.alerts.json.gz", tmp_path)
    events = pl.read_parquet(tmp_path / "incidents.events.parquet").drop_nulls("incident_id")
    sums = dict.fromkeys(incidents, 0.0)
    for event in events.sort("line").iter_rows(named=True):
        sums[event["incident_id"]] += WEIGHTS[event["threat_level"]] * event["confidence"]
    assert sums == {one: row["threat_level"] for one, row in incidents.items()}
    assert sorted(sums.values()) == [6.0, 6.0, 6.1, 6.499999999999999]


def texts_of_log(path: Path) -> list[list[tuple[str, str]]]:
    """The texts and levels of each alert in a log of Slips, which breaks long lines."""
    log = re.sub(r"\x1b\[\d*m", "", gzip.decompress(path.read_bytes()).decode())
    log = re.sub(r"\n {10}", "", log)
    actual: list[list[tuple[str, str]]] = []
    for line in log.split("\n"):
        if "detected as malicious in timewindow" in line:
            actual.append([])
        elif match := re.search(r"\t- Detected (.*) threat level: (\w+)\. *$", line):
            actual[-1].append((match[1], match[2]))
    return actual


def test_whole_evidence_agrees_with_what_is_public(
    alerts: Path, public: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    log = alerts / "text" / "botnet-219-2-day1-28.log.gz"
    known = json.loads(log.with_name("botnet-219-2-day1-28.incidents.json").read_bytes())
    rows, ids, n = [], {}, 0
    for incident, texts in zip(known, texts_of_log(log), strict=True):
        own = range(n + 1, n + 1 + len(texts))
        n = own.stop
        rows += [
            Event(i, text, level).line(IDMEF_203)
            for i, (text, level) in zip(own, texts, strict=True)
        ]
        rows.append(Incident(n, own).line(IDMEF_203))
        ids[number(n)] = incident["incident_id"]
    _, incidents = made(write(tmp_path / "alerts.json", rows), tmp_path)
    assert len(incidents) == 21
    for one, row in incidents.items():
        expected = public[ids[one]]
        assert row["event_count"] == expected["event_count"]
        tail = row["dag_analysis"].split("\n")[-2:]
        assert tail == expected["dag_analysis"].split("\n")[-2:]
        counts: Counter[str] = Counter()
        for group in evidence.read(row["dag_analysis"]).groups:
            counts[group.severity.capitalize()] += group.events
        said = dict(part.split(": ") for part in tail[1].partition(": ")[2].split(", "))
        assert {level: str(number) for level, number in counts.items()} == said
