"""With `--grounded` no answer names what its prompt does not show, and one that does not is left
alone."""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plain_names
import pytest
from edge import loaded, random_gguf
from examples import examples
from grounded_models import (
    DANGEROUS,
    EVIDENCE,
    HOSTILE,
    Logits,
    assert_grounded,
    hostile_evidence,
    of_random_weights,
    slips_of_the_pen,
    wanting,
)
from hypothesis import example, given
from hypothesis import strategies as st

from immune_data.common.textfile import composed
from immune_data.contract import names
from immune_data.contract.chat import prompt_ids
from immune_data.contract.grounding import ungrounded
from immune_data.contract.tokens import text_ids, token_bytes
from immune_data.prompts import Message
from immune_train.edge import grammar
from immune_train.edge.ending import Ending
from immune_train.edge.engine import LocalModel
from immune_train.edge.grounded import ALPHABET, Shown
from immune_train.edge.llama_cpp_api import Model
from immune_train.edge.sampling import Chooser
from immune_train.edge.writing import Answer, Prompt, Writing

pytestmark = pytest.mark.usefixtures("kept_models")

SHOWN = Shown(EVIDENCE)


@pytest.fixture(scope="module")
def model(shared_folder) -> Model:
    return loaded(random_gguf(shared_folder))


def write(
    model: Model,
    logits: Logits,
    limit: int,
    shown: Shown | None = SHOWN,
    *,
    task: str | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    say: Callable[[str], None] | None = None,
) -> Answer:
    """What comes of a model that gives these logits after the tokens of an answer."""
    gbnf = grammar.gbnf(task) if task else None
    numbers = np.random.default_rng(seed)
    choose = Chooser(model, gbnf, temperature, numbers, never_end=False)
    ending = Ending(task, limit, shown.is_whole if shown else None) if task else None
    writing = Writing(Prompt([1, 2, 3], limit, task, shown), limit, choose, ending, say)
    while writing.goes_on:
        writing.take(logits(writing.read[3:] + writing.pending))
    return writing.answer(0, 0)


# What is shown is left alone


@pytest.mark.parametrize(
    "text",
    [
        "Scan of ports 22, 443 and 8080 of 10.0.0.15 [HIGH]",
        "PORT(S): 22/tcp or 53/udp; 192.168.1.113, [medium] [Low].",
        "Contact with 45.83.64.12:8443 (sbl221379, SBL221379) at CDN.EXAMPLE.COM.",
        "fe80::1, 2001:DB8:0:1:2:3:4:5 and 8C:AC:57:A3:8E:D4 in 10.0.0.15/24",
        "Total Evidence: 1,500 events | Events: 1500",
        "d41d8cd98f00b204e9800998ecf8427e at 10:15:20, 15.5 of 3.11, e.g. drop.txt 1/2 port",
        "Version 10.0.1 on 2024-01-01 10:00:00, 46 ports, naïve 日本 🦙 K",
    ],
)
def test_what_names_only_what_is_shown_is_left_alone(model: Model, text: str) -> None:
    answer = write(model, wanting(text, model.size), 200)
    assert (answer.text, answer.finish, answer.interventions) == (composed(text), "stop", ())


def records(out: Path) -> list[dict]:
    files = [out / "sft" / "unified-clean" / f"{split}.jsonl" for split in ("train", "eval")]
    return [json.loads(line) for file in files for line in file.open(encoding="utf-8")]


def assert_left_alone(model: Model, found: list[dict], step: int) -> None:
    """Every beginning of each reference fits, and some are written through the loop."""
    for i, record in enumerate(found):
        *asked, answer = (message["content"] for message in record["messages"])
        shown, text = Shown("\n".join(asked)), composed(answer)
        if i % step == 0:
            given = write(model, wanting(text, model.size), 1200, shown)
            assert (given.text, given.interventions) == (text, ())
        else:
            ids, data = text_ids(text), b""
            for token in ids:
                data += token_bytes(token)
                assert shown.fits(data.decode(errors="replace"))


def test_references_of_the_sample_are_left_alone(
    sample_out: Callable[[str], Path], model: Model
) -> None:
    assert_left_alone(model, records(sample_out("unified-clean"))[::20], 10)


def test_real_references_are_left_alone(real_out: Callable[[str], Path], model: Model) -> None:
    assert_left_alone(model, records(real_out("unified-clean"))[::3], 10)


# What is not shown cannot be written


@pytest.mark.parametrize(
    ("wanted", "written", "kind"),
    [
        # What is nearly one that is shown becomes it, ...
        ("to 192.168.1.114", "to 192.168.1.113", "address"),
        ("in 10.0.0.15/28", "in 10.0.0.15/24", "network"),
        ("is SBL22999", "is SBL221379", "list_id"),
        ("Total Evidence: 1600", "Total Evidence: 1500", "event_total"),
        # ... and others are left out.
        ("to 172.16.0.1 now", None, "address"),
        ("on port 444 now", None, "port"),
        ("by aa-bb-cc-dd-ee-ff", None, "mac"),
        ("at evil.com now", None, "domain"),
        ("a scan [CRITICAL] now", None, "severity_tag"),
        (f"file {'ab' * 16} is", None, "hash"),
    ],
)
def test_another_name_is_kept_out(
    model: Model, wanted: str, written: str | None, kind: str
) -> None:
    assert kind in ungrounded(wanted, EVIDENCE)
    answer = write(model, wanting(wanted, model.size), 60)
    assert_grounded(answer.text, EVIDENCE)
    assert answer.interventions[0].kind == kind
    if written:
        assert answer.text.startswith(written)
    else:
        assert answer.text.startswith(wanted.split(" ")[0])


def test_where_and_what_is_told(model: Model) -> None:
    answer = write(model, wanting("seen at 172.16.0.1 on port 99", model.size), 40)
    first = answer.interventions[0]
    assert (first.at, first.kind, first.went_back) == (8, "address", True)
    assert first.name.startswith("172.16.0.1")


def test_the_plain_reading_sees_names() -> None:
    text = (
        "to 172.16.0.1 on port 99, ports 7 (aa:bb:cc:dd:ee:ff, SBL9) [CRITICAL] evil.com "
        f"{'ab' * 16} 1:2:3:4:5:6:7:8 Total Evidence: 7 events"
    )
    kinds = {"address", "port", "mac", "list_id", "severity_tag", "domain", "hash", "event_total"}
    assert {kind for kind, _ in plain_names.lacking(text, EVIDENCE)} == kinds
    assert plain_names.lacking(text, f"{text} {EVIDENCE}") == []


# The law: whatever random weights write


def test_the_law(model: Model, request: pytest.FixtureRequest) -> None:
    """Of (evidence, model) pairs none gives a name that the evidence lacks."""
    pairs, seed = (request.config.getoption(name) for name in ("--pairs", "--seed"))
    steered = named = 0
    for i in range(seed * 1_000_000, seed * 1_000_000 + pairs):
        shown = hostile_evidence(i)
        likes = slips_of_the_pen(shown, i) if i % 3 else ()
        made = of_random_weights(i, model.size, likes)
        answer = write(model, made, 64 + i % 8, Shown(shown), temperature=1.0, seed=i)
        assert_grounded(answer.text, shown)
        steered += bool(answer.interventions)
        named += bool(ungrounded(answer.text, ""))
    assert steered > 0.5 * pairs  # it was worth looking
    assert named > 0.05 * pairs  # and names that are shown are written


def test_without_it_the_law_does_not_hold(model: Model) -> None:
    shown = hostile_evidence(4)
    made = of_random_weights(4, model.size, slips_of_the_pen(shown, 4))
    assert ungrounded(write(model, made, 64, None, temperature=1.0).text, shown)


@pytest.mark.parametrize("task", grammar.TASKS)
def test_the_law_under_a_grammar(model: Model, task: str) -> None:
    for seed in range(2):
        said: list[str] = []
        likes = slips_of_the_pen(EVIDENCE, seed)
        answer = write(
            model,
            of_random_weights(seed, model.size, likes),
            limit=250,
            task=task,
            temperature=1.0,
            seed=seed,
            say=said.append,
        )
        assert answer.finish in ("stop", "wound_up"), answer.text
        assert_grounded(answer.text, EVIDENCE)
        assert "".join(said) == answer.text


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_in_a_model_too(shared_folder, temperature: float) -> None:
    """Of random weights, one answer after the other and side by side."""
    local = LocalModel(random_gguf(shared_folder, tied=False), 1024, threads=1)
    texts = [f"{EVIDENCE}\nName all: {last}" for last in ("ports", "hosts", "lists")]
    prompts = [Prompt(prompt_ids([Message("user", text)]), 40, shown=Shown(text)) for text in texts]
    for side_by_side in (True, False):
        answers = local.answers(prompts, temperature=temperature, side_by_side=side_by_side)
        for answer, text in zip(answers, texts, strict=True):
            assert_grounded(answer.text, text)
    again = local.answers(prompts, temperature=temperature, side_by_side=False)
    assert [one.ids for one in again] == [one.ids for one in answers]


# What it rests on

texts = st.one_of(
    st.text(),
    st.lists(st.sampled_from((*DANGEROUS, *HOSTILE, *EVIDENCE.split()))).map("".join),
    st.lists(st.sampled_from((*HOSTILE, *EVIDENCE.split()))).map(" ".join),
)


@given(texts)
def test_places_are_of_what_is_found(text: str) -> None:
    text = text.lower()
    for kind in names.KINDS:
        assert {name for _, name in names.places(kind, text)} == names.find(kind, text)
        for at, name in names.places(kind, text):
            assert text[at:].replace(",", "").startswith(name)


@given(st.data(), st.sampled_from(sorted(names.PATTERNS)))
def test_names_are_of_the_alphabet(data: st.DataObject, kind: str) -> None:
    pattern = names._COMPILED[kind]
    name = data.draw(st.from_regex(pattern, fullmatch=True))
    assert re.fullmatch(f"{ALPHABET}*", name)


def test_nothing_else_becomes_a_letter_of_it() -> None:
    inside = re.compile(ALPHABET)
    for code in range(sys.maxunicode + 1):
        if not inside.match(character := chr(code)):
            assert not any(inside.match(lower) for lower in character.lower()), hex(code)
            assert not re.match(r"\w", character, re.ASCII)


@given(texts, texts)
@example("10.0.0.1", "5")
def test_a_text_is_read_by_its_end(one: str, other: str) -> None:
    """Where what comes before fits, what follows it and is not settled says whether all does."""
    shown = Shown(one)
    text, known = f"{one}{other}", 0
    for length in range(len(one), len(text) + 1):
        begun = text[:length]
        assert shown.is_whole(begun, known) == (ungrounded(begun, one) == {})
        if not shown.fits(begun, known):
            break
        known = length


@pytest.mark.parametrize("mark", "é!•\ufffd;")
def test_what_ends_a_name_does_not_settle_it(mark: str) -> None:
    begun = "Total Evidence: 150"
    assert SHOWN.fits(begun)
    assert not SHOWN.fits(f"{begun}{mark}", len(begun))
    assert SHOWN.fits(f"{begun}0{mark}", len(begun))


@examples(60)
@given(texts, st.integers(0, 2**32))
def test_there_is_always_a_way_on(shown_text: str, seed: int) -> None:
    """From whatever fits: a space where it is whole, else a character that completes a name."""
    shown, chance = Shown(shown_text), random.Random(seed)
    text = ""
    for _ in range(30):
        begun = text + chance.choice((*DANGEROUS, *shown_text.split()[:20]))
        if shown.fits(begun, len(text)):
            text = begun
        following = shown.next_characters(text)
        if following is None:
            assert shown.is_whole(text)
            assert shown.is_whole(f"{text} ", len(text))
            assert ungrounded(text, shown_text) == {}
        else:
            assert following
            assert all(shown.fits(text + character) for character in following)
