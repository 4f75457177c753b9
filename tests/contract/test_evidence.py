"""Condensed evidence: the laws of rule 11, over random, hostile and real DAGs."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immune_data.contract import evidence
from immune_data.contract.tokens import count

SEVERITIES = ["CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO", "UNKNOWN"]
HOSTILE = [
    "<|im_end|>",
    "• 10:00 - 5 events to 1.2.3.4 [HIGH]",
    "{1.2.3.4, 5.6.7.8, … 9 in all}",
    "{{nested}} }{",
    "{and 7 more variations}",
    "… and 7 more variations",
    "١٢٣ ٤",
    "Total Evidence: 9 events",
    "['a b', '135']",
    "x['135', '139']y",
    "['135', '139']",
    "['evil.example', '80']",
    "['evil.example', 'two']",
    "(x99)",
    "1.2.3.4/24",
    "1.2.3.4/99",
    "1.2.3.4.5",
    "fd2d::1:53",
    "::",
    "aa:bb:cc:dd:ee:ff.5",
    "1e-5",
    "9" * 40,
    "a | b",
    "\r\u2028\x0b",
    "x" * 3000,
]

addresses = st.builds("{}.{}.{}.{}".format, *[st.integers(0, 255)] * 4)
numbers = st.integers(0, 99_999).map(str)
texts = st.one_of(
    st.builds("Connection to unknown port {}/TCP destination IP {}.".format, numbers, addresses),
    st.builds(
        "Horizontal port scan to port  {}/TCP. From {} to {} unique destination IPs.".format,
        numbers,
        addresses,
        numbers,
    ),
    st.builds("Flow by ML. Src IP {}:{} to {}:{}".format, addresses, numbers, addresses, numbers),
    st.builds(
        "Connection to multiple ports {} of IP: {}. ".format,
        st.lists(numbers, min_size=1, max_size=12).map(str),
        addresses,
    ),
    st.builds("blacklisted IP: {}. Description: SBL{}.".format, addresses, numbers),
    st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=3).map(" ".join),
    st.text(
        st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1, max_size=30
    ),
)
times = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))


@st.composite
def blocks(draw: st.DrawFn) -> str:
    """A bullet with its details, as the lab's parser writes them."""
    severity = draw(st.sampled_from(SEVERITIES))
    first, last = draw(times), draw(times)
    shown = draw(st.lists(texts, min_size=1, max_size=3, unique=True))
    level = f" threat level: {severity.lower()}."
    details = [f"  - {text}{level}{draw(st.sampled_from(['', ' (x3)']))}" for text in shown]
    if draw(st.booleans()):
        details.append(f"  - ... and {draw(st.integers(1, 900))} more variations")
    target = draw(st.one_of(addresses, st.builds("{}:{}".format, addresses, numbers), st.just("A")))
    events = draw(st.integers(1, 5000))
    span = first if first == last or draw(st.booleans()) else f"{first}-{last}"
    said = "Event" if events == 1 else f"{events} events"
    return "\n".join([f"• {span} - {said} to {target} [{severity}]", *details])


HEADER = (
    "=" * 60
    + "\nIncident: 0000\nSource IP: 10.0.0.1 | Timewindow: 3"
    + "\nTimeline: 1970-01-01 {start} to 1970-01-02 {start}"
    + "\nThreat Level: 15.279999999999994 | Events: 9\n\n"
)


@st.composite
def dags(draw: st.DrawFn) -> tuple[str, list[str], str]:
    """A DAG as its header, its blocks and what follows them."""
    header = HEADER.format(start=f"{draw(times)}:11")
    after = "\n\nTotal Evidence: 9 events\nSeverity breakdown: High: 9"
    return header, draw(st.lists(blocks(), max_size=8)), after


def whole(dag: tuple[str, list[str], str]) -> str:
    header, of, after = dag
    return header + "\n".join(of) + after


def counts(text: str) -> Counter[str]:
    """Events by severity, of either form, by an expression that the code does not share."""
    actual: Counter[str] = Counter()
    for line in text.split("\n"):
        if match := re.match(
            r"• [0-9:-]+ - (?:Event|([0-9]+) events?) (?:\[([A-Z]+)\] |to .*\[([A-Z]+)\]$)", line
        ):
            actual[match[2] or match[3]] += int(match[1] or 1)
    return actual


# Laws


@given(dags())
def test_events_by_severity_add_up_to_the_source(dag: tuple[str, list[str], str]) -> None:
    assert counts(evidence.condense(whole(dag), 8)) == counts(whole(dag))


@given(dags(), st.integers(1, 9), st.integers(1, 9))
def test_condensing_with_fewer_values_after_more_is_condensing_with_fewer(
    dag: tuple[str, list[str], str], a: int, b: int
) -> None:
    fewer, more = sorted((a, b))
    text = whole(dag)
    assert evidence.condense(evidence.condense(text, more), fewer) == evidence.condense(text, fewer)


@given(dags(), st.randoms(use_true_random=False))
def test_the_order_of_blocks_does_not_show(dag: tuple[str, list[str], str], random: object) -> None:
    header, of, after = dag
    shuffled = list(of)
    random.shuffle(shuffled)
    assert evidence.condense(whole((header, shuffled, after)), 8) == evidence.condense(
        whole(dag), 8
    )


@given(dags())
def test_every_time_span_lies_within_that_of_its_group(dag: tuple[str, list[str], str]) -> None:
    whole_dag = evidence.read(whole(dag))
    alone = [evidence.read(whole((dag[0], [block], dag[2]))).groups[0] for block in dag[1]]
    for group in whole_dag.groups:
        own = [one for one in alone if (one.severity, one.kind) == (group.severity, group.kind)]
        assert own
        assert group.first == min(one.first for one in own)
        assert group.last == max(one.last for one in own)
    assert len(whole_dag.groups) == len({(one.severity, one.kind) for one in alone})


@given(dags(), st.lists(st.sampled_from(HOSTILE), max_size=4), st.randoms(use_true_random=False))
def test_lines_that_are_not_events_stay(
    dag: tuple[str, list[str], str], lines: list[str], random: object
) -> None:
    header, of, after = dag
    foreign = [f"{line}!" for line in lines]
    mixed = [*of, *foreign]
    random.shuffle(mixed)
    condensed = evidence.condense(whole((header, mixed, after)), 8).split("\n")
    for line in foreign:
        assert condensed.count(line) >= foreign.count(line)
    assert counts("\n".join(condensed)) == counts(whole(dag))


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    once = evidence.condense(text, 8)
    assert evidence.condense(once, 8) == once


# What it looks like


def test_events_of_one_kind_are_one_bullet() -> None:
    dag = (
        HEADER.format(start="23:30:00") + "• 23:59 - Event to 10.0.0.2:80 [LOW]\n"
        "  - Connecting to private IP: 10.0.0.2 on destination port: 80 threat level: low.\n"
        "• 00:05-00:07 - 3 events to 10.0.0.3:80 [LOW]\n"
        "  - Connecting to private IP: 10.0.0.3 on destination port: 80 threat level: low. (x3)\n"
        "• 00:01 - Event to A [HIGH]\n"
        "  - A scan of {x} sent 12 packets. threat level: high.\n"
        "\nTotal Evidence: 5 events\nSeverity breakdown: High: 1, Low: 4"
    )
    head, _, body = evidence.condense(dag, 8).partition("\n\n")
    assert head.endswith("Threat Level: 15.28 | Events: 9")
    assert body == (
        "• 00:01 - 1 event [HIGH] A scan of {{x}} sent 12 packets.\n"
        "• 23:59-00:07 - 4 events [LOW] Connecting to private IP: {10.0.0.2, 10.0.0.3} on "
        "destination port: 80\n"
        "\nTotal Evidence: 5 events\nSeverity breakdown: High: 1, Low: 4"
    )


def scans(values: list[int]) -> str:
    blocks = [
        f"• 10:{i:02} - Event to 10.0.0.{i}:{value} [HIGH]\n"
        f"  - Scan of port {value}/TCP sent {value} packets to 10.0.0.{i}. threat level: high."
        for i, value in enumerate(values)
    ]
    return "\n".join(blocks)


def test_numbers_beyond_the_values_are_a_range_and_names_a_part() -> None:
    assert evidence.condense(scans([7, 900, 80]), 2) == (
        "• 10:00-10:02 - 3 events [HIGH] Scan of port {7, 900, … 3 in all}/TCP sent "
        "{7 to 900, 3 in all} packets to {10.0.0.0, 10.0.0.1, … 3 in all}."
    )


def test_a_target_that_no_text_names_is_named() -> None:
    dag = (
        "• 10:00 - 2 events to 10.0.0.9 [INFO]\n"
        "  - Connection to multiple ports ['135', '139'] of IP: 10.0.0.1.  threat level: info. (x2)"
    )
    assert evidence.condense(dag, 8) == (
        "• 10:00 - 2 events [INFO] to 10.0.0.9: Connection to multiple ports {135, 139} of IP: "
        "10.0.0.1."
    )


def test_an_event_block_of_several_kinds_is_one_group() -> None:
    dag = (
        "• 10:00 - 3 events to 10.0.0.9:80 [LOW]\n"
        "  - non-HTTP connection to port 80. destination IP: 10.0.0.9 threat level: low. (x2)\n"
        "  - Flow by ML. Src IP 10.0.0.1:5000 to 10.0.0.9:80 threat level: low."
    )
    assert evidence.condense(dag, 8) == (
        "• 10:00 - 3 events [LOW] Flow by ML. Src IP 10.0.0.1:5000 to 10.0.0.9:80 | non-HTTP "
        "connection to port 80. destination IP: 10.0.0.9"
    )


def test_values_shrink_to_the_limit_and_then_it_is_refused() -> None:
    dag = scans(list(range(100, 130)))
    sizes = {values: count(evidence.condense(dag, values)) for values in (8, 3, 1)}
    assert sizes[8] > sizes[3] > sizes[1]
    assert evidence.fit(dag, 8, sizes[8], count) == evidence.condense(dag, 8)
    assert evidence.fit(dag, 8, sizes[3], count) == evidence.condense(dag, 3)
    assert evidence.fit(dag, 8, sizes[1] - 1, count) is None


# Real evidence


@pytest.fixture(scope="module")
def real_dags(real_source: Path) -> list[str]:
    actual = []
    for name in ("risk_dataset_v2", "summarization_dataset_v4"):
        with gzip.open(real_source / f"{name}.json.gz") as file:
            content = json.load(file)
        rows = content["incidents"] if isinstance(content, dict) else content
        actual += [row["dag_analysis"] for row in rows if row.get("dag_analysis")]
    assert len(actual) == 1064
    return list(dict.fromkeys(actual))


@pytest.fixture(scope="module")
def real_condensed(real_dags: list[str]) -> list[str]:
    return [evidence.condense(dag, 8) for dag in real_dags]


def test_every_line_of_the_real_evidence_is_accounted_for(
    real_dags: list[str], real_condensed: list[str]
) -> None:
    for dag, condensed in zip(real_dags, real_condensed, strict=True):
        assert counts(condensed) == counts(dag)
        assert [line for line in condensed.split("\n") if not line.startswith(("•", "Threat"))] == [
            line for line in dag.split("\n") if not line.startswith(("•", "  - ", "Threat"))
        ]


def test_no_real_evidence_is_longer_than_the_budget(real_condensed: list[str]) -> None:
    assert max(map(count, real_condensed)) < 2000
