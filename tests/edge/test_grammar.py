"""Grammars let only the documented structure through, and what they let through parses."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from answers import CAUSE, RISK
from corpus import query
from edge import random_gguf
from grammar_pattern import accepts, pattern
from hypothesis import given
from hypothesis import strategies as st

from immune_data.common.errors import ImmuneError
from immune_data.contract import answer_fields
from immune_data.contract.chat import prompt_ids
from immune_data.contract.tokens import encoding, text_ids
from immune_data.contract.vocabulary import END, END_OF_TEXT, FIRST_ADDED
from immune_data.prompts import Message
from immune_train.edge import grammar
from immune_train.edge.ending import Ending
from immune_train.edge.engine import LocalModel
from immune_train.edge.sampling import Chooser, Grammar
from immune_train.edge.writing import Prompt, Writing


@pytest.fixture(scope="module")
def model(shared_folder) -> LocalModel:
    return LocalModel(random_gguf(shared_folder), 2048, threads=1)


def answers(out: Path, recipe: str, task: str) -> list[str]:
    rows = query(
        out,
        f"select messages[-1].content from conversations where task = '{task}'",
        recipe,
    )
    return [text for (text,) in rows]


# What is let through


@pytest.mark.parametrize(("task", "text"), [("risk", RISK), ("cause", CAUSE)])
def test_the_documented_structure_is_let_through(task: str, text: str) -> None:
    assert accepts(task, text)
    assert not answer_fields.parse(task, text).missing
    assert not answer_fields.parse(task, text).missing


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("High\n", "Severe\n"),
        ("High\n", "High!\n"),
        ("Medium -", "Critical -"),
        ("Immediate -", "Critical -"),
        ("Immediate -", "Scheduled -"),
        ("**Business Impact:**", "**Impact:**"),
        ("Administrators scan too.", ""),
        ("\n\n**Justification", "\n**Justification"),
        ("backups.", "backups.\n\nNote: 70 words."),
        ("backups.", "x" * 2100),
    ],
)
def test_another_structure_is_not(old: str, new: str) -> None:
    assert old in RISK
    assert not accepts("risk", RISK.replace(old, new, 1))


@pytest.mark.parametrize("recipe", ["unified-clean", "unified-v2"])
@pytest.mark.parametrize("task", grammar.TASKS)
def test_reference_answers_of_the_documented_structure_are_let_through(
    sample_out: Callable[[str], Path], recipe: str, task: str
) -> None:
    texts = answers(sample_out(recipe), recipe, task)
    if recipe == "unified-v2":  # as they are: some are dirty, which no answer should be
        texts = [text for text in texts if "```" not in text and "\r" not in text]
    whole = [text for text in texts if not answer_fields.parse(task, text).missing]
    refused = [text for text in whole if not accepts(task, text)]
    assert len(whole) > 300
    if recipe == "unified-clean":
        assert refused == []
    else:
        assert len(refused) < 0.02 * len(whole)


# What is let through parses


@given(st.data())
def test_whatever_the_risk_grammar_lets_through_parses(data: st.DataObject) -> None:
    text = data.draw(st.from_regex(pattern("risk"), fullmatch=True))
    parts = answer_fields.parse("risk", text)
    assert not parts.missing, text
    assert parts.fields["risk_level"].lower() in answer_fields.LEVELS["risk_level"]


@given(st.data())
def test_whatever_the_cause_grammar_lets_through_parses(data: st.DataObject) -> None:
    text = data.draw(st.from_regex(pattern("cause"), fullmatch=True))
    parts = answer_fields.parse("cause", text)
    assert not parts.missing, text
    assert all(parts.fields["malicious_activity"])


# llama.cpp reads them so


@pytest.mark.parametrize(("task", "text"), [("risk", RISK), ("cause", CAUSE)])
def test_llama_cpp_lets_the_structure_through(model: LocalModel, task: str, text: str) -> None:
    assert let_through(model, task, text)
    assert not let_through(model, task, text[: text.rindex("**")])
    assert not let_through(model, task, text.replace("**", "*", 1))


@pytest.mark.parametrize("task", grammar.TASKS)
def test_llama_cpp_and_the_regular_expression_agree(
    model: LocalModel, sample_out: Callable[[str], Path], task: str
) -> None:
    texts = answers(sample_out("unified-clean"), "unified-clean", task)
    some = [text for text in texts if answer_fields.parse(task, text).missing][:4] + texts[::150]
    for text in some:
        assert let_through(model, task, text) == accepts(task, text), text


def let_through(model: LocalModel, task: str, text: str, *, ending: bool = True) -> bool:
    """Whether llama.cpp would let a text and then its end through, token by token."""
    walk = Grammar(model.model, grammar.gbnf(task))
    for token in [*text_ids(text), *([END] if ending else [])]:
        if not walk.allowed([token]).all():
            return False
        if token != END:
            walk.accept(token)
    return True


@pytest.mark.parametrize("task", grammar.TASKS)
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_random_weights_give_an_answer_that_parses(
    model: LocalModel, task: str, seed: int | None
) -> None:
    ids = prompt_ids([Message("user", "Assess the incident.")])
    temperature = 0.0 if seed is None else 1.5
    asked = {"grammar": task, "temperature": temperature, "seed": seed or 0}
    answer = model.answer(ids, 200, **asked)
    assert answer.finish in ("stop", "wound_up")
    assert answer.tokens < 200
    assert accepts(task, answer.text)
    assert not answer_fields.parse(task, answer.text).missing
    if seed != 2:
        assert model.answer(ids, 200, **asked).text == answer.text


def test_asking_about_the_likeliest_first_changes_nothing(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = prompt_ids([Message("user", "Assess the incident.")])
    some = model.answer(ids, 160, grammar="risk")
    monkeypatch.setattr("immune_train.edge.sampling._LIKELIEST", 1)
    assert model.answer(ids, 160, grammar="risk").text == some.text


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    ("task", "begun", "within"),
    [
        ("risk", "", b""),
        ("risk", "**Risk Level:** ", b""),
        ("risk", "**Risk Level:** High\n\n**Justification:** A scan", b""),
        ("risk", "**Risk Level:** High\n\n**Justification:** A scan", "日".encode()[:1]),
        ("cause", "**Possible Causes:**\n\n1", b""),
        ("cause", CAUSE, b""),
        (None, "", b""),
    ],
)
def test_tokens_come_as_if_all_were_asked_about(
    model: LocalModel, task: str | None, begun: str, within: bytes, temperature: float
) -> None:
    """In the order of their logits, after any beginning, also one within a character."""
    gbnf = grammar.gbnf(task) if task else None
    random = np.random.default_rng(1)
    choose = Chooser(model.model, gbnf, temperature, random, never_end=False)
    walk = Grammar(model.model, gbnf) if gbnf else None
    for token in [*text_ids(begun), *(encoding().encode_single_token(bytes([i])) for i in within)]:
        choose.accept(token)
        if walk:
            walk.accept(token)
    logits = np.random.default_rng(0).permutation(model.model.size).astype(np.float32)
    expected = logits.astype(np.float64)
    if temperature:
        noise = np.random.default_rng(1).standard_exponential(len(logits))
        expected = logits / temperature - np.log(noise)
    others = set(model.model.ends) - {END, END_OF_TEXT}
    every = np.array(sorted({*range(FIRST_ADDED), END_OF_TEXT, END} - (others if walk else set())))
    if walk:
        every = every[walk.allowed(every)]
    assert list(choose(logits)) == every[np.argsort(-expected[every])].tolist() != []


def test_a_grammar_that_cannot_be_read_is_an_error(model: LocalModel) -> None:
    with pytest.raises(ImmuneError, match="cannot read the grammar"):
        Grammar(model.model, "root ::= (")


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_the_probability_of_each_level_is_told(model: LocalModel, temperature: float) -> None:
    likely = {" High": 5.0, " HIGH": 4.0, " Low": 4.5, " Medium": 3.0}
    numbers = np.random.default_rng(0)
    choose = Chooser(model.model, grammar.gbnf("risk"), temperature, numbers, never_end=False)
    writing = Writing(Prompt([1], 200, "risk"), 200, choose, Ending("risk", 200), None)
    logits = np.full(model.model.size, -30, dtype=np.float32)
    for text, logit in likely.items():
        logits[text_ids(text)[0]] = logit
    while writing.tokens < 12:
        writing.take(logits)
    found = writing.answer(0, 0).levels
    high, low, medium = math.exp(5) + math.exp(4), math.exp(4.5), math.exp(3)
    every = high + low + medium
    expected = {"High": high / every, "Low": low / every, "Medium": medium / every}
    assert found == pytest.approx({"Critical": 0, **expected}, abs=1e-6)
    assert model.answer([1, 2], 3).levels is None
