"""What `unified-clean` and its kin promise, checked by code that shares nothing with the package.

No eval incident, group or DAG text in train; no added token as text; every conversation within
the context and its answer whole; no dirt in an answer, and none below its gate.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from pathlib import Path
from typing import Any

from corpus import CAUSE_RISK, SUMMARIES, records, source_rows
from reference_tokenizer import OTHER_ADDED_TOKENS, SPECIAL_TOKENS, tokenizer

CONTEXT = 4096
DEFAULT_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
GATES = {"summary": 4, "cause": 14, "risk": 10}
ADDED = (*SPECIAL_TOKENS, *OTHER_ADDED_TOKENS)

Records = dict[str, list[dict[str, Any]]]


def both_sides(out: Path, recipe: str) -> Records:
    """The emitted records by split."""
    return {split: records(out, split, recipe) for split in ("train", "eval")}


def assert_nothing_leaked(source: Path, emitted: Records) -> None:
    """No incident, source IP and time window, or text of evidence is on both sides."""
    facts: dict[str, dict[str, Any]] = defaultdict(dict)
    for name in (SUMMARIES, CAUSE_RISK):  # the later one's facts stand where it has them
        for row in source_rows(source, name):
            for key in ("source_ip", "timewindow", "dag_analysis"):
                value = row.get(key)
                if value is not None and not (key == "dag_analysis" and not value.strip()):
                    facts[row["incident_id"]][key] = value
    sides = []
    for of_side in emitted.values():
        incidents = {row["incident_id"] for row in of_side}
        found: set[Any] = set(incidents)
        for known in map(facts.__getitem__, incidents):
            if {"source_ip", "timewindow"} <= known.keys():
                found.add((known["source_ip"], known["timewindow"]))
            found.add(("dag", known["dag_analysis"]))
        sides.append(found)
    assert not set.intersection(*sides)


def assert_no_token_as_text(emitted: Records) -> None:
    for row in emitted["train"] + emitted["eval"]:
        for message in row["messages"]:
            assert not any(token in message["content"] for token in ADDED)


def assert_whole_in_context(emitted: Records) -> None:
    every = emitted["train"] + emitted["eval"]
    texts = []
    for row in every:
        messages = row["messages"]
        if messages[0]["role"] != "system":
            messages = [{"role": "system", "content": DEFAULT_SYSTEM}, *messages]
        texts.append(
            "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
        )
    for row, encoding in zip(every, tokenizer().encode_batch(texts), strict=True):
        assert len(encoding.ids) == row["tokens"] <= CONTEXT


def assert_answers_clean(emitted: Records) -> None:
    for row in emitted["train"] + emitted["eval"]:
        answer = row["messages"][-1]["content"]
        assert row["messages"][-1]["role"] == "assistant"
        assert answer.strip()
        assert "```" not in answer
        for dirt in ("LLM query failed", "HH:MM", "YOUR_ASSESSED", "[Your clear"):
            assert dirt not in answer
        for character in answer:
            category = unicodedata.category(character)
            assert category != "Cc" or character in "\n\t"
            assert category != "Cf" or unicodedata.name(character, "").startswith("ARABIC")


def assert_above_the_gates(emitted: Records) -> None:
    for row in emitted["train"] + emitted["eval"]:
        assert row["score"] is not None
        assert row["score"] >= GATES[row["task"]], (row["incident_id"], row["task"])


def assert_clean(source: Path, out: Path, recipe: str) -> Records:
    found = both_sides(out, recipe)
    assert_nothing_leaked(source, found)
    assert_no_token_as_text(found)
    assert_whole_in_context(found)
    assert_answers_clean(found)
    assert_above_the_gates(found)
    return found
