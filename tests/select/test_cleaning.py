"""Each cleaning rule on its own: what it takes away, what it leaves, what it refuses."""

from __future__ import annotations

import re
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immune_data.contract import control_tokens, evidence
from immune_data.contract.vocabulary import ADDED_TOKENS
from immune_data.select.cleaning_rules import CHANGES, REFUSALS, clean

SUMMARY = (
    "Incident: a\n\n• 10:00 - scan [HIGH]\n\nTotal Evidence: 3 events\nSeverity breakdown: High: 1"
)
CAUSE = "**Possible Causes:**\n\n**1. Malicious Activity:**\n• a scan\n\n**Conclusion:** A scan."
RISK = "**Risk Level:** High\n\n**Investigation Priority:** Immediate"
WHOLE = {"summary": SUMMARY, "cause": CAUSE, "risk": RISK}


def test_it_is_importable_where_tools_outside_look_for_it() -> None:
    assert import_module("immune_data.select.cleaning_rules").clean(SUMMARY, "summary").text
    assert list(signature(clean).parameters) == ["text", "task"]


@pytest.mark.parametrize("task", WHOLE)
def test_a_clean_answer_is_left_alone(task: str) -> None:
    cleaned = clean(WHOLE[task], task)
    assert (cleaned.text, cleaned.changed_by, cleaned.refused_by) == (WHOLE[task], (), None)


@pytest.mark.parametrize(
    ("rule", "dirty"),
    [
        ("line_ends", SUMMARY.replace("\n", "\r\n")),
        ("line_ends", SUMMARY.replace("\n", "\r")),
        ("control_characters", SUMMARY.replace("scan", "sc\x00a\x1bn\x7f\x85")),
        ("invisible_characters", SUMMARY.replace("scan", "s\u200bc\u202ea\u2066n\ufeff")),
        ("code_fence", f"```plaintext\n{SUMMARY}\n```"),
        ("code_fence", f"```\n{SUMMARY}\n```\n"),
        ("code_fence", f"\n```text  \n{SUMMARY}\n  ```"),
        ("code_fence", f"```plaintext\n{SUMMARY}"),
        ("code_fence", f"{SUMMARY}\n```"),
        ("trailing_notes", f"{SUMMARY}\n\n---\n\nThis structure helps in presenting the events."),
        ("trailing_notes", f"{SUMMARY}\n---\nFeel free to modify any part of this analysis!"),
        ("trailing_notes", f"{SUMMARY}\n--------------------"),
        ("trailing_notes", f"{SUMMARY}\n---\nThe above summary is short.\n---\n"),
        ("trailing_notes", f"{SUMMARY}\n---\n===="),
        ("trailing_rules", f"{SUMMARY}\n{'=' * 60}"),
        ("trailing_rules", f"{SUMMARY}\n\n  === \n\n======\n"),
        ("trailing_rules", f"{SUMMARY}\n====\n---\nThe above summary is short."),
        ("trailing_blanks", SUMMARY.replace("\n", "  \n")),
        ("trailing_blanks", f"{SUMMARY} \t\n\n"),
    ],
)
def test_a_change_gives_the_answer_back(rule: str, dirty: str) -> None:
    cleaned = clean(dirty, "summary")
    assert cleaned.text == SUMMARY
    assert rule in cleaned.changed_by
    assert cleaned.refused_by is None


@pytest.mark.parametrize(
    ("noisy", "plain"),
    [
        ("15.280000000000005", "15.28"),
        ("15.099999999999998", "15.1"),
        ("14.999999999999998", "15.0"),
        ("0.30000000000000004,", "0.3,"),
        ("(19.599999999999999)", "(19.6)"),
    ],
)
def test_float_noise_is_rounded_as_in_condensed_evidence(noisy: str, plain: str) -> None:
    cleaned = clean(SUMMARY.replace("scan", f"scan {noisy}"), "summary")
    assert cleaned.text == SUMMARY.replace("scan", f"scan {plain}")
    assert cleaned.changed_by == ("float_noise",)
    header = f"Threat Level: {noisy.strip('(,)')} | Events: 1\n\n"
    assert evidence.condense(header, 8) == f"Threat Level: {plain.strip('(,)')} | Events: 1\n\n"


@pytest.mark.parametrize("kept", ["15.28", "1.2.3.4", "1.123456789.1", "v1.1234567890", "3.14159"])
def test_a_number_that_may_be_meant_stays(kept: str) -> None:
    assert clean(SUMMARY.replace("scan", f"scan {kept}"), "summary").changed_by == ()


def test_newlines_and_tabs_are_no_control_characters() -> None:
    text = SUMMARY.replace("scan", "a\tscan")
    assert clean(text, "summary").changed_by == ()


@pytest.mark.parametrize(
    "kept",
    [
        f"{CAUSE}\n\n---\n\n**Conclusion:** It was a scan after all, as this analysis shows.",
        f"{RISK}\n---\n**Business Impact:** Please note: the host may be lost.",
        f"---\n{SUMMARY}",
        f"{'=' * 60}\n{SUMMARY}",
        f"{SUMMARY.replace('Total', '=' * 60 + chr(10) + 'Total')}",
        f"{SUMMARY}\n---\nThe host was scanned twice.",
        f"{SUMMARY} --- let me know.",
    ],
)
def test_a_rule_line_inside_an_answer_stays(kept: str) -> None:
    assert clean(kept, "summary").text == kept


@pytest.mark.parametrize(
    ("rule", "task", "text"),
    [
        ("empty", "summary", "```\n\n```"),
        ("empty", "risk", "\u200b\u200b"),
        ("error_text", "summary", "Incident x: LLM query failed - Error code: 429 - {'error': 1}"),
        ("error_text", "cause", "Cause analysis failed: <html>\r\n<title>504 Gateway Time-out"),
        ("error_text", "risk", "Risk assessment failed: The server had an error."),
        ("error_text", "summary", "```plaintext\nLLM QUERY FAILED\n```"),
        ("placeholder", "summary", SUMMARY.replace("10:00", "HH:MM-HH:MM")),
        ("placeholder", "summary", SUMMARY.replace("[HIGH]", "[YOUR_ASSESSED_SEVERITY]")),
        ("placeholder", "summary", SUMMARY.replace("scan", "[Your clear grouped summary]")),
        ("placeholder", "cause", CAUSE.replace("a scan", "[Specific attack technique]")),
        ("stray_fence", "summary", f"{SUMMARY}\n```python\nprint(1)\n```\nas above."),
        ("stray_fence", "risk", f"```a\n{RISK}\n```\n```b\n{RISK}\n```"),
        ("cut_off", "summary", "Incident: a\n\n• 10:00 - a scan (samples: 192."),
        ("cut_off", "summary", "Incident: a\n\n• 10:00 - connections to 192.168."),
        ("cut_off", "cause", "**1. Malicious Activity:**\n• the host was"),
        ("cut_off", "cause", f"{CAUSE}\n\n**Recommendation:** look at the"),
        ("cut_off", "cause", f"{CAUSE}\n-"),
        ("cut_off", "risk", "**Risk Level:** High\n\n**Justification:** many hosts,"),
    ],
)
def test_a_refusal_names_its_rule(rule: str, task: str, text: str) -> None:
    assert clean(text, task).refused_by == rule


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("cause", CAUSE.removesuffix(".")),
        ("cause", CAUSE.removesuffix("A scan.") + "see logs of 192.168.1.113."),
        ("cause", CAUSE.replace("a scan", "the request failed: see the log at HHMM")),
        ("summary", SUMMARY.replace("High: 1", "INFO: N/A")),
        ("summary", SUMMARY.replace("High: 1", "Info: 122.")),
        ("risk", RISK.replace("Immediate", "High - 迅速调查是必要的。")),
        ("risk", RISK + " - the analysis failed to rule it out."),
    ],
)
def test_an_unusual_ending_or_word_is_no_refusal(task: str, text: str) -> None:
    assert clean(text, task).refused_by is None


def test_every_rule_has_a_case_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    for rule in {*CHANGES, *REFUSALS}:
        assert f'"{rule}"' in source, rule


@given(
    st.text(alphabet=st.sampled_from("a19 .\n\r\t`-=[(:\u200b\x00•")),
    st.sampled_from(sorted(WHOLE)),
)
def test_cleaning_a_cleaned_answer_changes_nothing(text: str, task: str) -> None:
    once = clean(text, task)
    again = clean(once.text, task)
    if once.refused_by is None:
        assert again == type(again)(once.text, (), None)


pieces = st.lists(
    st.sampled_from([*ADDED_TOKENS, *(t.replace("<", "<\\") for t in ADDED_TOKENS)])
    | st.sampled_from(["<", "\\", "|", ">", "|>", "<|", "im_end", "tool_call>", "</", "x", "\n"]),
    max_size=12,
).map("".join)


@given(pieces)
def test_escaping_leaves_no_token_and_is_undone_exactly(text: str) -> None:
    escaped = control_tokens.escape(text)
    assert not any(token in escaped for token in ADDED_TOKENS)
    assert control_tokens.unescape(escaped) == text
    twice = control_tokens.escape(escaped)
    assert control_tokens.unescape(control_tokens.unescape(twice)) == text
    assert control_tokens.contains(text) == any(token in text for token in ADDED_TOKENS)


@pytest.mark.parametrize("token", ADDED_TOKENS)
def test_each_added_token_is_escaped_visibly(token: str) -> None:
    assert control_tokens.escape(f"a{token}b") == f"a<\\{token[1:]}b"
    assert clean(SUMMARY + token, "summary").changed_by == ("control_tokens",)


def test_text_without_tokens_is_not_touched() -> None:
    text = "a < b, <|not_a_token|>, <b>, \\<\\|, <tool_calls>"
    assert control_tokens.escape(text) == text
    assert re.search(r"<\\\\\|im_end", control_tokens.escape("<\\|im_end|>"))
