"""One line of `alerts.json`: what each dialect says, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from slips_alerts import DIALECTS, IDEA0, IDMEF_2D, IDMEF_203, Event, Incident, number

from immune_data.contract import alerts

HOUR = 3_600_000_000


def read(row: dict[str, Any]) -> Any:
    return alerts.read(json.dumps(row).encode())


def changed(row: dict[str, Any], *path: Any, to: Any = None) -> dict[str, Any]:
    """The row with the value at a path replaced, or taken out; a Note is looked into."""
    key, *rest = path
    if rest:
        inner = row[key]
        new = changed(json.loads(inner) if isinstance(inner, str) else inner, *rest, to=to)
        new = json.dumps(new) if isinstance(inner, str) else new
    else:
        new = to
    if isinstance(row, list):
        return [new if i == key else value for i, value in enumerate(row)]
    without = {name: value for name, value in row.items() if name != key}
    return without if new is None else {**without, key: new}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_event_says_the_same_in_every_dialect(dialect: str) -> None:
    target = {"IP": "10.0.0.2", "Port": 443}
    result = read(Event(7, "A scan", "medium", 60.25, target=target).line(dialect))
    assert result.event_id == number(7)
    assert result.dialect == dialect
    assert (result.severity, result.threat_level) == ("medium", "medium")
    assert (result.attacker, result.victim, result.port) == ("10.0.0.1", "10.0.0.2", 443)
    assert (result.window, result.confidence, result.flows) == (3, 0.8, ("C7",))
    assert result.text.lower() == "a scan threat level: medium."
    assert result.time.offset == 3 * HOUR
    assert result.time.written % HOUR == ((31 * 60) + 16) * 1_000_000 + 250_000


@pytest.mark.parametrize("dialect", DIALECTS)
def test_critical_is_a_level_and_no_severity(dialect: str) -> None:
    result = read(Event(1, level="critical").line(dialect))
    assert (result.severity, result.threat_level) == ("high", "critical")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_incident_says_the_same_but_what_idea0_cannot(dialect: str) -> None:
    result = read(Incident(9, [1, 2]).line(dialect))
    assert (result.incident_id, result.host, result.window) == (number(9), "10.0.0.1", 3)
    assert result.threat_level == 15.06
    if dialect == IDEA0:
        assert (result.start, result.end, result.events) == (None, None, None)
    else:
        assert result.end.instant - result.start.instant == HOUR
        assert result.events == (number(1), number(2))


def test_names_come_from_the_target_or_its_note() -> None:
    named = Event(1, target={"Hostname": "cdn.example", "Note": '{"SNI": "sni.example"}'})
    assert read(named.line(IDMEF_203)).hostname == "cdn.example"
    shown = Event(1, target={"IP": "192.0.2.1", "Note": '{"SNI": "sni.example", "AS": {}}'})
    assert read(shown.line(IDMEF_2D)).hostname == "sni.example"


def test_old_idea0_has_neither_window_nor_level() -> None:
    row = changed(Event(1).line(IDEA0), "timewindow")
    row["Attach"][0]["Content"] = "to IP: 10.0.0.2 Threat Level: medium. Confidence: 1. by Slips"
    result = read(row)
    assert (result.window, result.severity, result.threat_level) == (None, None, None)
    alert = Incident(2).line(IDEA0)
    alert["Attach"][0]["Content"] += " on timewindow -4. (real time 2023/08/18 14:28:29.092328)"
    for key in ("timewindow", "profileid", "threat_level"):
        alert = changed(alert, key)
    result = read(alert)
    assert (result.host, result.window, result.linked_window) == ("10.0.0.1", -4, None)
    assert result.threat_level is None


def test_a_file_that_was_downloaded_has_a_text_of_ours() -> None:
    row = {**Event(1).line(IDEA0), "Attach": [{"Hash": ["md5:192.0.2.1"]}], "Size": 196}
    assert read(row).text == "Downloaded file md5:192.0.2.1, 196 bytes"


def test_a_channel_has_the_port_of_its_second_source() -> None:
    row = Event(1).line(IDEA0)
    row["Source"].append({"IP4": ["192.0.2.1"], "Type": ["CC"], "Port": ["80"], "Proto": ["TCP"]})
    result = read(row)
    assert (result.attacker, result.port, result.protocol) == ("10.0.0.1", 80, "TCP")


def test_the_port_of_a_source_is_not_what_was_aimed_at() -> None:
    assert read(Event(1).line(IDMEF_203)).port is None


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("ID",), None, "wrong_id"),
        (("ID",), "7\nTotal Evidence: 9 events", "wrong_id"),
        (("ID",), 7, "wrong_type"),
        (("Severity",), None, "missing"),
        (("Severity",), "Grave", "wrong_value"),
        (("StartTime",), "yesterday", "wrong_type"),
        (("StartTime",), None, "missing"),
        (("Confidence",), 1.5, "wrong_value"),
        (("Confidence",), True, "wrong_type"),
        (("Description",), " ", "missing"),
        (("Source",), [], "missing"),
        (("Source", 0, "IP"), "10.0.0.1\n=====", "wrong_address"),
        (("Source", 0, "IP"), "10.0.0.300", "wrong_address"),
        (("Target",), [{"IP": "fe80::1%a b"}], "wrong_address"),
        (("Target",), [{"IP": "10.0.0.2", "Port": [70000]}], "wrong_value"),
        (("Target",), [{"IP": "10.0.0.2", "Port": ["\u0663"]}], "wrong_value"),
        (("Target",), [{"IP": "10.0.0.2", "Note": "{"}], "not_json"),
        (("Note",), None, "missing"),
        (("Note",), '{"a":' * 100_000, "too_deep"),
        (("Note",), "[]", "wrong_type"),
        (("Note", "timewindow"), 1.5, "wrong_value"),
        (("Note", "timewindow"), 1e300, "wrong_value"),
        (("Note", "threat_level"), None, "missing"),
        (("Note", "uids"), "C1", "wrong_type"),
    ],
)
def test_what_cannot_be_used_says_why(path: tuple[Any, ...], value: Any, reason: str) -> None:
    with pytest.raises(alerts.Unusable) as unusable:
        read(changed(Event(1).line(IDMEF_203), *path, to=value))
    assert unusable.value.reason == reason


@pytest.mark.parametrize("level", [-1.0, 1e300])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_level_is_a_sum_of_levels(level: float, dialect: str) -> None:
    with pytest.raises(alerts.Unusable, match="accumulated threat level"):
        read(Incident(1, level=level).line(dialect))


def test_a_time_reads_without_fraction_and_offset() -> None:
    row = Event(1).line(IDMEF_203)
    for written, shown in (
        ("1969-12-31T23:30:00.9+00:00", "1969-12-31 23:30:00"),
        ("0001-01-01T00:00:00.5+14:00", "0001-01-01 00:00:00"),
        ("9999-12-31T23:59:59.999999-12:00", "9999-12-31 23:59:59"),
    ):
        assert str(read({**row, "StartTime": written}).time) == shown


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "not_json"),
        (b'{"Version": "2.0.3"', "not_json"),
        (b'{"Version": "2.0.3"} {}', "not_json"),
        (b"\x00" * 40, "not_json"),
        (b"[1]", "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"Version": "2.0.3", "Confidence": NaN}', "not_json"),
        (b'{"ID": "\xff"}', "not_utf8"),
        (b'{"x": ' + b"[" * 100_000, "too_deep"),
    ],
)
def test_a_line_that_is_no_alert_says_why(line: bytes, reason: str) -> None:
    with pytest.raises(alerts.Unusable) as unusable:
        alerts.read(line)
    assert unusable.value.reason == reason


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"Version": "2.D.V04", "Status": "Event"},
        {"Version": "2.D.V03", "Status": ["Event"]},
        {"Version": "2.0.3", "Status": "Update"},
        {"Version": 3},
        {"Format": "IDEA1"},
        {"Format": "Json", "ID": number(1), "Category": "Note"},
        {"timestamp": "2026-10-02", "event_type": "alert", "Source": "10.0.0.1"},
    ],
)
def test_a_dialect_that_is_not_known_is_not_guessed(row: dict[str, Any]) -> None:
    with pytest.raises(alerts.UnknownDialect):
        read(row)


def test_keys_that_are_not_read_may_hold_anything() -> None:
    row = changed(Event(1).line(IDMEF_2D), "Note", "source_module", to={"a": [None, 1e300]})
    assert read({**row, "Analyzer": 3}).event_id == number(1)
