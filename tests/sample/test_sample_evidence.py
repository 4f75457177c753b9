"""Evidence of the sample corpus is what the lab's parser writes, checked by other code."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import Sample

from immune_data.contract import evidence
from immune_data.sample import plan

DATE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
TIME = r"\d\d:\d\d"
SHAPES = {
    "rule": "={60}",
    "incident": "Incident: [0-9a-f-]{36}",
    "source": r"Source IP: (\S+) \| Timewindow: (-?\d+)",
    "timeline": f"Timeline: ({DATE}) to ({DATE})",
    "level": r"Threat Level: (\d+(?:\.\d+)?) \| Events: (\d+)",
    "blank": "",
    "one": rf"• ({TIME}) - Event to (.+) \[([A-Z]+)\]",
    "many": rf"• ({TIME})(?:-({TIME}))? - (\d+) events to (.+) \[([A-Z]+)\]",
    "more": r"  - \.\.\. and (\d+) more variations",
    "repeated": r"  - (.+) \(x(\d+)\)",
    "detail": "  - (.+)",
    "total": r"Total Evidence: (\d+) events",
    "breakdown": r"Severity breakdown: (\w+: \d+(?:, \w+: \d+)*)",
}
ORDER = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO", "UNKNOWN")
NOTHING = re.compile("Incident [0-9a-f-]{36}: No associated events found")


def shape(line: str) -> str:
    """The first shape that a line is of; tried in the order of the grammar."""
    return next((name for name, of in SHAPES.items() if re.fullmatch(of, line, re.ASCII)), line)


def blocks(dag: str) -> list[list[str]]:
    return [block.split("\n") for block in re.split(r"\n(?=•)", dag.split("\n\n")[1])]


def head(bullet: str) -> tuple[int, str, str]:
    """Events, target and severity of a bullet."""
    number, target, severity = re.fullmatch(
        rf"• {TIME}(?:-{TIME})? - (?:Event|(\d+) events) to (.+) \[([A-Z]+)\]", bullet
    ).groups()
    return int(number or 1), target, severity


@pytest.fixture(scope="session")
def corpus(sample_source: Path) -> Sample:
    return Sample(sample_source)


@pytest.fixture(scope="session")
def dags(corpus: Sample) -> list[str]:
    return [dag for _, dag in corpus.dags() if not NOTHING.fullmatch(dag)]


def test_every_line_is_of_the_grammar_but_for_planted_ones(corpus: Sample) -> None:
    shapes: Counter = Counter()
    odd: Counter = Counter()
    for row, dag in corpus.dags():
        for line in dag.split("\n"):
            found = shape(line)
            shapes[found] += found in SHAPES
            if found not in SHAPES:
                odd[corpus.roles[row["incident_id"]].evidence] += 1
                assert NOTHING.fullmatch(line) or re.fullmatch(f"Start Time: {DATE}", line)
    assert all(shapes[name] for name in SHAPES)
    assert set(odd) == {"start_time", "no_events"}


def test_a_dag_agrees_with_itself(dags: list[str]) -> None:
    for dag in dags:
        [total] = re.findall(r"^Total Evidence: (\d+) events$", dag, re.MULTILINE)
        [events] = re.findall(r"^Threat Level: \S+ \| Events: (\d+)$", dag, re.MULTILINE)
        bullets = [head(block[0]) for block in blocks(dag)]
        counts: Counter = Counter()
        for number, _, severity in bullets:
            counts[severity] += number
        assert int(total) == int(events) == counts.total()
        said = ", ".join(f"{name.capitalize()}: {counts[name]}" for name in ORDER if counts[name])
        assert dag.endswith(f"\nSeverity breakdown: {said}")
        places = [ORDER.index(severity) for _, _, severity in bullets]
        assert places == sorted(places)
        assert len({bullet[1:] for bullet in bullets}) == len(bullets)


def test_the_texts_of_a_bullet_sum_up_to_its_number(dags: list[str]) -> None:
    found: Counter = Counter()
    for dag in dags:
        for bullet, *lines in blocks(dag):
            number, _, severity = head(bullet)
            more = [line for line in lines if shape(line) == "more"]
            texts = lines[: len(lines) - len(more)]
            matches = [re.fullmatch(r"  - (.+?)(?: \(x(\d+)\))?", line) for line in texts]
            events = sum(int(match[2] or 1) for match in matches)
            assert 1 <= len(texts) == len({match[1] for match in matches}) <= 3
            if more:
                assert len(texts) == 3
                assert lines[-1:] == more
                assert events + int(re.search(r"\d+", more[0])[0]) <= number
            else:
                assert events == number
            if severity != "UNKNOWN":
                level = f" threat level: {severity.lower()}."
                assert all(match[1].endswith(level) for match in matches)
            one = re.match(rf"• {TIME} ", bullet) is not None
            assert one or number > 1
            found[len(texts), bool(more), one, number > 1] += 1
    # Bullets of one event, of more at one time and in a range, of one text to three, and of more.
    for texts, more, one, many in (
        *((1, False, True, False), (1, False, True, True), (1, False, False, True)),
        *((2, False, False, True), (3, False, False, True), (3, True, False, True)),
    ):
        assert found[texts, more, one, many]


def test_order_is_chance(corpus: Sample) -> None:
    """The same bullets in both datasets, within a severity in orders of their own."""
    moved = 0
    for incident_id, row in corpus.risks.items():
        pair = [row.get("dag_analysis"), corpus.summaries[incident_id].get("dag_analysis")]
        if all(pair) and not NOTHING.fullmatch(pair[0]):
            first, second = ([block[0] for block in blocks(dag)] for dag in pair)
            assert sorted(first) == sorted(second)
            moved += first != second
    assert moved > 500


def test_targets_and_hosts_are_of_every_form(dags: list[str]) -> None:
    targets = {head(block[0])[1] for dag in dags for block in blocks(dag)}
    for form in (
        r"\d+\.\d+\.\d+\.\d+",
        r"\d+\.\d+\.\d+\.\d+:\d+",
        *("2001:db8::[0-9a-f]+", r"2001:db8::[0-9a-f]+:\d+"),
        *("A", "Horizontal", "Self-signed"),
        *(r"port \d+", r"\d ports", r"\d IPs", r"\d+\.\d+\.\d+\.\d+:\d ports"),
    ):
        assert any(re.fullmatch(form, target) for target in targets), form
    severities = {head(block[0])[2] for dag in dags for block in blocks(dag)}
    assert severities == set(ORDER)
    hosts = {re.search(r"^Source IP: (\S+)", dag, re.MULTILINE)[1] for dag in dags}
    assert any(":" in host for host in hosts)
    windows = {int(re.search(r"Timewindow: (-?\d+)", dag)[1]) for dag in dags}
    assert min(windows) < 0 < max(windows)


@pytest.mark.parametrize("seed", [0, 9])
def test_some_windows_cross_midnight(seed: int, sample_of: Callable[[int], Path]) -> None:
    crossing = wrapped = number = 0
    for _, dag in Sample(sample_of(seed), seed).dags():
        if limits := re.search(f"^Timeline: ({DATE}) to ({DATE})$", dag, re.MULTILINE):
            number += 1
            if limits[1][:10] != limits[2][:10]:
                crossing += 1
                # The least and the greatest of the clock: what began before midnight comes last.
                spans = re.findall(rf"^• ({TIME})-({TIME}) - ", dag, re.MULTILINE)
                assert all(first < last for first, last in spans)
                wrapped += any(first < "01:00" and last > "22:00" for first, last in spans)
    assert 0.015 < crossing / number < 0.09
    assert wrapped


def test_condensing_knows_every_line_and_loses_no_event(
    corpus: Sample, pytestconfig: pytest.Config
) -> None:
    """Of every third; thorough, of all."""
    every = 1 if pytestconfig.getoption("--thorough") else 3
    for dag in sorted({dag for _, dag in corpus.dags()})[::every]:
        read = evidence.read(dag)
        if NOTHING.fullmatch(dag):
            assert read.before == [dag]
            continue
        assert [line.split(":")[0] for line in read.before[1:]] in (
            ["Incident", "Source IP", "Timeline", "Threat Level", ""],
            ["Incident", "Source IP", "Start Time", "Threat Level", ""],
        )
        assert [line.split(":")[0] for line in read.after] == [
            *("", "Total Evidence", "Severity breakdown")
        ]
        assert sum(group.events for group in read.groups) == sum(
            head(block[0])[0] for block in blocks(dag)
        )


def test_odd_evidence_is_where_the_plan_says(corpus: Sample) -> None:
    signs = {
        "start_time": "\nStart Time: ",
        "critical": "[CRITICAL]",
        "unknown": "[UNKNOWN]",
        "no_events": "No associated events found",
        "port": "Event to port ",
        "ports": "Event to 3 ports [",
        "addresses": "Event to 2 IPs [",
        "address_ports": ":2 ports [",
    }
    assert set(signs) == {*plan.ODD_EVIDENCE, "no_events"}
    for row, dag in corpus.dags():
        odd = corpus.roles[row["incident_id"]].evidence
        assert {name for name, sign in signs.items() if sign in dag} == ({odd} if odd else set())
