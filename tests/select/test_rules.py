"""The rules of the design as cases worked by hand, through `emit` and its relations."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import tiktoken
from conftest import Part
from corpus import (
    CAUSE_RISK,
    CAUSE_RISK_RUN,
    MODELS,
    RUN_1,
    RUN_2,
    SUMMARIES,
    Corpus,
    manifest,
    query,
    records,
)
from random_corpus import DOCUMENTED, EMITTED

from immune_data import recipes
from immune_data.emit.__main__ import emit
from immune_data.select import steps

MARKER = "[truncated: showing first ~3500 tokens of full DAG]"
SPLITS = ("train", "eval")


def emitted(corpus: Corpus, folder: Path, *names: str) -> Path:
    """The output folder of a corpus, emitted by one recipe after another."""
    source = corpus.write(folder / "source")
    for name in names or ("unified-v2",):
        emit(source, folder / "out", recipes.load(name))
    return folder / "out"


def all_records(out: Path, recipe: str = "unified-v2") -> list[dict[str, Any]]:
    return [record for split in SPLITS for record in records(out, split, recipe)]


def by_all(text: str, task: str) -> dict[str, dict[str, str]]:
    """The same answer by every model."""
    return {model: {task: text} for model in MODELS}


# Rule 3: winners


def winner_cases() -> tuple[Corpus, dict[str, tuple[str, str]]]:
    """Incidents, and the models that give their summary, and their cause and risk."""
    corpus = Corpus()
    expected = {}

    def case(incident: str, by_summary: str, by_cause: str, /, **how: Any) -> None:
        corpus.incident(incident, **how)
        expected[incident] = (by_summary, by_cause)

    case("as told", "gpt-4o", "gpt-4o")
    case(
        "the highest, wherever it stands",
        "qwen2.5-1.5b",
        "qwen2.5-3b",
        summary_scores={"gpt-4o": 8, "gpt-4o-mini": 8, "qwen2.5-1.5b": 8.5},
        cause={"gpt-4o": 20, "qwen2.5-3b": 20.25, "gpt-4o-mini": 20},
    )
    case(
        "a tie goes to the first key and not to the first rank",
        "gpt-4o-mini",
        "qwen2.5-3b",
        summary_scores={"gpt-4o-mini": 9, "gpt-4o": 9, "qwen2.5-3b": 3},
        cause={"qwen2.5-3b": 25, "gpt-4o": 25},
        rankings={"1": "gpt-4o", "2": "qwen2.5-3b"},
        extra={RUN_1: {"rankings": {"1": "gpt-4o", "2": "gpt-4o-mini", "3": "qwen2.5-3b"}}},
    )
    case(
        "the same tie with its keys the other way round",
        "gpt-4o",
        "gpt-4o",
        summary_scores={"gpt-4o": 9, "gpt-4o-mini": 9, "qwen2.5-3b": 3},
        cause={"gpt-4o": 25, "qwen2.5-3b": 25},
        rankings={"1": "qwen2.5-3b", "2": "gpt-4o"},
        extra={RUN_1: {"rankings": {"1": "gpt-4o-mini", "2": "gpt-4o", "3": "qwen2.5-3b"}}},
    )
    case(
        "a tie of an integer and a float",
        "qwen2.5-3b",
        "qwen2.5-1.5b",
        summary_scores={"qwen2.5-3b": 9, "gpt-4o": 9.0},
        cause={"qwen2.5-1.5b": 25.0, "gpt-4o": 25},
    )
    case(
        "a tie behind a lower score",
        "qwen2.5-1.5b",
        "gpt-4o-mini",
        summary_scores={"gpt-4o": 5, "qwen2.5-1.5b": 7, "gpt-4o-mini": 7},
        cause={"gpt-4o": 15, "gpt-4o-mini": 22, "qwen2.5-3b": 22},
    )
    case(
        "rankings alone decide nothing",
        "gpt-4o",
        "gpt-4o",
        rankings={"1": "qwen2.5-1.5b", "2": "gpt-4o"},
        extra={RUN_1: {"rankings": {"1": "qwen2.5-1.5b", "2": "gpt-4o"}}},
    )
    case(
        "nor do missing ones",
        "gpt-4o",
        "gpt-4o",
        rankings={},
        extra={RUN_1: {"rankings": None}},
    )
    case(
        "the risk answer is the cause winner's whoever is best at risks",
        "gpt-4o",
        "gpt-4o-mini",
        cause={"gpt-4o": 20, "gpt-4o-mini": 21},
        risk={"gpt-4o": 30, "gpt-4o-mini": 11, "qwen2.5-3b": 12},
    )
    case(
        "the order of the risk scores decides no tie of causes",
        "gpt-4o",
        "qwen2.5-3b",
        cause={"qwen2.5-3b": 20, "gpt-4o": 20},
        risk={"gpt-4o": 20, "qwen2.5-3b": 20},
    )
    case(
        "every model in another spelling",
        "qwen2.5-3b",
        "qwen2.5-1.5b",
        summary_scores={"GPT-4o": 7, "GPT-4o mini": 7, "Qwen2.5 3b": 9, "Qwen2.5": 8},
        cause={"GPT-4o": 16, "GPT-4o-mini": 17, "Qwen2.5 3B": 18, "Qwen2.5 1.5B": 19},
        risk={"Qwen2.5": 19, "gpt-4o": 12},
        rankings={"1": "Qwen2.5-1.5B", "2": "Qwen2.5-3B"},
    )
    case(
        "a null score and an undeclared model do not stand in the order",
        "gpt-4o-mini",
        "gpt-4o-mini",
        summary_scores={"gpt-4o": None, "GPT-5": 9, "gpt-4o-mini": 9, "qwen2.5-3b": 9},
        cause={"GPT-5": 30, "gpt-4o": None, "gpt-4o-mini": 20, "qwen2.5-3b": 20},
    )
    case(
        "the winner was not judged on risks",
        "gpt-4o",
        "gpt-4o",
        cause={"gpt-4o": 20, "gpt-4o-mini": 19},
        risk={"gpt-4o-mini": 20},
    )
    case("its evidence is here", "gpt-4o", "gpt-4o", dag="THE EVIDENCE\n")
    return corpus, expected


WINNERS, EXPECTED_WINNERS = winner_cases()


@pytest.fixture(scope="module")
def winners(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return emitted(WINNERS, tmp_path_factory.mktemp("winners"))


@pytest.mark.parametrize("incident", EXPECTED_WINNERS)
def test_winners(incident: str, winners: Path) -> None:
    actual = {
        record["task"]: record
        for record in all_records(winners)
        if record["incident_id"] == incident and record["origin"] == "unified"
    }
    summary, cause = EXPECTED_WINNERS[incident]
    assert {task: record["model"] for task, record in actual.items()} == {
        "summary": summary,
        "cause": cause,
        "risk": cause,
    }
    for record in actual.values():
        answer = record["messages"][-1]["content"]
        assert incident in answer
        assert f"by {record['model']}" in answer


def test_a_record_has_the_score_of_its_own_task(winners: Path) -> None:
    actual = {
        record["task"]: record["score"]
        for record in all_records(winners)
        if record["incident_id"].startswith("the risk answer is") and record["origin"] == "unified"
    }
    assert actual == {"summary": 9, "cause": 21, "risk": 11}


def unified_records(out: Path, incident: str) -> list[dict[str, Any]]:
    return [
        record
        for record in all_records(out)
        if record["incident_id"] == incident and record["origin"] == "unified"
    ]


def test_a_cause_winner_that_was_not_judged_on_risks_has_no_score_there(winners: Path) -> None:
    *_, record = unified_records(winners, "the winner was not judged on risks")
    assert (record["task"], record["model"], record["score"]) == ("risk", "gpt-4o", None)


# Rule 1: judge runs


def test_an_incident_judged_by_both_runs(tmp_path: Path) -> None:
    first = {"gpt-4o": 5, "gpt-4o-mini": 4.5}
    second = {"gpt-4o": 6, "gpt-4o-mini": 10}
    low = {"gpt-4o": 3, "gpt-4o-mini": 2}
    corpus = (
        Corpus()
        .incident("both", summary_scores=first)
        .incident("both, at first too low", summary_scores=low)
        .incident("both, then too low", summary_scores=first)
        .incident("only the later", summary_scores=second, run=RUN_2)
        .incident("only the earlier", summary_scores=first)
    )
    for incident, scores in (
        ("both", second),
        ("both, at first too low", second),
        ("both, then too low", low),
    ):
        corpus.rows[RUN_2].append({"incident_id": incident, "scores": scores})
    corpus.rows[RUN_2].reverse()
    out = emitted(corpus, tmp_path)
    assert query(out, "select incident_id, summary_score, verdict from gates") == [
        ("both", 5, None),
        ("both, at first too low", 3, "summary_score"),
        ("both, then too low", 5, None),
        ("only the earlier", 5, None),
        ("only the later", 10, None),
    ]
    models = {r["incident_id"]: r["model"] for r in all_records(out) if r["task"] == "summary"}
    assert models.pop("only the later") == "gpt-4o-mini"
    assert set(models.values()) == {"gpt-4o"}


# Rule 2: the pool


def test_the_pool_is_judged_on_both_tasks_and_in_both_datasets(tmp_path: Path) -> None:
    corpus = (
        Corpus()
        .incident("z in")
        .incident("no summary", datasets=[CAUSE_RISK])
        .incident("no cause and risk", datasets=[SUMMARIES])
        .incident("no summary verdict", summary_scores=None)
        .incident("no cause and risk verdict", cause=None, risk=None)
        .incident("no risk verdict", risk=None)
        .incident("no cause verdict", cause=None)
        .incident("B in", run=RUN_2)
        .incident("a in")
        .incident("é in")
        .incident("\U0001f999 in")
        .incident("\uffee in")
    )
    out = emitted(corpus, tmp_path)
    # By code point: "\uffee" before what lies beyond it.
    expected = ["B in", "a in", "z in", "é in", "\uffee in", "\U0001f999 in"]
    assert query(out, "from pool") == [(incident,) for incident in expected]
    assert query(out, "select incident_id from gates") == query(out, "from pool")


# Rule 4: gates


def text_of(chars: int, opening: str = "") -> str:
    return opening + "x" * (chars - len(opening))


def words_of(words: int, opening: str = "", space: str = " ") -> str:
    return space.join([*([opening] if opening else []), *["word"] * words][:words])


def scores(best: float, *others: float) -> dict[str, float]:
    """The last model has the best score: who has it does not matter."""
    return dict(zip(MODELS, [*others, *[0] * (3 - len(others)), best], strict=True))


RISK = "Risk: High. "
TOO_LONG = {
    "summary": text_of(9000),
    "cause": text_of(9000),
    "risk": text_of(9000, RISK),
}
LEVEL_WORDS = {
    "High": True,
    "HIGH": True,
    "hIgH": True,
    "critical!": True,
    "**Medium**": True,
    "(low)": True,
    "low-risk": True,
    "Risk:Low": True,
    "medium\u200b": True,  # a zero-width space is not part of a word
    "High\u0301": True,  # nor is a combining mark
    "\u00a0Critical\u2003": True,
    # For Python's `re` these are an I and an i in another case.
    "Hıgh": True,
    "CRİTİCAL": True,
    "HIGHér": False,
    "Highland": False,
    "highs": False,
    "low_risk": False,
    "Slow": False,
    "lower": False,
    "4High": False,
    "High4": False,
    "High٣": False,
    "日High": False,
    "Lowé": False,
    "H igh": False,
    "Severe": False,
    "Crit\u0301ical": False,
    "ＨＩＧＨ": False,
}


def gate_cases() -> tuple[Corpus, dict[str, str | None]]:
    corpus = Corpus()
    expected: dict[str, str | None] = {}

    def case(incident: str, verdict: str | None, **how: Any) -> None:
        corpus.incident(incident, **how)
        expected[incident] = verdict

    for gate, key, bound in (
        ("summary_score", "summary_scores", 4),
        ("cause_score", "cause", 14),
        ("risk_score", "risk", 10),
    ):
        case(f"{gate} at its bound", None, **{key: scores(bound, bound - 1)})
        case(f"{gate} just below", gate, **{key: scores(bound - 0.001, bound - 1)})
        case(f"{gate} one off", gate, **{key: scores(bound - 1)})
        case(f"{gate} one above", None, **{key: scores(bound + 1)})
    for task, low, high in (("summary", 50, 400), ("cause", 50, 600), ("risk", 30, 300)):
        gate = f"{task}_length"
        opening = RISK if task == "risk" else ""
        for chars, verdict in (
            (4 * low, None),
            (4 * low - 1, gate),
            (4 * low + 3, None),
            (4 * high, None),
            (4 * high + 3, None),
            (4 * high + 4, gate),
        ):
            case(
                f"{gate} of {chars} characters",
                verdict,
                answers=by_all(text_of(chars, opening), task),
            )
        case(
            f"{gate} of letters that are more bytes",
            gate,
            answers=by_all(opening + "é" * (4 * low - 1 - len(opening)), task),
        )
        case(
            f"{gate} of letters that are no single UTF-16 unit",
            None,
            answers=by_all(opening + "🦙" * (4 * high + 3 - len(opening)), task),
        )
        case(
            f"{gate}: any model's answer will do",
            None,
            answers=by_all(TOO_LONG[task], task) | {MODELS[3]: {task: text_of(4 * low, RISK)}},
        )
        case(
            f"{gate}: too short and too long make none that fits",
            gate,
            answers=by_all(TOO_LONG[task], task) | {MODELS[3]: {task: text_of(8, RISK)}},
        )
        case(f"{gate}: no answer at all", gate, answers=by_all(None, task))
        case(
            f"{gate}: no answer but that of a model that was not judged",
            None,
            answers={model: {task: None} for model in MODELS[:3]},
            summary_scores=dict.fromkeys(MODELS[:3], 9),
            cause=dict.fromkeys(MODELS[:3], 20),
            risk=dict.fromkeys(MODELS[:3], 20),
        )
    for word, holds in LEVEL_WORDS.items():
        case(
            f"level {word!r}",
            None if holds else "risk_level",
            answers=by_all(text_of(300, f"Risk {word} ").replace("xxxx", "xxx "), "risk"),
        )
    case(
        "level: in any model's answer",
        None,
        answers=by_all(text_of(300), "risk") | {MODELS[3]: {"risk": "low"}},
    )
    case(
        "level: in a risk answer and in no other",
        "risk_level",
        answers={
            model: {
                "risk": text_of(300),
                "cause": words_of(60, "High"),
                "summary": words_of(60, "High"),
            }
            for model in MODELS
        },
    )
    # All gates failed, then all from the second on, and so on: the first one is the verdict.
    failing: dict[str, Any] = {"summary_scores": scores(3), "cause": scores(13), "risk": scores(9)}
    texts = {"summary": text_of(9), "cause": text_of(9), "risk": text_of(9)}
    order = ("summary_score", "cause_score", "risk_score", "summary_length", "cause_length")
    order += ("risk_length", "risk_level")
    sound = {"summary": words_of(60), "cause": words_of(60), "risk": words_of(60)}
    for place, gate in enumerate(order):
        how = dict(list(failing.items())[place:])
        passed = max(0, place - 3)
        given = dict(list(sound.items())[:passed]) | dict(list(texts.items())[passed:])
        case(f"the first of {7 - place} failed", gate, **how, answers=dict.fromkeys(MODELS, given))
    return corpus, expected


GATES, EXPECTED_VERDICTS = gate_cases()


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    out = emitted(GATES, tmp_path_factory.mktemp("gates"))
    rows = query(out, "select incident_id, passed, verdict from gates")
    assert all(passed == (verdict is None) for _, passed, verdict in rows)
    return {incident: verdict for incident, _, verdict in rows}


@pytest.mark.parametrize("incident", EXPECTED_VERDICTS)
def test_gates(incident: str, gates: dict[str, str | None]) -> None:
    assert gates[incident] == EXPECTED_VERDICTS[incident]


# Rule 8: the standalone gates


def standalone_cases() -> tuple[Corpus, dict[str, str | None]]:
    """Incidents whose first-ranked model is the second, which no score makes the best."""
    corpus = Corpus()
    expected: dict[str, str | None] = {}
    first = MODELS[1]
    rankings = {"1": first, "2": "gpt-4o", "3": "qwen2.5-3b"}

    def case(incident: str, verdict: str | None, **how: Any) -> None:
        corpus.incident(incident, **{"rankings": rankings} | how)
        expected[incident] = verdict

    for gate, key, bound in (("cause_score", "cause", 14), ("risk_score", "risk", 10)):
        case(f"{gate} at its bound", None, **{key: {"gpt-4o": 30, first: bound}})
        case(f"{gate} just below", gate, **{key: {"gpt-4o": 30, first: bound - 0.001}})
        case(f"{gate} missing", gate, **{key: {"gpt-4o": 30}})
    for task, low, high in (("cause", 50, 600), ("risk", 30, 300)):
        gate = f"{task}_length"
        opening = "High" if task == "risk" else ""
        for words, verdict in ((low, None), (low - 1, gate), (high, None), (high + 1, gate)):
            text = words_of(words, opening)
            case(f"{gate} of {words} words", verdict, answers={first: {task: text}})
        for space in ("\n", "\t\t", "\u00a0", "\u2003", "\x1c", "\x85", "\u2028"):
            text = words_of(low, opening, space)
            case(f"{gate} with {space!r} between words", None, answers={first: {task: text}})
        text = words_of(low, opening, "\u200b")
        case(f"{gate} with no space between words", gate, answers={first: {task: text}})
        case(f"{gate}: no answer", gate, answers={first: {task: None}})
        case(
            f"{gate}: no other model's answer will do",
            gate,
            answers={
                first: {task: words_of(low - 1, opening)},
                "gpt-4o": {task: words_of(low, opening)},
            },
        )
    case("a level in its own answer", None, answers={first: {"risk": words_of(40, "critical!")}})
    case(
        "no level in its own answer",
        "risk_level",
        answers={first: {"risk": words_of(40, "Highland")}},
    )
    case("a level for `re`", None, answers={first: {"risk": words_of(40, "Hıgh")}})
    case("nobody is first", "cause_score", rankings={"2": first, "3": "gpt-4o"})
    case("no rankings", "cause_score", rankings={})
    case("an undeclared model is first", "cause_score", rankings={"1": "GPT-5", "2": first})
    case("another spelling is first", None, rankings={"1": "GPT-4o mini", "2": "gpt-4o"})
    case("a low summary does not matter", None, summary_scores=scores(0))
    case("no summary verdict does not matter", None, summary_scores=None)
    case("no summary does not matter", None, datasets=[CAUSE_RISK])
    case(
        "the first of all failed",
        "cause_score",
        cause=scores(1),
        risk=scores(1),
        answers={model: {"cause": "x", "risk": "x"} for model in MODELS},
    )
    case(
        "the first of lengths and level",
        "cause_length",
        answers={first: {"cause": "x", "risk": "x"}},
    )
    return corpus, expected


STANDALONE, EXPECTED_STANDALONE = standalone_cases()


@pytest.fixture(scope="module")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    corpus = Corpus()
    corpus.rows = {name: list(rows) for name, rows in STANDALONE.rows.items()}
    corpus.incident("not in the cause and risk dataset", datasets=[SUMMARIES])
    corpus.incident("not judged on risks", risk=None)
    corpus.incident("not judged on causes", cause=None)
    corpus.rows[CAUSE_RISK].reverse()
    out = emitted(corpus, tmp_path_factory.mktemp("standalone"))
    rows = query(out, "select incident_id, passed, verdict from risk_gates")
    assert all(passed == (verdict is None) for _, passed, verdict in rows)
    # All that were judged on both and are in the dataset, in the judge file's order.
    assert [incident for incident, _, _ in rows] == list(EXPECTED_STANDALONE)
    return {incident: verdict for incident, _, verdict in rows}


@pytest.mark.parametrize("incident", EXPECTED_STANDALONE)
def test_standalone_gates(incident: str, standalone: dict[str, str | None]) -> None:
    assert standalone[incident] == EXPECTED_STANDALONE[incident]


def test_a_standalone_record_is_of_the_first_ranked_with_its_own_scores(tmp_path: Path) -> None:
    corpus = Corpus().incident(
        "a",
        cause={"gpt-4o": 30, "qwen2.5-3b": 15},
        risk={"gpt-4o": 30, "qwen2.5-3b": 12},
        rankings={"2": "gpt-4o", "1": "Qwen2.5 3b"},
    )
    emitted_records = all_records(emitted(corpus, tmp_path, "risk"), "risk")
    assert [(r["task"], r["model"], r["score"], r["origin"]) for r in emitted_records] == [
        ("cause", "qwen2.5-3b", 15, "risk_only"),
        ("risk", "qwen2.5-3b", 12, "risk_only"),
    ]


# Rules 5 and 8: splits


def names(number: int) -> list[str]:
    """Ids whose order is neither that of the files nor that of the numbers."""
    return [f"{(i * 7919) % 1009:04}" for i in range(number)]


def in_order(found: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(record["incident_id"] for record in found))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A number for each way to round that is not ours, and random corpora; thorough, more."""
    thorough = metafunc.config.getoption("--thorough")
    if metafunc.function is test_the_funnel_adds_up_on_random_corpora:
        # The published one differs in its evidence alone.
        several = [recipe for recipe in DOCUMENTED if recipe != "published"]
        every = [(seed, recipe) for seed in range(6) for recipe in several]
        few = [case for case in EMITTED if case[1] in several]
        metafunc.parametrize(("seed", "recipe"), every if thorough else few)
    numbers = {
        test_the_split_is_a_shuffle_of_the_passing_in_order_of_id: (
            [1, 14, 25, 35],
            [2, 5, 15, 16, 45],
        ),
        test_the_standalone_split_is_that_of_scikit_learn: ([2, 10, 11], [9, 21, 40]),
    }
    if metafunc.function in numbers:
        few, more = numbers[metafunc.function]
        metafunc.parametrize("number", few + more if thorough else few)


def test_the_split_is_a_shuffle_of_the_passing_in_order_of_id(number: int, tmp_path: Path) -> None:
    corpus = Corpus().incidents(names(number)).incident("0000 fails", summary_scores=scores(3))
    out = emitted(corpus, tmp_path, "unified-v1")
    shuffled = sorted(names(number))
    random.Random(42).shuffle(shuffled)
    held_out = {1: 1, 2: 1, 5: 1, 14: 1, 15: 2, 16: 2, 25: 2, 35: 4, 45: 4}[number]
    assert held_out == max(1, round(0.1 * number))
    assert in_order(records(out, "eval", "unified-v1")) == shuffled[:held_out]
    assert in_order(records(out, "train", "unified-v1")) == shuffled[held_out:]
    assert query(out, "select incident_id, split from splits", "unified-v1") == [
        *((incident, "eval") for incident in shuffled[:held_out]),
        *((incident, "train") for incident in shuffled[held_out:]),
    ]


def test_the_standalone_split_is_that_of_scikit_learn(number: int, tmp_path: Path) -> None:
    from sklearn.model_selection import train_test_split

    corpus = Corpus().incidents(names(number)).incident("fails", cause=scores(13))
    corpus.rows[CAUSE_RISK].sort(key=lambda row: row["incident_id"])
    out = emitted(corpus, tmp_path, "risk")
    train, held_out = train_test_split(names(number), test_size=0.1, random_state=42)
    assert len(held_out) == math.ceil(number / 10)
    assert in_order(records(out, "train", "risk")) == train
    assert in_order(records(out, "eval", "risk")) == held_out


# Rule 6: records


def test_messages_speak_in_the_roles_of_their_task(winners: Path) -> None:
    incident = "its evidence is here"
    emitted_records = unified_records(winners, incident)
    assert [record["task"] for record in emitted_records] == ["summary", "cause", "risk"]
    roles = [[message["role"] for message in record["messages"]] for record in emitted_records]
    assert roles == [["system", "user", "assistant"], ["user", "assistant"], ["user", "assistant"]]
    summary, cause, risk = (
        [m["content"] for m in record["messages"]] for record in emitted_records
    )
    assert summary[1] == "THE EVIDENCE\n"
    for user, _ in (cause, risk):
        assert user.endswith("\n\nEvidence:\nTHE EVIDENCE\n")
        assert f"Incident: {incident}\nSource IP: 192.168.1.7\nTime window: 3\n" in user
        assert "Threat level: 12.50\nEvents: 15\n" in user
    answers = [texts[-1].split(" by ")[0] for texts in (summary, cause, risk)]
    assert answers == [f"{task} of {incident}" for task in ("Summary", "Causes", "Risk")]


def test_records_stand_by_incident_and_by_task(augmentation: Path) -> None:
    out = augmentation
    emitted_records = records(out, "train", "unified-v1")
    assert [record["task"] for record in emitted_records] == ["summary", "cause", "risk"] * 36
    assert [record["incident_id"] for record in emitted_records[::3]] == in_order(emitted_records)
    tripled = records(out, "train", "unified-v3")
    unified = [record for record in tripled if record["origin"] == "unified"]
    assert unified[: len(emitted_records)] == emitted_records
    original = tripled[: len(tripled) - sum(r["task"] != "summary" for r in tripled) // 2]
    assert tripled == original + [record for record in original if record["task"] != "summary"]
    assert records(out, "eval", "unified-v3") == records(out, "eval", "unified-v1")
    incidents = in_order(records(out, "train", "risk"))
    assert [(r["incident_id"], r["task"]) for r in records(out, "train", "risk")] == [
        (incident, task) for incident in incidents for task in ("cause", "risk")
    ]


def test_a_winner_without_an_answer_gives_no_record_and_keeps_its_place(tmp_path: Path) -> None:
    ids = names(30)
    whole = emitted(Corpus().incidents(ids), tmp_path / "whole", "unified-v1")
    lost = {
        ids[3]: {"gpt-4o": {"summary": None}},
        ids[11]: {"gpt-4o": {"cause": ""}},
        ids[17]: {"gpt-4o": {"risk": " \n"}},
        records(whole, "eval", "unified-v1")[0]["incident_id"]: {"gpt-4o": {"risk": None}},
    }
    assert len(lost) == 4
    corpus = Corpus()
    for incident in ids:
        corpus.incident(incident, answers=lost.get(incident))
    out = emitted(corpus, tmp_path / "lost", "unified-v1", "unified-v2")
    splits = "select incident_id, position, split from splits"
    assert query(out, splits, "unified-v1") == query(whole, splits, "unified-v1")
    for split in SPLITS:
        assert records(out, split, "unified-v1") == [
            record
            for record in records(whole, split, "unified-v1")
            if record["incident_id"] not in lost
        ]
    funnel = {row["step"]: row for row in manifest(out, "unified-v1")["counts"]["funnel"]}
    in_eval = sum(split == "eval" and i in lost for i, _, split in query(out, splits, "unified-v1"))
    assert (funnel["eval"]["lost"], funnel["train"]["lost"]) == (in_eval, 4 - in_eval)
    assert funnel["train"]["why"] == "a winner without an answer, or no evidence"
    # It is in the train split all the same: rule 9 does not bring it back.
    in_train = {i for i, _, split in query(out, splits) if split == "train"}
    assert not in_train & {
        incident for (incident,) in query(out, "select incident_id from risk_only")
    }


# Rule 7: evidence


def test_the_cause_and_risk_dataset_has_the_evidence_where_it_has_any(tmp_path: Path) -> None:
    corpus = (
        Corpus()
        .incident("both", dag="FROM RISKS", summary_dag="FROM SUMMARIES")
        .incident("only risks", dag="FROM RISKS")
        .incident("null", summary_dag="FROM SUMMARIES", extra={CAUSE_RISK: {"dag_analysis": None}})
        .incident("empty", summary_dag="FROM SUMMARIES", extra={CAUSE_RISK: {"dag_analysis": ""}})
        .incident(
            "blank", summary_dag="FROM SUMMARIES", extra={CAUSE_RISK: {"dag_analysis": "\n "}}
        )
        .incident("missing", dag=None, summary_dag="FROM SUMMARIES")
        .incident("none", dag=None)
        .incident("none, in the other split", dag=None)
    )
    out = emitted(corpus, tmp_path, "unified-v1", "risk")
    shown: dict[str, set[str]] = {}
    for recipe in ("unified-v1", "risk"):
        for record in all_records(out, recipe):
            text = record["messages"][-2]["content"]
            actual = {name for name in ("FROM RISKS", "FROM SUMMARIES") if name in text}
            shown[record["incident_id"]] = shown.get(record["incident_id"], set()) | actual
    assert shown == {
        "both": {"FROM RISKS"},
        "only risks": {"FROM RISKS"},
        **{key: {"FROM SUMMARIES"} for key in ("null", "empty", "blank", "missing")},
    }
    assert query(out, "select count(*) from splits", "unified-v1") == [(8,)]


def test_evidence_is_cut_at_3500_tokens_or_words(tmp_path: Path) -> None:
    encoding = tiktoken.get_encoding("qwen2.5")
    line = "a b c d e f g\n"  # eight tokens, seven words
    assert len(encoding.encode_ordinary(line)) == 8
    marker = len(encoding.encode_ordinary(MARKER))
    dags = {
        "3500 tokens": line * 437 + "a b c\n",
        "3501 tokens": line * 437 + "a b c d\n",
        "3500 words": line * 500,
        "3501 words": line * 500 + "a",
    }
    assert [len(encoding.encode_ordinary(dag)) for dag in dags.values()][:2] == [3500, 3501]
    corpus = Corpus()
    for incident, dag in dags.items():
        corpus.incident(incident, dag=dag)
    out = emitted(corpus, tmp_path, "unified-v1", "published")
    shown = {"unified-v1": (3500 - marker) // 8, "published": (3500 - len(MARKER.split())) // 7}
    whole = {"unified-v1": {"3500 tokens"}, "published": {*dags} - {"3501 words"}}
    for recipe in shown:
        emitted_records = all_records(out, recipe)
        assert {record["incident_id"] for record in emitted_records} == set(dags)
        for record in emitted_records:
            dag = dags[record["incident_id"]]
            text = record["messages"][-2]["content"]
            cut = record["incident_id"] not in whole[recipe]
            assert record["dag_truncated"] is cut
            assert text.endswith(line * shown[recipe] + MARKER if cut else dag)
            if record["task"] == "summary":
                assert text == (line * shown[recipe] + MARKER if cut else dag)


def test_limit_and_marker_are_the_recipe_s(tmp_path: Path) -> None:
    recipe = tmp_path / "short.toml"
    recipe.write_text('extends="unified-v1"\n[dag]\nlimit=12\nmarker="<cut at {limit}: {x}>"')
    source = (
        Corpus().incident("a", dag="one\ntwo three\n" + "four " * 20).write(tmp_path / "source")
    )
    emit(source, tmp_path / "out", recipes.load(str(recipe)))
    (summary, *_) = records(tmp_path / "out", "eval", "short")
    assert summary["messages"][1]["content"] == "one\n<cut at 12: {x}>"
    assert summary["dag_truncated"]


# Rule 9: augmentation


def augmented() -> tuple[Corpus, list[str]]:
    """Forty that pass everything, and three that reach only the standalone dataset."""
    corpus = Corpus()
    rankings = {"1": "gpt-4o-mini", "2": "gpt-4o"}
    for place, incident in enumerate(names(40)):
        corpus.incident(incident, rankings=rankings)
        if place % 15 == 7:
            corpus.incident(f"unjudged {place}", summary_scores=None, rankings=rankings)
    corpus.incident("failed", summary_scores=scores(3), rankings=rankings)
    corpus.incident("without a summary", datasets=[CAUSE_RISK], rankings=rankings)
    judged = [row["incident_id"] for row in corpus.rows[CAUSE_RISK_RUN]]
    return corpus, judged


@pytest.fixture(scope="module")
def augmentation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    corpus, _ = augmented()
    folder = tmp_path_factory.mktemp("augmentation")
    return emitted(corpus, folder, "unified-v1", "unified-v2", "unified-v3", "published", "risk")


def test_standalone_train_incidents_outside_unified_train_are_appended(augmentation: Path) -> None:
    from sklearn.model_selection import train_test_split

    _, judged = augmented()
    standalone_train, _ = train_test_split(judged, test_size=0.1, random_state=42)
    unified = in_order(records(augmentation, "train", "unified-v1"))
    held_out = in_order(records(augmentation, "eval", "unified-v1"))
    expected = [incident for incident in standalone_train if incident not in set(unified)]
    before = records(augmentation, "train", "unified-v1")
    emitted_records = records(augmentation, "train", "unified-v2")
    assert emitted_records[: len(before)] == before
    added = emitted_records[len(before) :]
    assert [(r["incident_id"], r["task"]) for r in added] == [
        (incident, task) for incident in expected for task in ("cause", "risk")
    ]
    assert query(augmentation, "select incident_id from risk_only") == [(key,) for key in expected]
    assert {(r["origin"], r["model"]) for r in added} == {("risk_only", "gpt-4o-mini")}
    assert {r["origin"] for r in before} == {"unified"}
    # Unified eval incidents do come in, and so do those that the unified dataset does not have.
    assert set(expected) & set(held_out)
    assert set(expected) - set(held_out)
    assert records(augmentation, "eval", "unified-v2") == records(
        augmentation, "eval", "unified-v1"
    )


def test_eval_incidents_in_train_are_a_warning(augmentation: Path) -> None:
    for recipe in ("unified-v1", "unified-v2", "unified-v3", "risk"):
        held_out = {r["incident_id"] for r in records(augmentation, "eval", recipe)}
        expected = [
            (line, record["incident_id"], record["task"])
            for line, record in enumerate(records(augmentation, "train", recipe), start=1)
            if record["incident_id"] in held_out
        ]
        assert bool(expected) == (recipe in ("unified-v2", "unified-v3"))
        sql = (
            "select line, incident_id, task from warnings "
            "where warning = 'eval incident in train' order by line"
        )
        assert query(augmentation, sql, recipe) == expected


def test_what_was_appended_is_copied_too(augmentation: Path) -> None:
    once = records(augmentation, "train", "unified-v2")
    twice = records(augmentation, "train", "unified-v3")
    assert twice == once + [record for record in once if record["task"] != "summary"]


def test_the_risk_recipe_holds_the_standalone_dataset_alone(augmentation: Path) -> None:
    emitted_records = records(augmentation, "train", "risk")
    assert {record["origin"] for record in emitted_records} == {"risk_only"}
    assert [record["task"] for record in emitted_records] == ["cause", "risk"] * (
        len(emitted_records) // 2
    )
    added = [r for r in records(augmentation, "train", "unified-v2") if r["origin"] == "risk_only"]
    assert [record for record in emitted_records if record in added] == added


# The funnel, as a law


def funnel_laws(out: Path, recipe: str) -> None:
    rows = query(out, "select step, incidents, records, lost, why from funnel", recipe)
    steps = [step for step, *_ in rows]
    assert len(set(steps)) == len(steps)
    incidents = {step: number for step, number, *_ in rows}
    lost = {step: number for step, _, _, number, _ in rows}
    for _, number, _, gone, why in rows:
        assert number >= 0
        assert gone >= 0
        assert (why is None) == (gone == 0)

    def chain(first: str, last: str) -> None:
        between = steps[steps.index(first) : steps.index(last) + 1]
        assert lost[first] == 0
        for step, following in itertools.pairwise(between):
            assert incidents[following] == incidents[step] - lost[following]

    chain("read", "gate risk_level")
    chain("risk judged", "risk train split")
    for relation, prefix in (("gates", "gate"), ("risk_gates", "risk gate")):
        failed = query(
            out, f"select verdict, count(*) from {relation} where not passed group by 1", recipe
        )
        verdicts = {f"{prefix} {verdict}": number for verdict, number in failed}
        assert verdicts == {s: n for s, n in lost.items() if s.startswith(f"{prefix} ") and n}
    origin = "risk" if recipe == "risk" else "unified"
    source = "risk_splits" if recipe == "risk" else "splits"
    last = "risk gate risk_level" if recipe == "risk" else "gate risk_level"
    ends = [step for step in SPLITS if step in incidents]
    assert sum(incidents[step] + lost[step] for step in ends) == incidents[last]
    for split, number in query(out, f"select split, count(*) from {source} group by 1", recipe):
        assert incidents[split] + lost[split] == number
    counted = {step: number for step, _, number, *_ in rows if number is not None}
    assert set(counted) <= {*SPLITS, "risk-only train"}
    for split in SPLITS:
        emitted_records = records(out, split, recipe)
        own = {r["incident_id"] for r in emitted_records if r["origin"].startswith(origin)}
        assert incidents.get(split, 0) == len(own)
        added = counted.get("risk-only train", 0) if split == "train" else 0
        assert counted.get(split, 0) + added == len(emitted_records)


def test_the_funnel_adds_up_on_random_corpora(
    seed: int, recipe: str, random_part: Callable[[int, str], Part]
) -> None:
    funnel_laws(random_part(seed, recipe).out, recipe)


@pytest.mark.parametrize("recipe", ["unified-v2", "risk"])
def test_the_funnel_adds_up_on_the_sample(recipe: str, sample_out: Callable[[str], Path]) -> None:
    funnel_laws(sample_out(recipe), recipe)


# The SQL by itself


@pytest.fixture(scope="module")
def plain_database(augmentation: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(augmentation / "immune.duckdb"), read_only=True) as connection:
        yield connection


@pytest.mark.parametrize("recipe", ["unified-v2", "published", "risk"])
@pytest.mark.parametrize("step", steps.queries(), ids=lambda step: step.file)
def test_a_pipeline_file_runs_by_itself(
    step: steps.Query, recipe: str, plain_database: duckdb.DuckDBPyConnection
) -> None:
    """Its rows, in its order, are those that the run left under its name."""
    [relation] = step.relations
    plain_database.execute(f'use "{recipe}"')
    by_file = plain_database.execute(step.path.read_text(encoding="utf-8"))
    columns, rows = [column[0] for column in by_file.description], by_file.fetchall()
    stored = plain_database.execute(f"from {relation}")
    assert columns == [column[0] for column in stored.description]
    assert rows == stored.fetchall()


def test_every_step_leaves_what_the_list_says(augmentation: Path) -> None:
    relations = {relation for step in steps.STEPS for relation in step.relations}
    documented = {"settings", "pool", "gates", "best_responses", "splits", "risk_gates"}
    documented |= {"risk_splits", "risk_only", "sft_records", "funnel"}
    assert documented <= relations
    for recipe in ("unified-v1", "unified-v2", "unified-v3", "published", "risk"):
        sql = f"select table_name from duckdb_tables() where schema_name = '{recipe}'"
        assert relations == {name for (name,) in query(augmentation, sql)}


# Gates and leads, which others read


@pytest.mark.parametrize("recipe", ["unified-v2", "unified-clean", "risk"])
def test_a_verdict_is_the_first_gate_that_is_failed(
    recipe: str, sample_out: Callable[[str], Path]
) -> None:
    out = sample_out(recipe)
    for dataset, relation in (("unified", "gates"), ("standalone", "risk_gates")):
        model = (
            "null"
            if dataset == "unified"
            else "if(gate_values.gate like 'risk%', risk_gates.risk_model, risk_gates.cause_model)"
        )
        rows = query(
            out,
            f"""select {relation}.verdict, {relation}.passed, gate_values.gate, gate_values.passed
            from {relation} join gate_values on
                {relation}.incident_id = gate_values.incident_id
                and {model} is not distinct from gate_values.model
            where gate_values.dataset = '{dataset}'
            order by {relation}.incident_id, gate_values.place""",
            recipe,
        )
        gates = 10 if dataset == "unified" else 7
        assert rows
        assert len(rows) % gates == 0
        for start in range(0, len(rows), gates):
            values = rows[start : start + gates]
            failed = [gate for _, _, gate, passed in values if not passed]
            assert values[0][:2] == (failed[0] if failed else None, not failed)


def test_a_gate_that_the_recipe_has_not_is_always_passed(
    sample_out: Callable[[str], Path],
) -> None:
    asked = "select distinct gate from gate_limits where not required order by gate"
    cleaning = [("cause_cleaning",), ("risk_cleaning",), ("summary_cleaning",)]
    assert query(sample_out("unified-v2"), asked, "unified-v2") == cleaning
    assert query(sample_out("unified-clean"), asked, "unified-clean") == []
    failed = "select count(*) from gate_values where not required and not passed"
    assert query(sample_out("unified-v2"), failed, "unified-v2") == [(0,)]


def test_a_lead_is_over_the_best_of_the_others(sample_out: Callable[[str], Path]) -> None:
    out = sample_out("unified-v2")
    rows = query(
        out,
        """select leads.incident_id, leads.decided_on,
            any_value(leads.lead), any_value(leads.score) - max(others.score)
        from leads left join leads as others on
            leads.incident_id = others.incident_id
            and leads.decided_on = others.decided_on
            and leads.model <> others.model
        group by leads.incident_id, leads.decided_on, leads.model""",
    )
    assert len(rows) > 1000
    assert {decided_on for _, decided_on, _, _ in rows} == {"summary", "cause", "cause and risk"}
    assert all(lead == expected for _, _, lead, expected in rows)
    # Those named as the used answers' runners-up are the same wherever they are told.
    ties = query(out, (steps.sql_folder() / "audit" / "tie.sql").read_text(encoding="utf-8"))
    best = set(query(out, "select incident_id, task, model, runner_up from best_responses"))
    unified = [(row[0], row[1], row[2], row[4]) for row in ties if row[1] != "cause and risk"]
    assert unified
    assert set(unified) <= best
