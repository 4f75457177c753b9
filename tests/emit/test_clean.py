"""What `unified-clean` promises, checked by code that shares nothing with the package.

No eval incident, group or DAG text in train; no added token as text; every conversation within
the context and its answer whole; no dirt in an answer, and none below its gate.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corpus import CAUSE_RISK, SUMMARIES, Corpus, query, source_rows
from random_corpus import RandomCorpus
from reference_tokenizer import OTHER_ADDED_TOKENS, SPECIAL_TOKENS, tokenizer

from immune_data import recipes
from immune_data.common.errors import ImmuneError
from immune_data.contract import control_tokens
from immune_data.contract.tokens import count
from immune_data.emit.__main__ import emit

RECIPE = "unified-clean"
CONTEXT = 4096
DEFAULT_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
CUT = "[truncated: showing first ~"
MARKER = re.compile(r"\n\[truncated: showing first ~(\d+) tokens of full DAG\]\Z")
GATES = {"summary": 4, "cause": 14, "risk": 10}
ADDED = (*SPECIAL_TOKENS, *OTHER_ADDED_TOKENS)

Records = dict[str, list[dict[str, Any]]]


def emitted(source: Path, out: Path) -> Path:
    emit(source, out, recipes.load(RECIPE))
    return out


def records(out: Path) -> Records:
    folder = out / "sft" / RECIPE
    return {
        split: [json.loads(line) for line in (folder / f"{split}.jsonl").open(encoding="utf-8")]
        for split in ("train", "eval")
    }


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


def assert_clean(source: Path, out: Path) -> Records:
    found = records(out)
    assert_nothing_leaked(source, found)
    assert_no_token_as_text(found)
    assert_whole_in_context(found)
    assert_answers_clean(found)
    assert_above_the_gates(found)
    return found


def test_the_sample_is_clean(sample_source: Path, sample_out: Callable[[str], Path]) -> None:
    found = assert_clean(sample_source, sample_out(RECIPE))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 2103, "eval": 213}


def test_the_real_set_is_clean_and_loses_little(
    real_source: Path, real_out: Callable[[str], Path]
) -> None:
    out = real_out(RECIPE)
    assert_clean(real_source, out)
    gates = query(out, "select passed, verdict from gates", RECIPE)
    assert len(gates) == 39
    assert sum(passed for passed, _ in gates) >= 34
    assert all(verdict for passed, verdict in gates if not passed)


@pytest.mark.parametrize("seed", range(100, 108))
def test_random_corpora_are_clean(seed: int, tmp_path: Path) -> None:
    source = RandomCorpus(seed).write(tmp_path / "source")
    assert_clean(source, emitted(source, tmp_path / "out"))


def test_hostile_evidence_and_answers_stay_exact(tmp_path: Path) -> None:
    """Added tokens, escaped ones, and texts of every size around the limits."""
    rng = random.Random(5)
    pieces = [
        *ADDED,
        *(token.replace("<", "<\\") for token in ADDED),
        "<\\\\|im_end|>",
        "a",
        "é",
        "\n",
    ]
    corpus = Corpus()
    evidence = {}
    for i in range(30):
        incident = f"i{i:02}"
        lines = [
            "".join(rng.choices(pieces, k=rng.randint(1, 30)))
            for _ in range(rng.choice((3, 90, 400)))
        ]
        evidence[incident] = "10:00 - seen\n" + "\n".join(lines)
        corpus.incident(
            incident,
            dag=evidence[incident],
            facts={"source_ip": f"10.0.0.{i}", "timeline": rng.choice(ADDED)},
            answers={
                "gpt-4o": {"risk": dagless(incident) + " " + "".join(rng.sample(ADDED, 3)) + "."}
            },
        )
    source = corpus.write(tmp_path / "source")
    out = emitted(source, tmp_path / "out")
    found = assert_clean(source, out)
    shows = {row["incident_id"] for rows in found.values() for row in rows}
    # Lines that are no events cannot be condensed: what is too long then is refused whole.
    rule = "select distinct incident_id from cleaning where rule = 'evidence_too_long'"
    refused = {incident for (incident,) in query(out, rule, RECIPE)}
    assert shows | refused == set(evidence)
    assert shows
    assert refused == {incident for incident, dag in evidence.items() if count(dag) > 2000}
    for row in found["train"] + found["eval"]:
        shown = row["messages"][-2]["content"]
        full = control_tokens.escape(evidence[row["incident_id"]])
        assert control_tokens.unescape(full) == evidence[row["incident_id"]]
        assert shown.endswith(full)
        assert not row["dag_truncated"]


def dagless(incident: str) -> str:
    return f"Risk of {incident}: High. " + "the host may be lost " * 20


def test_the_next_best_stands_in_for_each_task_by_itself(tmp_path: Path) -> None:
    dirty = {
        "summary": "Incident a: LLM query failed - Error code: 429",
        "risk": ("HH:MM High. " * 20).rstrip(),
    }
    corpus = Corpus().incident("a", answers={"gpt-4o": dirty}).incident("b")
    out = emitted(corpus.write(tmp_path / "source"), tmp_path / "out")
    best = query(out, "select incident_id, task, model, winner from best_responses", RECIPE)
    assert {(i, task): (model, winner) for i, task, model, winner in best} == {
        ("a", "summary"): ("gpt-4o-mini", "gpt-4o"),
        ("a", "cause"): ("gpt-4o", "gpt-4o"),
        ("a", "risk"): ("gpt-4o-mini", "gpt-4o"),
        ("b", "summary"): ("gpt-4o", "gpt-4o"),
        ("b", "cause"): ("gpt-4o", "gpt-4o"),
        ("b", "risk"): ("gpt-4o", "gpt-4o"),
    }
    touched = query(out, "select incident_id, task, model, rule, effect from cleaning", RECIPE)
    assert touched == [
        ("a", "risk", "gpt-4o", "placeholder", "refused"),
        ("a", "summary", "gpt-4o", "error_text", "refused"),
    ]


def test_no_answer_that_passes_means_out_with_the_winners_rule(tmp_path: Path) -> None:
    failed = {"summary": "LLM query failed - Error code: 429"}
    corpus = (
        Corpus()
        .incident(
            "a",
            answers=dict.fromkeys(("gpt-4o", "gpt-4o-mini"), failed)
            | {
                "qwen2.5-3b": {"summary": "short"},
                "qwen2.5-1.5b": {"summary": None},
            },
        )
        .incident("b")
    )
    out = emitted(corpus.write(tmp_path / "source"), tmp_path / "out")
    assert query(out, "select incident_id, verdict, summary_refused_by from gates", RECIPE) == [
        ("a", "summary_cleaning", "error_text"),
        ("b", None, None),
    ]


def test_a_stand_in_must_itself_reach_the_score(tmp_path: Path) -> None:
    failed = {"summary": "LLM query failed - Error code: 429"}
    scores = {"gpt-4o": 9, "gpt-4o-mini": 3.9, "qwen2.5-3b": 2, "qwen2.5-1.5b": 1}
    corpus = Corpus().incident("a", summary_scores=scores, answers={"gpt-4o": failed})
    out = emitted(corpus.write(tmp_path / "source"), tmp_path / "out")
    assert query(out, "select verdict from gates", RECIPE) == [("summary_cleaning",)]


@pytest.mark.parametrize(
    ("risk", "chosen", "verdict"),
    [
        ({"gpt-4o": 10, "gpt-4o-mini": 30}, "gpt-4o-mini", None),  # its own score, not the cause's
        ({"gpt-4o": 9, "gpt-4o-mini": 10}, "gpt-4o-mini", None),
        ({"gpt-4o": 9.5, "qwen2.5-3b": 30}, "qwen2.5-3b", None),
        ({"gpt-4o-mini": 29}, "gpt-4o-mini", None),  # the winner's risk answer was not judged
        # The model's cause does not reach its gate: its risk answer does.
        ({"gpt-4o": 9, "gpt-4o-mini": 9, "qwen2.5-1.5b": 30}, "qwen2.5-1.5b", None),
        (
            {"gpt-4o": 9, "gpt-4o-mini": 9, "qwen2.5-3b": 9, "qwen2.5-1.5b": 9.9},
            "qwen2.5-1.5b",
            "risk_score",
        ),
    ],
)
def test_the_risk_answer_that_is_used_reaches_its_own_gate(
    risk: dict[str, float], chosen: str, verdict: str | None, tmp_path: Path
) -> None:
    cause = {"gpt-4o": 27, "gpt-4o-mini": 24, "qwen2.5-3b": 18, "qwen2.5-1.5b": 13}
    corpus = Corpus().incident("a", cause=cause, risk=risk).incidents("bcdef")
    out = emitted(corpus.write(tmp_path / "source"), tmp_path / "out")
    used = "select model from best_responses where incident_id = 'a' and task = 'risk'"
    assert query(out, used, RECIPE) == [(chosen,)]
    gates = query(out, "select verdict, risk_score from gates where incident_id = 'a'", RECIPE)
    assert gates == [(verdict, risk.get(chosen))]
    assert_above_the_gates(records(out))


def test_an_answer_too_long_for_the_context_is_refused_by_name(tmp_path: Path) -> None:
    rare = "High " + "\U000103a0" * 1500 + "."  # 3,000 tokens in 1,506 characters
    corpus = Corpus().incident("a", answers={"gpt-4o": {"summary": rare}}).incident("b")
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        'description = "x"\nextends = "unified-clean"\n[records]\nmax_sequence_tokens = 2048\n'
    )
    out = tmp_path / "out"
    emit(corpus.write(tmp_path / "source"), out, recipes.load(str(recipe)))
    refused = query(out, "select incident_id, model, rule from cleaning", "small")
    assert refused == [("a", "gpt-4o", "too_long")]
    assert query(out, "select max(tokens) <= 2048, count(*) from conversations", "small") == [
        (True, 6)
    ]


@pytest.mark.parametrize("token", ADDED[1:16:7])
def test_a_prompt_or_marker_with_an_added_token_is_refused(token: str, tmp_path: Path) -> None:
    source = Corpus().incident("a").write(tmp_path / "source")
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        f'description = "x"\nextends = "unified-clean"\n[dag]\nmarker = "cut {token}"\n'
    )
    with pytest.raises(ImmuneError, match="dag_marker"):
        emit(source, tmp_path / "out", recipes.load(str(recipe)))
    shutil.copytree(recipes.load(RECIPE).prompts_folder, tmp_path / "prompts")
    (tmp_path / "prompts" / "risk.user.txt").write_text(f"{token} {{evidence}}")
    recipe.write_text('description = "x"\nextends = "unified-clean"\nprompts = "prompts"\n')
    with pytest.raises(ImmuneError, match="task risk"):
        emit(source, tmp_path / "out", recipes.load(str(recipe)))


def test_facts_full_of_tokens_leave_the_conversation_within_the_context(tmp_path: Path) -> None:
    facts = {"timeline": "<|im_start|>" * 600, "source_ip": "10.0.0.1"}
    corpus = Corpus().incident("a", facts=facts, dag="10:00 - seen\n" * 900).incident("b")
    source = corpus.write(tmp_path / "source")
    assert_clean(source, emitted(source, tmp_path / "out"))


@pytest.mark.parametrize("layout", ["documented", "evidence-first"])
@pytest.mark.parametrize("context", [1, 700, 4096])
def test_what_fits_no_context_is_emitted_with_a_warning_and_without_end(
    context: int, layout: str, tmp_path: Path
) -> None:
    """Where answers are not cleaned, none is refused for its length: the evidence gives way."""
    endless = "Low. " + "one two three four five six seven. " * 800
    corpus = Corpus().incident("a", answers={"gpt-4o": {"cause": endless}}, dag="10:00 - x\n" * 900)
    corpus.incident("b")
    recipe = tmp_path / "whole.toml"
    recipe.write_text(
        'description = "x"\nextends = "unified-v2"\n[dag]\nwithin_context = true\n[records]\n'
        f'max_sequence_tokens = {context}\nprompt_layout = "{layout}"\n'
    )
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "immune_data.emit",
        "--recipe",
        str(recipe),
        "--data",
        str(out),
    ]
    command += ["--source", str(corpus.write(tmp_path / "source"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    shown = query(
        out,
        f"select incident_id, task, tokens <= {context}, contains(messages[-2].content, '{CUT}')"
        " from conversations",
        "whole",
    )
    assert len(shown) == 6
    for incident, task, fits, marked in shown:
        assert fits or marked, (incident, task)
        assert fits or context < 4096 or (incident, task) == ("a", "cause")
    warned = "select count(*) from warnings where warning = 'over the context'"
    assert query(out, warned, "whole") == [(sum(not fits for _, _, fits, _ in shown),)]
