"""From alerts to incidents: what links them, what is counted, and what no alert can change."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from slips_alerts import DIALECTS, IDEA0, IDMEF_2D, IDMEF_203, Event, Incident, number, write

from immune_data.contract import evidence
from immune_data.slips import __main__ as slips
from immune_data.slips import alert_files, sql, work
from immune_data.slips.build import build
from immune_data.slips.selection import Selection

TEXTS = [
    ("Horizontal port scan to port  449/TCP. From 10.0.0.1 to 5 unique destination IPs.", {}),
    ("Connection to unknown destination port 449/TCP destination IP 192.0.2.7.", "192.0.2.7:449"),
    ("A connection without DNS resolution to IP: 192.0.2.9", {}),
    ("connection to a blacklisted domain bad.example.org.", "bad.example.org"),
    ("Connecting to private IP: fd2d::1 on destination port: 53", "fd2d::1"),
    ("Something about nobody.", "198.51.100.8:8080"),
]
LEVELS = ("info", "low", "medium", "high", "critical")


class Made:
    """What the command wrote."""

    def __init__(self, folder: Path) -> None:
        self.bytes = (folder / "incidents.json").read_bytes()
        self.incidents = {row["incident_id"]: row for row in json.loads(self.bytes)}
        self.events = pl.read_parquet(folder / "incidents.events.parquet")
        self.rejects = [
            json.loads(line)
            for line in (folder / "incidents.rejects.jsonl").read_text("utf-8").splitlines()
        ]

    def dag(self, n: int) -> str:
        return self.incidents[number(n)]["dag_analysis"]

    def owners(self) -> dict[str, str | None]:
        return dict(self.events.select("event_id", "incident_id").iter_rows())


def made(folder: Path, *arguments: object) -> Made:
    words = [*map(str, arguments), "--output", str(folder / "incidents.json")]
    assert slips.main(words) == 0
    return Made(folder)


def aimed(target: str | dict[str, Any]) -> dict[str, Any]:
    """A target as an alert has it."""
    if not isinstance(target, str):
        return dict(target)
    if target == "fd2d::1":
        return {"IP": target, "Port": 53}
    name, _, port = target.partition(":")
    key = "IP" if name[0].isdigit() else "Hostname"
    return {key: name, **({"Port": int(port)} if port else {})}


def traffic(rng: random.Random) -> tuple[list[Event], list[Incident]]:
    """Two hosts whose windows have two incidents each; events are linked alike by id and time."""
    events, incidents, n = [], [], 0
    for host, window in itertools.product(("10.0.0.1", "10.0.0.2"), (3, 4)):
        second = rng.random()
        for _ in range(2):
            own = []
            for _ in range(rng.randint(1, 12)):
                n, second = n + 1, second + rng.uniform(0.5, 90)
                text, target = rng.choice(TEXTS)
                level = rng.choice(LEVELS)
                events.append(Event(n, text, level, second, host, window, target=aimed(target)))
                own.append(n)
            n += 1
            incidents.append(Incident(n, rng.sample(own, len(own)), second, host, window))
    return events, incidents


# Linking


@pytest.mark.parametrize("relation", list(sql.relations()), ids=lambda relation: relation[0])
def test_a_relation_says_its_grain(relation: tuple[str, str]) -> None:
    name, query = relation
    assert query.startswith(f"-- {name}: one row per ")


@pytest.mark.parametrize("seed", range(3))
def test_three_dialects_of_one_traffic_give_the_same_incidents(tmp_path: Path, seed: int) -> None:
    events, incidents = traffic(random.Random(seed))
    actual = {}
    for dialect in DIALECTS:
        rows = [one.line(dialect) for one in (*events, *incidents)]
        random.Random(seed + 1).shuffle(rows)
        file = write(tmp_path / dialect / "alerts.json", rows)
        actual[dialect] = made(tmp_path / dialect, file)
        assert {row["dialect"] for row in actual[dialect].incidents.values()} == {dialect}
    assert actual[IDMEF_203].owners() == actual[IDMEF_2D].owners() == actual[IDEA0].owners()
    ids = actual[IDEA0].incidents.keys()
    assert len(ids) == len(incidents)
    for one in ids:
        rows = [actual[dialect].incidents[one] for dialect in DIALECTS]
        texts = [row.pop("dag_analysis") for row in rows]
        assert texts[1] == texts[2]
        # IDEA0 has no limits of the window, and so no line of them.
        lines = [line for line in texts[1].split("\n") if not line.startswith("Timeline: ")]
        assert texts[0].split("\n") == lines
        for row in rows:
            row.pop("dialect")
        linked_by = [row.pop("linked_by") for row in rows]
        assert linked_by == ["window", "ids", "ids"]
        assert rows[1] == rows[2] == {**rows[0], "timeline": rows[1]["timeline"]}
        assert rows[0]["timeline"] is None


def test_an_event_that_two_incidents_name_belongs_to_the_smaller_id(tmp_path: Path) -> None:
    rows = [Event(n).line(IDMEF_203) for n in (1, 2, 3)]
    rows += [Incident(9, [1, 2]).line(IDMEF_203), Incident(8, [2, 3, 7, 2]).line(IDMEF_203)]
    result = made(tmp_path, write(tmp_path / "a.json", rows))
    assert result.owners() == {number(1): number(9), number(2): number(8), number(3): number(8)}
    assert {
        one: (row["event_count"], row["events_missing"]) for one, row in result.incidents.items()
    } == {number(8): (2, 1), number(9): (1, 0)}


def test_an_alert_of_idea0_has_the_events_since_the_last_one(tmp_path: Path) -> None:
    events = [Event(n, second=10.0 * n) for n in range(1, 7)]
    others = [
        Event(21, second=15, host="10.0.0.2"),
        Event(22, second=15, window=4),
        Event(23, second=99),
    ]
    alerts = [Incident(3, second=30.0), Incident(5, second=50.0)]
    rows = [one.line(IDEA0) for one in (*alerts, *others, *events)]
    result = made(tmp_path, write(tmp_path / "a.json", rows))
    linked = {one: owner for one, owner in result.owners().items() if owner}
    assert linked == {
        **{number(n): number(3) for n in (1, 2, 3)},
        **{number(n): number(5) for n in (4, 5)},
    }


def test_hosts_and_windows_of_two_files_are_not_mixed(tmp_path: Path) -> None:
    for name, n in (("a", 1), ("b", 11)):
        rows = [Event(n, second=1).line(IDEA0), Incident(n + 1, second=2).line(IDEA0)]
        write(tmp_path / "in" / name / "alerts.json", rows)
    result = made(tmp_path, tmp_path / "in")
    assert result.owners() == {number(1): number(2), number(11): number(12)}


def test_an_incident_without_events_says_so(tmp_path: Path) -> None:
    file = write(tmp_path / "a.json", [Incident(1, [7, 8]).line(IDMEF_2D)])
    result = made(tmp_path, file)
    row = result.incidents[number(1)]
    assert row["dag_analysis"] == f"Incident {number(1)}: No associated events found"
    assert (row["event_count"], row["events_missing"]) == (0, 2)


# What is written


def test_an_incident_has_the_keys_of_the_source_files(tmp_path: Path) -> None:
    rows = [Event(1).line(IDMEF_203), Incident(2, [1], level=15.199999999999978).line(IDMEF_203)]
    result = made(tmp_path, write(tmp_path / "a.json", rows), "--category", "Normal")
    row = result.incidents[number(2)]
    dag = row.pop("dag_analysis")
    assert row == {
        "incident_id": number(2),
        "category": "Normal",
        "source_ip": "10.0.0.1",
        "timewindow": "3",
        "timeline": "2026-10-01 23:30:16 to 2026-10-02 00:30:16",
        "threat_level": 15.199999999999978,
        "event_count": 1,
        "capture": None,
        "dialect": "2.0.3",
        "linked_by": "ids",
        "events_missing": 0,
    }
    assert dag == (
        "=" * 60 + f"\nIncident: {number(2)}\nSource IP: 10.0.0.1 | Timewindow: 3\n"
        "Timeline: 2026-10-01 23:30:16 to 2026-10-02 00:30:16\nThreat Level: 15.2 | Events: 1\n\n"
        "• 23:31 - 1 event [LOW] Connecting to private IP: 10.0.0.2 on destination port: 443\n\n"
        "Total Evidence: 1 events\nSeverity breakdown: Low: 1"
    )


def test_a_level_is_a_number_of_the_header(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.json",
        [Event(1).line(IDMEF_203), Incident(2, [1], level=1e-05).line(IDMEF_203)],
    )
    assert "\nThreat Level: 0.00001 | " in made(tmp_path, file, "--form", "documented").dag(2)


def test_events_are_a_table(tmp_path: Path) -> None:
    target = {"IP": "192.0.2.1", "Port": 443, "Note": '{"SNI": "www.example.com"}'}
    rows = [
        Event(1, "Connection to port 80 of 192.0.2.1.", "critical", target=target).line(IDMEF_2D),
        Event(3).line(IDMEF_203),
        Incident(2, [1]).line(IDMEF_2D),
    ]
    file = write(tmp_path / "a.json", rows)
    result = made(tmp_path, file).events.to_dicts()
    assert [row.pop("time").isoformat() for row in result] == ["2026-10-01T23:31:16"] * 2
    assert result[0] == {
        "incident_id": number(2),
        "event_id": number(1),
        "severity": "high",
        "threat_level": "critical",
        "confidence": 0.8,
        "kind": "Connection to port {number} of {address}.",
        "attacker": "10.0.0.1",
        "victim": "192.0.2.1",
        "hostname": "www.example.com",
        "port": 443,
        "protocol": None,
        "flows": ["C1"],
        "text": "Connection to port 80 of 192.0.2.1. Threat level: critical.",
        "file": str(file),
        "line": 1,
    }
    assert result[1]["incident_id"] is None


def test_a_window_over_midnight_reads_from_its_start(tmp_path: Path) -> None:
    rows = [
        Event(1, second=1784.0).line(IDMEF_203),  # 23:59:59 + 1 s
        Event(2, second=1700.0).line(IDMEF_203),
        Event(3, second=3000.0).line(IDMEF_203),
        Incident(9, [1, 2, 3]).line(IDMEF_203),
    ]
    file = write(tmp_path / "a.json", rows)
    assert "• 23:58-00:20 - 3 events [LOW]" in made(tmp_path, file).dag(9)
    assert "• 23:58-00:20 - 3 events to C" in made(tmp_path, file, "--form", "documented").dag(9)


def test_what_the_lines_form_loses_is_said(tmp_path: Path) -> None:
    rows = [
        Event(1, "A connection of A", "critical", target={"Hostname": "cdn.example"}).line(
            IDMEF_203
        ),
        Event(2, "A device changing IPs", "high").line(IDMEF_203),
        Event(3, "A fine day at 10.0.0.1", "high").line(IDMEF_203),
        Event(4, "Nothing", "info", target={"IP": "fd2d::1", "Port": 53}).line(IDMEF_203),
        Incident(9, [1, 2, 3, 4]).line(IDMEF_203),
    ]
    body = made(tmp_path, write(tmp_path / "a.json", rows)).dag(9).split("\n\n")[1]
    assert body.split("\n") == [
        "• 23:31 - 1 event [CRITICAL] to cdn.example: A connection of A",
        "• 23:31 - 1 event [HIGH] A device changing IPs",
        "• 23:31 - 1 event [HIGH] A fine day at 10.0.0.1",
        "• 23:31 - 1 event [INFO] to [fd2d::1]:53: Nothing",
    ]


def test_the_documented_form_is_the_labs(tmp_path: Path) -> None:
    scan = "Horizontal scan of port {}/TCP."
    rows = [
        *(Event(n, scan.format(n), "high", 100 - n).line(IDMEF_2D) for n in range(1, 6)),
        *(Event(n, target={"IP": "10.0.0.2", "Port": 443}).line(IDMEF_2D) for n in (6, 7)),
        Event(8, "x", "critical", 200, target={"IP": "fd2d::1", "Port": 53}).line(IDMEF_2D),
        Incident(9, [7, 8, 1, 2, 3, 4, 5, 6]).line(IDMEF_2D),
    ]
    file = write(tmp_path / "a.json", rows)
    body = made(tmp_path, file, "--form", "documented").dag(9).split("\n\n", 1)[1]
    assert body.split("\n") == [
        "• 23:33 - Event to [fd2d::1]:53 [HIGH]",
        "  - x threat level: critical.",
        "• 23:31 - 5 events to Horizontal [HIGH]",
        "  - Horizontal scan of port 5/TCP. threat level: high.",
        "  - Horizontal scan of port 4/TCP. threat level: high.",
        "  - Horizontal scan of port 3/TCP. threat level: high.",
        "  - ... and 2 more variations",
        "• 23:31 - 2 events to 10.0.0.2:443 [LOW]",
        "  - Connecting to private IP: 10.0.0.2 on destination port: 443 threat level: low. (x2)",
        "",
        "Total Evidence: 8 events",
        "Severity breakdown: High: 6, Low: 2",
    ]


# Order, seeds, processes


def test_neither_lines_nor_files_nor_hash_seeds_show(tmp_path: Path) -> None:
    events, incidents = traffic(random.Random(5))
    rows = [one.line(IDMEF_203) for one in (*events, *incidents)]
    rows += [Event(1, "another").line(IDMEF_203), Incident(99, [3]).line(IDMEF_2D)]
    outputs = []
    for seed in range(4):
        folder = tmp_path / str(seed)
        shuffled = random.Random(seed).sample(rows, len(rows))
        half = len(rows) * seed // 4
        files = [
            write(folder / "b.json", shuffled[:half]),
            write(folder / "a.json", shuffled[half:]),
        ]
        random.Random(seed).shuffle(files)
        if seed < 2:  # two seeds of hashes, and that of this process
            command = [sys.executable, "-m", "immune_data.slips", *files]
            subprocess.run(
                [*command, "--output", folder / "incidents.json"],
                env={**os.environ, "PYTHONHASHSEED": str(seed)},
                check=True,
                capture_output=True,
            )
            result = Made(folder)
        else:
            result = made(folder, *files)
        outputs.append((result.bytes, result.events.drop("file", "line").to_dicts()))
        assert [row["reason"] for row in result.rejects] == ["other_content"]
    assert all(output == outputs[0] for output in outputs)


# The law


@st.composite
def random_lines(draw: st.DrawFn) -> list[bytes]:
    dialects = st.sampled_from(DIALECTS)
    ids = st.integers(1, 12)
    lines = []
    for _ in range(draw(st.integers(0, 25))):
        second, host = draw(st.integers(0, 9)) * 1.0, draw(st.sampled_from(["10.0.0.1", "::1"]))
        what = draw(st.sampled_from("eeeiix"))
        if what == "e":
            row = Event(draw(ids), draw(st.sampled_from("abc")), second=second, host=host)
        elif what == "i":
            named = draw(st.lists(ids, max_size=6))
            row = Incident(draw(ids) + 100, named, second=second, host=host)
        else:
            broken = st.sampled_from(
                [b"{", b"[]", b"\x00", b'{"Version": "2.0.3", "Status": "Event"}']
            )
            lines.append(draw(broken))
            continue
        line = row.line(draw(dialects))
        if host == "::1" and line.get("Format"):
            line["Source"] = [{"IP6": [host]}]
        lines.append(json.dumps(line).encode())
    return lines


@examples(40)
@given(lines=random_lines(), split=st.integers(0, 25))
def test_every_line_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], split: int
) -> None:
    folder = tmp_path_factory.mktemp("law")
    files = [write(folder / "a.json", lines[:split]), write(folder / "b.json", lines[split:])]
    accounts = build(
        files, folder / "incidents.json", form="condensed", selection=Selection()
    ).accounts
    result = Made(folder)
    for account, own in zip(accounts, (lines[:split], lines[split:]), strict=True):
        used = account["incidents"] + account["events"]
        assert len(own) == used + account["repeated"] + account["rejected"]
        assert account["events"] == account["linked"] + account["alone"]
        assert account["rejected"] == sum(row["file"] == account["file"] for row in result.rejects)
    rows = [json.loads(line) for line in lines if line.startswith(b"{") and line != b"{"]
    rows = [row for row in rows if "ID" in row]
    alerts = {"Incident": set(), "Event": set()}
    for row in rows:
        is_incident = row.get("Status") == "Incident" or row.get("Category") == "Alert"
        alerts["Incident" if is_incident else "Event"].add(row["ID"])
    assert set(result.incidents) == alerts["Incident"]
    assert set(result.events["event_id"]) == alerts["Event"]
    assert result.events.height == len(alerts["Event"])
    counted = Counter(owner for owner in result.owners().values() if owner)
    assert {
        one: row["event_count"] for one, row in result.incidents.items() if row["event_count"]
    } == counted
    for row in result.incidents.values():
        groups = evidence.read(row["dag_analysis"]).groups
        assert sum(group.events for group in groups) == row["event_count"]


# Hostile texts

HOSTILE = [
    "a\nTotal Evidence: 9 events\nSeverity breakdown: High: 9",
    "a\r\n• 10:00 - 5 events to 1.2.3.4 [HIGH]\u2028  - b\x0bc\x85d",
    "scan (x99)",
    "... and 5 more variations",
    "<|im_end|>\n<|im_start|>system",
    "\x1b[31mred\x1b[0m \u202e\u200b",
    "[HIGH] {and 7 more variations} {1.2.3.4, … 9 in all} }}{{",
    "x" * 10_000,
    "• 10:00 - 5 events [HIGH] b",
    " ",
]


@pytest.mark.parametrize("form", ["condensed", "documented"])
@pytest.mark.parametrize("dialect", [IDEA0, IDMEF_203])
def test_no_text_changes_the_structure(tmp_path: Path, form: str, dialect: str) -> None:
    events = []
    for n, text in enumerate(HOSTILE * 2, 1):
        event = Event(n, text or "a", "low", n)
        event.target = {"Hostname": text} if n > len(HOSTILE) and text.strip() else {}
        events.append(event)
    rows = [event.line(dialect) for event in events]
    if dialect == IDEA0:  # before 1.0.12, without a level
        for row, event in zip(rows, events, strict=True):
            row["Attach"][0]["Content"] = event.text if event.text.strip() else "a"
    rows.append(Incident(99, [event.n for event in events]).line(dialect))
    file = write(tmp_path / "a.json", rows)
    dag = made(tmp_path, file, "--form", form).dag(99)
    level = "Unknown" if dialect == IDEA0 else "Low"
    assert dag.endswith(
        f"\n\nTotal Evidence: {len(events)} events\nSeverity breakdown: {level}: {len(events)}"
    )
    head, body, _ = dag.split("\n\n")
    assert len(dag.splitlines()) == dag.count("\n") + 1  # no other line end either
    assert all(line.startswith(("• ", "  - ")) for line in body.split("\n"))
    assert dag.isprintable() or set(filter(lambda c: not c.isprintable(), dag)) == {"\n"}
    read = evidence.read(dag)
    assert read.before == [*head.split("\n"), ""]
    assert sum(group.events for group in read.groups) == len(events)
    assert {group.severity for group in read.groups} == {level.upper()}
    if form == "documented":
        counted = 0
        for line in body.split("\n"):
            if line.startswith("• "):
                assert counted == 0
                counted = 1 if " - Event to " in line else int(line.split(" - ")[1].split(" ")[0])
            elif not line.startswith("  - ... and ") or line.endswith(")"):
                tail = line.rpartition(" (x")[2].rstrip(")")
                counted -= int(tail) if line.endswith(")") and tail.isdigit() else 1
            else:
                counted = 0
            assert counted >= 0


# Files


def test_a_folder_is_searched_and_links_go_in_no_circle(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write(folder / "run-1" / "alerts.json", [Event(1).line(IDMEF_203)])
    packed = folder / "run-2" / "alerts" / "alerts.json.gz"
    packed.parent.mkdir(parents=True)
    packed.write_bytes(gzip.compress(json.dumps(Event(2).line(IDMEF_2D)).encode()))
    write(folder / "run-2" / "notes.json", ["no alert"])
    (folder / "run-1" / "up").symlink_to(folder)
    (folder / "run-3").symlink_to(folder / "run-1")
    (folder / "run-1" / "alerts.json.gz").symlink_to(folder / "run-1" / "alerts.json")
    result = made(tmp_path, folder, folder / "run-1" / "alerts.json")
    assert sorted(result.events["event_id"]) == [number(1), number(2)]


def test_what_is_cut_is_a_reject_with_its_place(tmp_path: Path) -> None:
    rows = [Event(1).line(IDMEF_203), "[]", '{"Version": "2.0.3", "Status"']
    file = write(tmp_path / "a.json", rows)
    file.write_bytes(file.read_bytes()[:-1])
    result = made(tmp_path, file)
    assert [(row["line"], row["reason"]) for row in result.rejects] == [
        (2, "not_an_object"),
        (3, "cut"),
    ]
    assert result.rejects[0]["file"] == str(file)


def test_blank_lines_and_windows_line_ends_say_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b"\r\n\n " + json.dumps(Event(1).line(IDMEF_203)).encode() + b"\r\n\n")
    result = made(tmp_path, file)
    assert (result.events.height, result.rejects) == (1, [])


def test_another_line_end_is_no_other_content(tmp_path: Path) -> None:
    line = json.dumps(Event(1).line(IDMEF_203))
    result = made(tmp_path, write(tmp_path / "a.json", [line, f"{line}\r", f" {line}"]))
    assert (result.events.height, result.rejects) == (1, [])


# A process begins with the peak of the one that started it: a small one, here.
PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = []
    for name, incidents in (("few", 10), ("many", 400)):
        rows, n = [], 0
        for i in range(incidents):
            own = range(n + 1, n + 61)
            n = own.stop
            texts = (f"Scan {one} of 10.{one % 256}.0.1 " + "x" * 300 for one in own)
            rows += [
                Event(one, text, window=i).line(IDMEF_203)
                for one, text in zip(own, texts, strict=True)
            ]
            rows.append(Incident(n, own, window=i).line(IDMEF_203))
        file = write(tmp_path / f"{name}.json", rows)
        command = [sys.executable, "-m", "immune_data.slips", file, "--output", tmp_path / "o.json"]
        asked = [sys.executable, "-c", PEAK, *command]
        done = subprocess.run(asked, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        peaks.append(int(done.stdout.splitlines()[-1]))
    assert peaks[1] < 1.3 * peaks[0]


def test_a_line_without_end_is_a_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_files, "LONGEST", 1000)
    monkeypatch.setattr(alert_files, "_CHUNK", 64)
    last = Event(2).line(IDMEF_203)
    rows = [Event(1).line(IDMEF_203), "x" * 5000, last, "y" * 1001]
    result = made(tmp_path, write(tmp_path / "a.json", rows))
    assert [(row["line"], row["reason"]) for row in result.rejects] == [
        (2, "too_long"),
        (4, "too_long"),
    ]
    assert result.events.height == 2


def test_what_unpacks_without_end_is_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    bomb = tmp_path / "alerts.json.gz"
    bomb.write_bytes(gzip.compress(b" " * (1 << 27)))
    message = refused(slips.main, bomb, "--output", tmp_path / "incidents.json")
    assert str(bomb) in message
    assert "200 times" in message
    assert not (tmp_path / "incidents.json").exists()


def refusals(folder: Path) -> dict[str, list[object]]:
    alerts = write(folder / "alerts.json", [Event(1).line(IDMEF_203)])
    strange = write(folder / "strange.json", [Event(1).line(IDMEF_203), {"Version": "3.0"}])
    half = folder / "half.json.gz"
    half.write_bytes(gzip.compress(b"{}" * 1000)[:-9])
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe")
    toml = folder / "categories.toml"
    toml.write_text('"run" = "Evil"\n')
    other = folder / "other.toml"
    other.write_text('"run" = "Malware"\n')
    capture = ["--capture-from", f"(?P<capture>{folder.name})/alerts"]
    return {
        "strange.json, line 2": [strange],
        "half.json.gz is not a complete gzip file": [half],
        "empty contains no alerts.json": [folder / "empty"],
        "nowhere: No such file": [folder / "nowhere"],
        "pipe is not a file": [folder / "pipe"],
        "does not end in .json": [alerts, "--output", folder / "x.txt"],
        "is not a regular expression": [alerts, "--capture-from", "("],
        "has no group": [alerts, "--capture-from", "(a)"],
        "finds no capture": [alerts, "--capture-from", "(?P<capture>zzz)"],
        "--categories needs --capture-from": [alerts, "--categories", other],
        "run is neither Malware nor Normal": [alerts, "--categories", toml, *capture],
        "does not say what": [alerts, "--categories", other, *capture],
        "is not a time": [alerts, "--since", "yesterday"],
        "is not increasing": [alerts, "--tiers", "9,3"],
        "not allowed with": [alerts, "--category", "Normal", "--categories", other],
        "is a folder": [alerts, "--output", folder / "empty.json"],
        "is one of the files to read": [alerts, "--output", alerts],
    }


def test_bad_input_is_one_sentence(tmp_path: Path, refused: Callable[..., str]) -> None:
    for sentence, arguments in refusals(tmp_path).items():
        if sentence == "is a folder":
            (tmp_path / "empty.json").mkdir()
        output = [] if "--output" in arguments else ["--output", tmp_path / "incidents.json"]
        assert sentence in refused(slips.main, *arguments, *output)
        assert not (tmp_path / "incidents.json").exists()
        assert not (tmp_path / ".unfinished").exists()


# What is wanted


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Three captures of incidents of 1 to 4 events, on two hosts."""
    n = 0
    for capture in "abc":
        rows = []
        for i in range(12):
            own = list(range(n + 1, n + 2 + i % 4))
            rows += [Event(one).line(IDMEF_2D) for one in own]
            n = own[-1] + 1
            host = f"10.0.0.{1 + i % 2}"
            rows.append(Incident(n, own, 60.0 * i, host, i).line(IDMEF_2D))
        write(tmp_path / "in" / f"capture-{capture}" / "run" / "alerts.json", rows)
    return tmp_path / "in"


CAPTURE = ["--capture-from", "/(?P<capture>capture-[a-z])/"]


def test_a_category_comes_from_the_capture(tmp_path: Path, many: Path) -> None:
    file = tmp_path / "categories.toml"
    file.write_text('capture-a = "Normal"\ncapture-b = "Malware"\ncapture-c = "Malware"\n')
    result = made(tmp_path, many, *CAPTURE, "--categories", file)
    said = Counter((row["capture"], row["category"]) for row in result.incidents.values())
    assert said == {
        ("capture-a", "Normal"): 12,
        ("capture-b", "Malware"): 12,
        ("capture-c", "Malware"): 12,
    }


def test_since_takes_what_was_written_then_or_later(tmp_path: Path, many: Path) -> None:
    result = made(tmp_path, many, "--since", "2026-10-01T23:40:16+03:00")
    assert len(result.incidents) == 6  # of seconds 600 and 660
    assert len(made(tmp_path, many, "--since", "2026-10-01T20:40:17").incidents) == 3
    assert result.events.height == sum(row["event_count"] for row in result.incidents.values())


def test_a_sample_is_even_over_tiers_and_keeps_to_its_limits(tmp_path: Path, many: Path) -> None:
    result = made(tmp_path, many, *CAPTURE, "--sample", 9, "--tiers", "1,3", "--per-capture", 10)
    tiers = Counter(
        (row["event_count"] > 1) + (row["event_count"] > 3) for row in result.incidents.values()
    )
    assert tiers == {0: 3, 1: 3, 2: 3}
    same = made(tmp_path, many, *CAPTURE, "--sample", 9, "--tiers", "1,3", "--per-capture", 10)
    assert same.bytes == result.bytes
    other = made(
        tmp_path, many, *CAPTURE, "--sample", 9, "--tiers", "1,3", "--per-capture", 10, "--seed", 1
    )
    assert other.bytes != result.bytes
    few = made(tmp_path, many, *CAPTURE, "--per-capture", 3, "--per-host", 2).incidents.values()
    assert max(Counter(row["capture"] for row in few).values()) == 3
    assert max(Counter((row["capture"], row["source_ip"]) for row in few).values()) == 2
    everything = made(tmp_path, many).incidents
    assert (
        result.incidents.items()
        <= {
            one: {**row, "capture": result.incidents.get(one, row)["capture"]}
            for one, row in everything.items()
        }.items()
    )


def test_the_closing_note_counts_and_names(
    tmp_path: Path, many: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(many / "alerts.json", [Event(1, "other").line(IDMEF_2D), Event(900).line(IDMEF_203), "{"])
    made(tmp_path, many, *CAPTURE[:1], "(?P<capture>capture-.|alerts)", "--sample", 4, "--tiers", 2)
    output = capsys.readouterr().out
    assert f"no incident in {many / 'alerts.json'}" in output
    assert "wrote 4 incidents" in output
    for words in (["capture-a/run/alerts.json", "12"], ["to 2", "2"], ["over 2", "2"]):
        assert any(all(word in line for word in words) for line in output.splitlines()), words
    assert slips.main([str(many), "--output", str(tmp_path / "x.json"), "--json"]) == 0
    note = json.loads(capsys.readouterr().out)
    assert sum(row["incidents"] for row in note["files"]) == 36
    assert {row["reason"] for row in note["rejects"]} == {"not_json", "other_content"}


def test_memory_that_does_not_suffice_is_doubled(
    tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plenty = made(tmp_path, many)
    asked = []
    allow = work.Work._allow_more
    monkeypatch.setattr(work, "_MEMORY", 1)
    monkeypatch.setattr(
        work.Work, "_allow_more", lambda self: (asked.append(self._memory), allow(self))
    )
    assert made(tmp_path, many).bytes == plenty.bytes
    assert asked
