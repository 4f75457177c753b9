"""Under a grammar an answer is whole within its room, and one that fits is never touched."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from answers import CAUSE, RISK
from edge import loaded, random_gguf
from examples import examples
from grammar_pattern import accepts, pattern
from hypothesis import given
from hypothesis import strategies as st

from immune_data import recipes
from immune_data.common.errors import ImmuneError
from immune_data.common.textfile import composed
from immune_data.contract import answer_fields
from immune_data.contract.prompting import load
from immune_data.contract.tokens import text_ids, token_bytes
from immune_data.contract.vocabulary import END
from immune_data.select.cleaning_rules import clean
from immune_train.edge import ending, grammar
from immune_train.edge.ending import Ending, Text
from immune_train.edge.llama_cpp_api import Model
from immune_train.edge.sampling import Chooser
from immune_train.edge.writing import Answer, Prompt, Writing

RECIPE = "unified-clean"


@cache
def room(task: str) -> int:
    return load(recipes.load(RECIPE)).room[task]


@pytest.fixture(scope="module")
def model(shared_folder) -> Model:
    return loaded(random_gguf(shared_folder))


class Wanting:
    """A model that wants to write a text, whatever is written for it in between."""

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted
        self._next: list[int] = text_ids(wanted)
        self._expected = b""

    def token(self, written: bytes) -> int:
        if written != self._expected:
            self._next = text_ids(self._rest(written.decode()))
        token = self._next.pop(0) if self._next else END
        self._expected = written + token_bytes(token)
        return token

    def _rest(self, written: str) -> str:
        """How the text goes on, of which each block may have been cut short."""
        if self._wanted.startswith(written):
            return self._wanted[len(written) :]
        blocks = self._wanted.split("\n\n")
        number, begun = written.count("\n\n"), written.rpartition("\n\n")[2]
        assert number < len(blocks)
        assert blocks[number].startswith(begun), (blocks[number], begun)
        return "\n\n".join([blocks[number][len(begun) :], *blocks[number + 1 :]])


def write(
    model: Model, task: str, wanted: str, limit: int, say: Callable[[str], None] | None = None
) -> Answer:
    """What comes of a model that wants to write `wanted`."""
    chooser = Chooser(model, grammar.gbnf(task), 0.0, np.random.default_rng(0), never_end=False)
    writing = Writing(Prompt([1, 2, 3], limit, task), limit, chooser, Ending(task, limit), say)
    logits = np.random.default_rng(0).random(model.size, dtype=np.float32)
    wanting = Wanting(wanted)
    while writing.goes_on:
        token = wanting.token(writing._text._data)
        usual, logits[token] = logits[token], 2
        writing.take(logits)
        logits[token] = usual
    return writing.answer(0, 0)


# What fits is left alone


@pytest.fixture
def every(pytestconfig: pytest.Config) -> int:
    """Of thousands of answers one in so many is tried token by token; in a campaign all are."""
    return 1 if pytestconfig.getoption("--thorough") else 20


def references(out: Path) -> set[tuple[str, str]]:
    found = set()
    for split in ("train", "eval"):
        for line in (out / "sft" / RECIPE / f"{split}.jsonl").open(encoding="utf-8"):
            record = json.loads(line)
            if record["task"] in grammar.TASKS:
                found.add((record["task"], record["messages"][-1]["content"]))
    return found


def assert_left_alone(answers: set[tuple[str, str]], model: Model, every: int = 1) -> int:
    """A model that wants to write them writes them, token by token, under the grammar.

    All of the longest are tried, and of the others one in `every`.
    """
    # Composed, as tokens are.
    answers = {(task, composed(text)) for task, text in answers}
    whole = sorted(one for one in answers if accepts(*one) and len(text_ids(one[1])) < room(one[0]))
    longest = sorted(whole, key=lambda one: len(one[1]))[-20:]
    for task, text in (*whole[::every], *longest):
        watch, written = Ending(task, room(task)), Text()
        for tokens, token in enumerate(text_ids(text), 1):
            assert watch.fits(written.after(token), tokens), text
            written.add(token)
        assert (written.final, watch.wound_up) == (text, False)
    for task, text in [
        *whole[:: max(1, len(whole) // 12)],
        max(whole, key=lambda one: len(one[1])),
    ]:
        answer = write(model, task, text, room(task))
        assert (answer.text, answer.finish) == (text, "stop")
        exactly = write(model, task, text, max(least(task), len(text_ids(text)) + 1))
        assert (exactly.text, exactly.finish) == (text, "stop")
    return len(whole)


def test_every_reference_of_the_sample_is_reproduced(
    sample_out: Callable[[str], Path], model: Model, every: int
) -> None:
    found = references(sample_out(RECIPE))
    lacking = [one for one in found if answer_fields.parse(*one).missing]
    assert assert_left_alone(found, model, every) == len(found) - len(lacking)


def test_every_real_reference_is_reproduced(real_out: Callable[[str], Path], model: Model) -> None:
    found = references(real_out(RECIPE))
    # Where the best risk answer is of a small model, it may have another form than the documented.
    assert assert_left_alone(found, model) >= 0.97 * len(found) >= 70


def test_every_real_answer_of_the_documented_form_is_reproduced(
    real_answers: list[tuple[str, str, str]], model: Model, every: int
) -> None:
    cleaned = {
        (task, clean(text, task).text) for task, _, text in real_answers if task in grammar.TASKS
    }
    assert assert_left_alone(cleaned, model, every) > 3200
    best = {
        (task, clean(text, task).text)
        for task, name, text in real_answers
        if task in grammar.TASKS and name == "gpt-4o"
    }
    assert len([one for one in best if accepts(*one)]) > 0.99 * len(best)


# What does not fit is ended


@pytest.mark.parametrize(("task", "text"), [("risk", RISK), ("cause", CAUSE)])
def test_what_every_beginning_needs_is_known(task: str, text: str) -> None:
    for length in range(len(text) + 1):
        rest = grammar.rest(task, text[:length])
        assert rest is not None
        assert accepts(task, text[:length] + rest.text), text[:length]
        assert rest.text.startswith(rest.fixed)
    assert grammar.rest(task, text).text == ""


@given(st.data(), st.sampled_from(grammar.TASKS))
def test_what_any_beginning_needs_is_known(data: st.DataObject, task: str) -> None:
    text = data.draw(st.from_regex(pattern(task), fullmatch=True))
    begun = text[: data.draw(st.integers(0, len(text)))]
    rest = grammar.rest(task, begun)
    assert rest is not None, begun
    assert accepts(task, begun + rest.text), begun


SENTENCES = (
    *(
        "It scans the net.",
        "So it seems, e.g. on port 443.",
        "A host (of ours, vs. theirs) is ill!",
    ),
    *("Nobody knows why?", "Data leaves at 10.0.0.7, says the log.", "And so on without an end"),
    *("日本語の文です。", "naïve 🦙 beacons to site.example."),
)
prose = st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=25).map(" ".join)


def risk(texts: list[str]) -> str:
    return (
        f"**Risk Level:** HIGH\n\n**Justification:** {texts[0]}\n\n**Business Impact:** {texts[1]}"
        f"\n\n**Likelihood of Malicious Activity:** Medium - {texts[2]}"
        f"\n\n**Investigation Priority:** Immediate: {texts[3]}"
    )


def cause(texts: list[str]) -> str:
    return (
        f"**Possible Causes:**\n\n**1. Malicious Activity:**\n• {texts[0]}\n• Or not."
        f"\n\n**2. Legitimate Activity:**\n• {texts[1]}\n\n**3. Misconfigurations:**\n• {texts[2]}"
        f"\n• A slip\n\n**Conclusion:** {texts[3]}\n\n{texts[0]}"
    )


@examples(60)
@given(
    task=st.sampled_from(grammar.TASKS),
    texts=st.lists(prose, min_size=4, max_size=4),
    spare=st.integers(0, 250),
)
def test_whatever_a_model_wants_its_answer_is_whole_in_its_room(
    model: Model, task: str, texts: list[str], spare: int
) -> None:
    wanted = {"risk": risk, "cause": cause}[task](texts)
    limit = least(task) + spare
    said: list[str] = []
    answer = write(model, task, wanted, limit, said.append)
    assert accepts(task, answer.text)
    assert not answer_fields.parse(task, answer.text).missing
    assert "".join(said) == answer.text
    assert len(text_ids(answer.text)) <= answer.tokens < limit
    if len(text_ids(wanted)) < limit:
        assert (answer.text, answer.finish) == (wanted, "stop")
        return
    assert answer.finish == "wound_up"
    levels = [name for name in answer_fields.LEVELS if task == "risk"]
    fields = answer_fields.parse(task, answer.text).fields
    assert [fields[name] for name in levels] == ["High", "Medium", "Immediate"][: len(levels)]
    for text in texts_of(answer.text):
        # As wanted, from its beginning on, and to the end of a sentence or marked as cut.
        assert len(text) > 8 or text in wanted
        assert text.removesuffix("…") in wanted
        whole = text in texts or text.endswith(("…", *".!?。")) or f"{text}\n" in f"{wanted}\n"
        assert whole, text


@cache
def least(task: str) -> int:
    """The smallest room that is not refused."""
    with pytest.raises(ImmuneError, match="are too few for an answer") as error:
        Ending(task, 2)
    return int(re.search(r"needs (\d+)", str(error.value))[1])


def texts_of(answer: str) -> list[str]:
    lines = [line for line in answer.split("\n") if line and not line.endswith((":**", ":"))]
    texts = [line.removeprefix("• ").rpartition(":** ")[2] for line in lines]
    for between in ("Medium - ", "Immediate: "):
        texts = [text.removeprefix(between) for text in texts]
    return [text for text in texts if text != "HIGH"]


def test_it_is_ended_at_the_end_of_a_sentence_and_all_headings_get_theirs(model: Model) -> None:
    """Of an answer that goes on and on in its first text."""
    long = "The host scans the net for open ports at night. " * 60
    answer = write(
        model, "risk", RISK.replace("A scan of 65 hosts on port 8080.", long), room("risk")
    )
    fields = answer_fields.parse("risk", answer.text).fields
    assert answer.finish == "wound_up"
    assert fields["justification"].endswith("open ports at night.")
    assert len(fields["justification"]) > 600
    assert fields["business_impact"] == "Data could leave the network."
    assert fields["likelihood_reason"] == "Administrators scan too."
    assert fields["investigation_priority_reason"] == "The host holds backups."


def test_what_needs_a_cut_within_a_sentence_is_marked(model: Model) -> None:
    endless = "and the host scans " * 100
    answer = write(model, "risk", RISK.replace("The host holds backups.", endless), room("risk"))
    fields = answer_fields.parse("risk", answer.text).fields
    assert fields["justification"] == "A scan of 65 hosts on port 8080."
    assert fields["investigation_priority_reason"].endswith(("and…", "the…", "host…", "scans…"))
    assert answer.tokens > room("risk") - 8


def test_room_for_no_answer_is_refused() -> None:
    for task in grammar.TASKS:
        with pytest.raises(ImmuneError, match=r"raise --max-tokens or --context"):
            Ending(task, least(task) - 1)
        assert least(task) < room(task) / 2


def test_ends_of_sentences_are_known() -> None:
    text = "A host (e.g. ours. Or not) is ill! It was 1.5 of 10. Ask, e.g. Bob. 日本。語\n• One\n"
    ends = [text[:end].split(" ")[-1] for end in grammar.sentence_ends(text, 0)]
    assert ends == ["ill!", "Bob.", "日本。", "日本。語", "One"]
    assert ending._SENTENCE > ending._LEAST
