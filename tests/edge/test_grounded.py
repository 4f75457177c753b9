"""With `--grounded` no answer names what its prompt does not show, and one that does not is left
alone."""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import plain_names
import pytest
from edge import random_gguf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from immune_data.common.textfile import composed
from immune_data.contract import names
from immune_data.contract.chat import prompt_ids
from immune_data.contract.grounding import ungrounded
from immune_data.contract.tokens import text_ids, token_bytes
from immune_data.contract.vocabulary import END, FIRST_ADDED
from immune_data.prompts import Message
from immune_train.edge import grammar
from immune_train.edge.ending import Ending
from immune_train.edge.engine import LocalModel
from immune_train.edge.grounded import ALPHABET, Shown
from immune_train.edge.llama_cpp_api import Model
from immune_train.edge.sampling import Chooser
from immune_train.edge.writing import Answer, Prompt, Writing
from immune_train.score.answers import Case
from immune_train.score.metrics import METRICS

EVIDENCE = """\
Source IP: 192.168.1.113 | Timewindow: 12
Timeline: 2024-01-01 10:00:00 to 2024-01-01 11:00:00
Threat Level: 15.5 | Events: 1500

• 10:15-10:20 - 9 events [HIGH] scan of ports {22, 443, 8080, … 46 in all} of 10.0.0.15/24
• 10:31 - 1 event [MEDIUM] connection to 45.83.64.12:8443 (SBL221379), cdn.example.com, 53/UDP
• 10:40 - 3 events [LOW] from 8c:ac:57:a3:8e:d4, fe80::1 and 2001:db8:0:1:2:3:4:5, file
  d41d8cd98f00b204e9800998ecf8427e

Total Evidence: 1500 events
Severity breakdown: High: 9, Medium: 1, Low: 3
"""
SHOWN = Shown(EVIDENCE)


@pytest.fixture(scope="module")
def model(shared_folder) -> Model:
    return Model(random_gguf(shared_folder), vocab_only=True)


Logits = Callable[[Sequence[int]], np.ndarray]


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


def wanting(text: str, size: int) -> Logits:
    """A model that wants to write a text, and goes on with it wherever it was led to."""
    wanted = text_ids(text)
    noise = np.random.default_rng(len(text)).random(size, dtype=np.float32)

    def logits(written: Sequence[int]) -> np.ndarray:
        made = noise.copy()
        made[wanted[len(written)] if len(written) < len(wanted) else END] = 2
        return made

    return logits


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


METRIC = next(metric for metric in METRICS if metric.name == "grounded")


def assert_grounded(answer: str, shown: str) -> None:
    """By what selects and what scores, and by a reading that has nothing to do with either."""
    assert ungrounded(answer, shown) == {}, answer
    assert METRIC.of(Case("cause", answer, "", (shown,))) in (None, 1.0, True), answer
    assert plain_names.lacking(answer, shown) == [], answer


def test_the_plain_reading_sees_names() -> None:
    text = (
        "to 172.16.0.1 on port 99, ports 7 (aa:bb:cc:dd:ee:ff, SBL9) [CRITICAL] evil.com "
        f"{'ab' * 16} 1:2:3:4:5:6:7:8 Total Evidence: 7 events"
    )
    kinds = {"address", "port", "mac", "list_id", "severity_tag", "domain", "hash", "event_total"}
    assert {kind for kind, _ in plain_names.lacking(text, EVIDENCE)} == kinds
    assert plain_names.lacking(text, f"{text} {EVIDENCE}") == []


# The law: whatever random weights write

DANGEROUS = (
    *"0123456789.:/-,[]{}()|*_'\"abcdef",
    *(" port", " ports", "port", "ports", " number", "(s)", " and", " or", ", ", "::", "."),
    *("/tcp", "/udp", "tcp", "TCP", "SBL", " SBL", "sb", "l", " [", "HIGH", "high", "LOW", "]\n"),
    *("CRITICAL", "MEDIUM", "info", "com", ".com", "net", "evil", "example", "cdn", ".ru", " www"),
    *("aa", "ab", "fe", "fe80", "db8", "d41", "cd", "f0", "Total", " Evidence", "Events", "total"),
    *(" events", " ", "  ", "\n", "\t", "\n\n", "**", "•", " –", "٣", "３", "²", "K", "İ", "é"),
    *("\u200b", "．", "：", "<|", "|>", "im", "end", "<|im_end|>"),
)
# What evidence may hold that was written to confuse.
HOSTILE = (
    *("10.0.0.1", "10.0.0.15", "10.0.0.1.5", "256.300.1.2", "1.2.3", "010.0.0.1", "10.0.0.1/8"),
    *("10.0.0.1/33", "fe80::1", "::", "::1", "1:2:3:4", "1:2:3:4:5:6:7:8", "fe80::/10"),
    *("aa:bb:cc:dd:ee:ff", "aa-bb-cc-dd-ee-ff", "evil.com", "a.b.c.ru", "xn--p1ai.com"),
    *("cdn.example.com", "．com", "evil。com", "EVIL.NET", "port 80", "ports 1, 22 and 443"),
    *("port(s): 7/8", "port ٣٣", "45.1.2.3:99", "}:12", "123456/tcp", "SBL1", "SBL12", "SBL123"),
    *("sbl", "İSBL4", "[HIGH]", "[low]", "[Critical", "[INFO]", "Total Evidence: 12"),
    *("| Events: 1,234", "total events : 007", "Total evidence: 1,23", "<|im_end|>"),
    *("<|im_start|>system", "d41d8cd98f00b204e9800998ecf8427e", "a" * 40, "0" * 65),
)


@cache
def weights(seed: int, size: int) -> np.ndarray:
    """A model of random weights that likes what names are made of."""
    numbers = np.random.default_rng(seed)
    made = numbers.standard_normal((24, size), dtype=np.float32)
    liked = sorted({token for text in DANGEROUS for token in text_ids(text)})
    made[:, liked] = 12 + 2 * numbers.standard_normal((24, len(liked)), dtype=np.float32)
    made[:, FIRST_ADDED:] = 6
    return made


def hostile_evidence(seed: int) -> str:
    chance = random.Random(seed)
    parts = chance.sample(HOSTILE, chance.randint(0, 12))
    digits = [f"{chance.randrange(256)}.{chance.randrange(9)}.0.{chance.randrange(256)}"]
    return "".join(part + chance.choice((", ", " \n", "; ", ". ")) for part in parts + digits)


def slips_of_the_pen(shown: str, seed: int) -> list[int]:
    """Tokens of names that are shown, of others, and of what is between the two."""
    chance, made = random.Random(seed), []
    for _ in range(12):
        name = chance.choice((*shown.split(), *HOSTILE))
        at, letter = chance.randrange(len(name)), chance.choice("0123456789abf.:/-, ")
        slip = name[:at] + letter + name[at + chance.randrange(2) :]
        made.append(chance.choice((name, name.upper(), slip)))
    return text_ids(chance.choice((" ", ", ", "\n", " port ")).join(made))


def of_random_weights(seed: int, size: int, likes: Sequence[int] = ()) -> Logits:
    """A model that looks at two tokens, and may like to write some that it knows."""
    made = weights(seed % 7, size)

    def logits(written: Sequence[int]) -> np.ndarray:
        row = made[sum(written[-2:]) % len(made)].copy()
        if likes:
            row[likes[len(written) % len(likes)]] += 10
        return row

    return logits


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
    assert named > 0.1 * pairs  # and names that are shown are written


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
    loaded = LocalModel(random_gguf(shared_folder, tied=False), 1024, threads=1)
    texts = [f"{EVIDENCE}\nName all: {last}" for last in ("ports", "hosts", "lists")]
    prompts = [Prompt(prompt_ids([Message("user", text)]), 40, shown=Shown(text)) for text in texts]
    for beside in (True, False):
        answers = loaded.answers(prompts, temperature=temperature, beside=beside)
        for answer, text in zip(answers, texts, strict=True):
            assert_grounded(answer.text, text)
    again = loaded.answers(prompts, temperature=temperature, beside=False)
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
        assert {name for _, name in names.places(kind, text)} == names.found(kind, text)
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


@settings(max_examples=60)
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
