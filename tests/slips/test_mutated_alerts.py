"""Broken alert files, by chance: one sentence, or every line in the tables or among the rejects.

    pytest tests/slips/test_mutated_alerts.py --broken 10000 --seed 7

reads as many as a campaign; without options a short version of it.
"""

from __future__ import annotations

import copy
import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
from slips_alerts import DIALECTS, Event, Incident

from immune_data.common.errors import ImmuneError
from immune_data.contract import evidence
from immune_data.slips.build import build
from immune_data.slips.selection import Selection

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2.5, 1e300, -0.0, 2**63, 10**400, 70000, 3.0),
    *(
        "",
        " ",
        "a",
        "\n",
        "x" * 5000,
        "\x00",
        "\u2028",
        "🦙",
        "\x1b[2J",
        "10.0.0.1",
        "::1",
        "fe80::1%x",
    ),
    *(
        "IDEA0",
        "2.0.3",
        "2.D.V03",
        "Event",
        "Incident",
        "Alert",
        "High",
        "critical",
        "{}",
        "[",
        "null",
    ),
    *("1969-12-31T23:59:59-23:59", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-12:00"),
    *([], {}, [1], [[]], ["a"], [None], {"a": {}}, [{}], [{"IP": "10.0.0.1"}], '{"SNI": 3}'),
]
BYTES = [
    *(
        b"",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b"\\",
        b"\xff",
        b"\xc3",
        b"\x00",
        b"NaN",
        b"\n",
    ),
    *(
        b"\\ud800",
        b"\\u0000",
        b"1e999",
        b"null",
        b"\r",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"[" * 3000,
    ),
]


def corpus() -> list[dict[str, Any]]:
    """A few incidents of every dialect."""
    rows = []
    for i, dialect in enumerate(DIALECTS):
        first = 10 * i
        for n in range(first + 1, first + 4):
            target = {"IP": "192.0.2.1", "Port": 443} if n % 2 else {"Hostname": "www.example"}
            rows.append(Event(n, second=n, target=target, window=i).line(dialect))
        numbers = range(first + 1, first + 4)
        rows.append(Incident(first + 4, numbers, second=first + 4, window=i).line(dialect))
    return rows


def break_value(row: dict[str, Any], rng: random.Random) -> None:
    """Change a value or a key somewhere in an alert, or in the JSON of its Note."""
    node: Any = row
    note = None
    if isinstance(row.get("Note"), str) and rng.random() < 0.4:
        node = note = json.loads(row["Note"])
    while node:
        key = rng.randrange(len(node)) if isinstance(node, list) else rng.choice(list(node))
        if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.7:
            node = node[key]
            continue
        if rng.random() < 0.7:
            node[key] = copy.deepcopy(rng.choice(VALUES))
        elif rng.random() < 0.7 or isinstance(node, list):
            del node[key]
        else:
            node[rng.choice(["ID", "Note", "Status", "Version", "Format", "odd"])] = node[key]
        break
    if note is not None:
        row["Note"] = json.dumps(note)


def break_bytes(data: bytes, rng: random.Random) -> bytes:
    """Cut, repeat, drop or replace a few bytes."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((0, 1, 1, 2, 50, 1000)))
        match rng.randrange(4):
            case 0:
                data = data[:at]
            case 1:
                data = data[:at] + data[end:]
            case 2:
                data = data[:at] + rng.choice(BYTES) + data[end:]
            case 3:
                data = data[:end] + data[at:]
    return data


def real_lines() -> list[bytes]:
    """Lines of real files, a few of each, where they are."""
    folder = Path(__file__).parents[3] / "shared" / "data" / "slips-alerts"
    lines: list[bytes] = []
    for path in sorted(folder.glob("*.json*")):
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rb") as file:
            lines += file.read().splitlines()[:400:80]
    return lines


def test_broken_alerts_are_refused_or_accounted_for(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    rng = random.Random(request.config.getoption("--seed"))
    base, real = corpus(), real_lines()
    file, output = tmp_path / "alerts.json", tmp_path / "incidents.json"
    outcomes = {"refused": 0, "rejects": 0, "taken": 0}
    for _ in range(request.config.getoption("--broken")):
        rows = copy.deepcopy(base)
        by_value = rng.random() < 0.5
        for row in rng.sample(rows, rng.randint(1, 3)) if by_value else ():
            break_value(row, rng)
        lines = [json.dumps(row).encode() for row in rows]
        if real and rng.random() < 0.3:
            lines += rng.sample(real, 5)
        data = b"\n".join(lines) + b"\n"
        if rng.random() < 0.1:
            data = gzip.compress(data)
        file.write_bytes(data if by_value else break_bytes(data, rng))
        try:
            result = build([file], output, form="condensed", selection=Selection())
        except ImmuneError as refusal:
            outcomes["refused"] += 1
            message = str(refusal)
            assert str(file) in message
            assert "\n" not in message
            continue
        (account,) = result.accounts
        used = account["incidents"] + account["events"] + account["repeated"]
        if by_value:
            assert used + account["rejected"] == len(lines)
        assert account["rejected"] == sum(row["lines"] for row in result.reasons)
        outcomes["rejects" if account["rejected"] else "taken"] += 1
        for row in json.loads(output.read_bytes()):
            groups = evidence.read(row["dag_analysis"]).groups
            assert sum(group.events for group in groups) == row["event_count"]
            assert len(row["dag_analysis"].splitlines()) == row["dag_analysis"].count("\n") + 1
    assert min(outcomes.values()) > 0, outcomes
