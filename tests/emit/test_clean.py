"""What `unified-clean` promises: see `clean.py`, which checks it."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clean import ADDED, assert_above_the_gates, assert_clean, both_sides
from conftest import Part
from corpus import Corpus, query
from random_corpus import EMITTED_CLEAN

from immune_data import recipes
from immune_data.common.errors import ImmuneError
from immune_data.contract import control_tokens
from immune_data.contract.tokens import count
from immune_data.emit.__main__ import emit

RECIPE = "unified-clean"
CUT = "[truncated: showing first ~"


def emitted(source: Path, out: Path) -> Path:
    emit(source, out, recipes.load(RECIPE))
    return out


def test_the_sample_is_clean(sample_source: Path, sample_out: Callable[[str], Path]) -> None:
    found = assert_clean(sample_source, sample_out(RECIPE), RECIPE)
    assert {split: len(rows) for split, rows in found.items()} == {"train": 2103, "eval": 213}


def test_the_real_set_is_clean_and_loses_little(
    real_source: Path, real_out: Callable[[str], Path]
) -> None:
    out = real_out(RECIPE)
    assert_clean(real_source, out, RECIPE)
    gates = query(out, "select passed, verdict from gates", RECIPE)
    assert len(gates) == 39
    assert sum(passed for passed, _ in gates) >= 34
    assert all(verdict for passed, verdict in gates if not passed)


@pytest.mark.parametrize(("seed", "recipe"), EMITTED_CLEAN)
def test_random_corpora_are_clean(
    seed: int, recipe: str, random_part: Callable[[int, str], Part]
) -> None:
    assert_clean(*random_part(seed, recipe), recipe)


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
    found = assert_clean(source, out, RECIPE)
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


FAILED = {"summary": "LLM query failed - Error code: 429"}


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder of incidents whose winner's answers, or all, cannot be used."""
    dirty = {
        "summary": "Incident a: LLM query failed - Error code: 429",
        "risk": ("HH:MM High. " * 20).rstrip(),
    }
    none = dict.fromkeys(("gpt-4o", "gpt-4o-mini"), FAILED)
    none |= {"qwen2.5-3b": {"summary": "short"}, "qwen2.5-1.5b": {"summary": None}}
    low = {"gpt-4o": 9, "gpt-4o-mini": 3.9, "qwen2.5-3b": 2, "qwen2.5-1.5b": 1}
    corpus = (
        Corpus()
        .incident("a", answers={"gpt-4o": dirty})
        .incident("b")
        .incident("none", answers=none)
        .incident("low", summary_scores=low, answers={"gpt-4o": FAILED})
    )
    folder = tmp_path_factory.mktemp("stand-ins")
    return emitted(corpus.write(folder / "source"), folder / "out")


def test_the_next_best_stands_in_for_each_task_by_itself(stand_ins: Path) -> None:
    of = "where incident_id in ('a', 'b')"
    best = query(
        stand_ins, f"select incident_id, task, model, winner from best_responses {of}", RECIPE
    )
    assert {(i, task): (model, winner) for i, task, model, winner in best} == {
        ("a", "summary"): ("gpt-4o-mini", "gpt-4o"),
        ("a", "cause"): ("gpt-4o", "gpt-4o"),
        ("a", "risk"): ("gpt-4o-mini", "gpt-4o"),
        ("b", "summary"): ("gpt-4o", "gpt-4o"),
        ("b", "cause"): ("gpt-4o", "gpt-4o"),
        ("b", "risk"): ("gpt-4o", "gpt-4o"),
    }
    touched = query(
        stand_ins, f"select incident_id, task, model, rule, effect from cleaning {of}", RECIPE
    )
    assert touched == [  # in the order of `responses`
        ("a", "summary", "gpt-4o", "error_text", "refused"),
        ("a", "risk", "gpt-4o", "placeholder", "refused"),
    ]


def test_no_answer_that_passes_means_out_with_the_winners_rule(stand_ins: Path) -> None:
    gates = query(stand_ins, "select incident_id, verdict, summary_refused_by from gates", RECIPE)
    assert {incident: rest for incident, *rest in gates if incident in ("none", "b")} == {
        "none": ["summary_cleaning", "error_text"],
        "b": [None, None],
    }


def test_a_stand_in_must_itself_reach_the_score(stand_ins: Path) -> None:
    verdict = "select verdict from gates where incident_id = 'low'"
    assert query(stand_ins, verdict, RECIPE) == [("summary_cleaning",)]


RISKS: list[tuple[dict[str, float], str, str | None]] = [
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
]


@pytest.fixture(scope="module")
def by_risk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder of an incident of each of `RISKS`, named by its place."""
    cause = {"gpt-4o": 27, "gpt-4o-mini": 24, "qwen2.5-3b": 18, "qwen2.5-1.5b": 13}
    corpus = Corpus()
    for place, (risk, *_) in enumerate(RISKS):
        corpus.incident(f"{place}", cause=cause, risk=risk)
    folder = tmp_path_factory.mktemp("by-risk")
    return emitted(corpus.write(folder / "source"), folder / "out")


@pytest.mark.parametrize("place", range(len(RISKS)))
def test_the_risk_answer_that_is_used_reaches_its_own_gate(place: int, by_risk: Path) -> None:
    risk, chosen, verdict = RISKS[place]
    of = f"where incident_id = '{place}'"
    used = query(by_risk, f"select model from best_responses {of} and task = 'risk'", RECIPE)
    assert used == [(chosen,)]
    gates = query(by_risk, f"select verdict, risk_score from gates {of}", RECIPE)
    assert gates == [(verdict, risk.get(chosen))]
    assert_above_the_gates(both_sides(by_risk, RECIPE))


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
    assert_clean(source, emitted(source, tmp_path / "out"), RECIPE)


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Fail what takes longer, as a loop without end does."""

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


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
    with within(60):
        emit(corpus.write(tmp_path / "source"), out, recipes.load(str(recipe)))
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
