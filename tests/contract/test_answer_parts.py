"""One reading of answers: whatever words they are made of, their parts are found by headings."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from answers import CAUSE, RISK, SUMMARY
from corpus import query
from hypothesis import given
from hypothesis import strategies as st

from immune_data.contract import answer_fields
from immune_data.contract.answer_fields import LEVELS
from immune_data.prompts import TASKS
from immune_data.select import cleaning_rules

AUDIT = Path(__file__).parents[2] / "sql" / "audit"


def test_a_summary_is_taken_apart() -> None:
    assert answer_fields.parse("summary", SUMMARY).fields == {
        "incident_id": "7d0f6a1c-0000-4000-8000-000000000001",
        "source_ip": "192.168.1.7",
        "timewindow": "3",
        "timeline": "2024-01-01 10:00:00 to 2024-01-01 11:00:00",
        "threat_level": 12.5,
        "events": 1500,
        "key_events": [
            {"time": "10:00-10:30", "description": "Scan of port 8080/TCP", "severity": "HIGH"},
            {"time": "10:31", "description": "Contact with a listed address", "severity": "LOW"},
        ],
        "total_evidence": 1500,
        "severity_breakdown": {"high": 1, "low": 1},
    }


def test_a_cause_analysis_is_taken_apart() -> None:
    assert answer_fields.parse("cause", CAUSE).fields == {
        "malicious_activity": ["A worm looks for its next host.", "Or a person does."],
        "legitimate_activity": ["An inventory of the network."],
        "misconfigurations": ["A monitor with too wide a range."],
        "conclusion": "Malicious activity, most likely.\n\nAsk the owner.",
    }


def test_a_risk_assessment_is_taken_apart() -> None:
    assert answer_fields.parse("risk", RISK).fields == {
        "risk_level": "High",
        "justification": "A scan of 65 hosts on port 8080.",
        "business_impact": "Data could leave the network.",
        "likelihood": "Medium",
        "likelihood_reason": "Administrators scan too.",
        "investigation_priority": "Immediate",
        "investigation_priority_reason": "The host holds backups.",
    }
    plain = RISK.replace("**", "").replace("Level: High", "level: [HIGH]")
    assert answer_fields.parse("risk", plain).fields["risk_level"] == "High"


@given(st.text(), st.sampled_from(["summary", "cause", "risk"]))
def test_any_text_can_be_taken_apart(text: str, task: str) -> None:
    parts = answer_fields.parse(task, text)
    assert json.dumps(parts.fields)
    assert set(parts.missing) <= set(parts.fields)


def lacks(task: str, text: str) -> tuple[str, ...]:
    return answer_fields.parse(task, text).missing


# Headings, however they are written


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("**Risk Level:** High", "### Risk Level: High"),
        ("**Risk Level:** High", "- **Risk Level**: HIGH"),
        ("**Risk Level:** High", "**Risk Level:**\nHigh"),
        ("**Risk Level:** High", "**Risk Level:**\n\n- **High**"),
        ("**Risk Level:** High", "1. __Risk Level__: [High]"),
        ("**Risk Level:** High", "**Risk Level**\nHigh"),
        ("Medium - Administrators scan too.", "Medium"),
        ("Medium - Administrators scan too.", "High/Medium/Low: Medium - So it seems."),
        ("Medium - Administrators scan too.", "Medium\n\nThe likelihood is what it is."),
        ("**Business Impact:** Data could", "**Business Impact:**\n• Data could"),
        ("A scan of 65", "A high likelihood of malicious activity, which a scan of 65"),
        ("A scan of 65", "The risk level is unknown, and investigation priority too: 65"),
    ],
)
def test_a_risk_assessment_is_whole_however_its_headings_look(old: str, new: str) -> None:
    assert old in RISK
    parts = answer_fields.parse("risk", RISK.replace(old, new))
    assert parts.missing == ()
    levels = [parts.fields[name] for name in LEVELS]
    assert levels == ["High", "Medium", "Immediate"]


@pytest.mark.parametrize(
    ("old", "new", "lacking"),
    [
        ("Level:** High", "Level:** Moderate", "risk_level"),
        ("Level:** High", "Level:** Highly unlikely", "risk_level"),
        ("Level:** High", "Level:**", "risk_level"),
        ("Medium -", "Critical -", "likelihood"),
        ("Immediate -", "Critical -", "investigation_priority"),
        ("**Investigation Priority:**", "**Investigating Priority:**", "investigation_priority"),
        ("**Business Impact:**", "The business impact:", "business_impact"),
        ("Data could leave the network.", "…", "business_impact"),
    ],
)
def test_a_part_that_is_not_there_is_missing(old: str, new: str, lacking: str) -> None:
    assert old in RISK
    assert lacks("risk", RISK.replace(old, new)) == (lacking,)


@pytest.mark.parametrize(
    ("old", "new", "lacking"),
    [
        ("**1. Malicious Activity:**", "1. Malicious Activity:", ()),
        ("**1. Malicious Activity:**", "### 1. **Malicious Activities**", ()),
        ("**1. Malicious Activity:**", "• **Malicious Activity:**", ()),
        ("**3. Misconfigurations:**", "**Misconfiguration:**", ()),
        ("• A worm", "• Misconfigurations: a worm", ()),
        ("**3. Misconfigurations:**", "**3. Others:**", ("misconfigurations",)),
        ("• An inventory of the network.", "", ("legitimate_activity",)),
        ("**Conclusion:** Malicious", "The conclusion: malicious", ("conclusion",)),
        ("Malicious activity, most", "Malicious activity is the conclusion, most", ()),
    ],
)
def test_a_cause_analysis_is_read_by_its_headings(
    old: str, new: str, lacking: tuple[str, ...]
) -> None:
    assert old in CAUSE
    assert lacks("cause", CAUSE.replace(old, new)) == lacking


def test_a_cause_without_bullets_is_a_cause() -> None:
    text = CAUSE.replace("• An inventory", "An inventory")
    fields = answer_fields.parse("cause", text).fields
    assert fields["legitimate_activity"] == ["An inventory of the network."]


@pytest.mark.parametrize(
    ("old", "new", "lacking"),
    [
        ("Incident: 7d0f", "**Incident ID:** 7d0f", ()),
        ("Timewindow: 3", "**Time Window:** `3`", ()),
        ("Severity breakdown: High: 1, Low: 1", "Severity breakdown:\n- HIGH (1)\n- LOW: 1", ()),
        ("Severity breakdown: High: 1, Low: 1", "Overall severity breakdown: 1 High, 1x Low", ()),
        ("Threat Level: 12.5 | ", "", ("threat_level",)),
        ("Threat Level: 12.5", "Threat Level: high", ("threat_level",)),
        ("Scan of", "Events: 12, threat level: 3, a scan of", ()),
        ("•", "", ("key_events",)),
        ("High: 1, Low: 1", "as above", ("severity_breakdown",)),
        ("Total Evidence: 1500", "Evidence: 1500", ("total_evidence",)),
        ("1,500", "9" * 30, ("events",)),
    ],
)
def test_a_summary_is_read_by_its_lines(old: str, new: str, lacking: tuple[str, ...]) -> None:
    assert old in SUMMARY
    parts = answer_fields.parse("summary", SUMMARY.replace(old, new))
    assert parts.missing == lacking
    if not lacking:
        assert parts.fields["severity_breakdown"] == {"high": 1, "low": 1}
        assert (parts.fields["events"], parts.fields["threat_level"]) == (1500, 12.5)
        assert len(parts.fields["key_events"]) == 2


@pytest.mark.parametrize(
    "text",
    [
        *("severity breakdown " * 20_000, "severity breakdown: high\n" * 9_000, "9" * 200_000),
        *("1 " * 90_000, "events: " * 40_000, "**Risk Level:** " + "*" * 200_000, "- " * 90_000),
        *(
            "conclusion\n" * 20_000,
            "• " * 90_000,
            "high " * 60_000,
            "[high" * 60_000,
            "\n" * 200_000,
        ),
    ],
)
def test_a_hostile_answer_takes_no_time(text: str) -> None:
    start = time.process_time()
    for task in TASKS:
        answer_fields.parse(task, text)
    assert time.process_time() - start < 5


# Prose says what it likes: no line of it starts with a heading.
_WORDS = (
    *(
        "risk level",
        "Likelihood of malicious activity",
        "investigation priority",
        "business impact",
    ),
    *("high", "Low", "critical", "immediate", "is", "of", "192.168.1.7", "-", ",", "justification"),
)
prose = st.lists(st.sampled_from(_WORDS), min_size=1, max_size=12).map(
    lambda w: f"So {' '.join(w)}."
)


@given(
    levels=st.tuples(*map(st.sampled_from, LEVELS.values())),
    texts=st.tuples(prose, prose, prose, prose),
    between=st.sampled_from([" - ", ": ", ", ", "\n\n", "\n- "]),
)
def test_no_word_in_prose_is_taken_for_a_field(
    levels: tuple[str, str, str], texts: tuple[str, str, str, str], between: str
) -> None:
    risk, likelihood, priority = levels
    answer = (
        f"**Risk Level:** {risk}\n\n**Justification:** {texts[0]}\n\n"
        f"**Business Impact:** {texts[1]}\n\n"
        f"**Likelihood of Malicious Activity:** {likelihood}{between}{texts[2]}\n\n"
        f"**Investigation Priority:** {priority}{between}{texts[3]}"
    )
    assert answer_fields.parse("risk", answer).fields == {
        "risk_level": risk.capitalize(),
        "justification": texts[0],
        "business_impact": texts[1],
        "likelihood": likelihood.capitalize(),
        "likelihood_reason": texts[2],
        "investigation_priority": priority.capitalize(),
        "investigation_priority_reason": texts[3],
    }


# Real answers


def test_every_real_answer_is_taken_apart(real_answers: list[tuple[str, str, str]]) -> None:
    """How many lack something: error texts, and what its reader would not find either."""
    lacking = Counter((task, model) for task, model, text in real_answers if lacks(task, text))
    failed = Counter(
        (task, model)
        for task, model, text in real_answers
        if cleaning_rules.REFUSALS["error_text"](text, task)
    )
    assert len(real_answers) > 6300
    for task in TASKS:
        assert lacking[task, "gpt-4o"] == failed[task, "gpt-4o"]
    assert lacking["summary", "gpt-4o-mini"] == 0
    assert lacking["risk", "qwen2.5-1.5b"] <= 18


def test_a_real_risk_assessment_with_its_five_headings_is_whole(
    real_answers: list[tuple[str, str, str]],
) -> None:
    """A second, simpler reading: five headings in bold, and the word that follows three of them."""
    titles = {
        "Risk Level": ("critical", "high", "medium", "low"),
        "Justification": None,
        "Business Impact": None,
        "Likelihood of Malicious Activity": ("high", "medium", "low"),
        "Investigation Priority": ("immediate", "high", "medium", "low"),
    }

    def is_whole(text: str) -> bool:
        for title, words in titles.items():
            first = re.search(rf"^\W*{title}:\W*(\w+)", text, re.IGNORECASE | re.MULTILINE)
            if first is None or (words and first[1].lower() not in words):
                return False
        return True

    whole = [text for task, _, text in real_answers if task == "risk" and is_whole(text)]
    assert len(whole) > 2090
    assert [text for text in whole if lacks("risk", text)] == []


@pytest.mark.parametrize("recipe", ["unified-v2", "unified-clean"])
def test_sql_reads_of_real_records_what_python_reads(
    real_out: Callable[[str], Path], recipe: str
) -> None:
    out = real_out(recipe)
    rows = query(out, "select split, line, task, messages[-1].content from conversations", recipe)
    expected = {
        (split, line): list(missing)
        for split, line, task, text in rows
        if (missing := lacks(task, text))
    }
    found = query(out, (AUDIT / "structure.sql").read_text(), recipe)
    assert {(row[2], row[3]): row[5] for row in found} == expected
