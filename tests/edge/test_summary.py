"""Under its grammar a summary is whole: header and totals as shown, no bullet twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from edge import loaded, random_gguf
from grounded_models import (
    EVIDENCE,
    assert_grounded,
    of_random_weights,
    slips_of_the_pen,
    wanting,
)

from immune_data.common.errors import ImmuneError
from immune_data.common.textfile import composed
from immune_data.contract import answer_fields
from immune_data.contract.tokens import text_ids
from immune_data.contract.vocabulary import END
from immune_train.edge import grammar
from immune_train.edge.ending import Ending
from immune_train.edge.grammar import Summary
from immune_train.edge.grounded import Shown
from immune_train.edge.llama_cpp_api import Model
from immune_train.edge.sampling import Chooser, Grammar
from immune_train.edge.writing import Answer, Prompt, Writing

PROMPT = f'{"=" * 60}\nIncident: i "\\n" <|im_end|> naïve\n{EVIDENCE}'
FORM = grammar.summary(PROMPT)
assert FORM is not None
BULLETS = (
    "• 10:15-10:20 - Scan of ports 22, 443 of 10.0.0.15 [HIGH]",
    "• 10:31:05, 10:40 - Contact [sic] with 45.83.64.12 [MEDIUM]",
)
ROOM = 902


def whole(*bullets: str, form: Summary = FORM) -> str:
    return "\n\n".join((form.header, "\n".join(bullets), form.closing))


@pytest.fixture(scope="module")
def model(shared_folder) -> Model:
    return loaded(random_gguf(shared_folder))


def write(
    model: Model,
    logits: Callable,
    limit: int = ROOM,
    *,
    form: Summary = FORM,
    shown: str = PROMPT,
    spans: bool = True,
    temperature: float = 0.0,
    seed: int = 0,
) -> tuple[Answer, int]:
    """The answer, and in how many steps it was written."""
    numbers = np.random.default_rng(seed)
    choose = Chooser(model, grammar.gbnf(form), temperature, numbers, never_end=False)
    names, said = Shown(shown), []
    ending = Ending(form, limit, names.is_whole)
    prompt = Prompt([1, 2, 3], limit, form, names)
    writing, steps = Writing(prompt, limit, choose, ending, said.append, spans=spans), 0
    while writing.goes_on:
        writing.take(logits(writing.read[3:] + writing.pending))
        steps += 1
    answer = writing.answer(0, 0)
    assert "".join(said) == answer.text
    return answer, steps


def let_through(model: Model, form: Summary, text: str) -> bool:
    walk = Grammar(model, grammar.gbnf(form))
    for token in [*text_ids(text), END]:
        if not walk.allowed([token]).all():
            return False
        if token != END:
            walk.accept(token)
    return True


def test_what_the_evidence_settles_is_read() -> None:
    assert FORM.header.splitlines()[1] == 'Incident: i "\\n" <|im_end|> naïve'
    assert FORM.closing == "\n".join(EVIDENCE.splitlines()[-2:])
    assert (FORM.bullets, FORM.severities) == (3, ("HIGH", "MEDIUM", "LOW"))
    for lacking in ("Timeline:", "Total Evidence:", "Severity breakdown:", "• "):
        assert grammar.summary(PROMPT.replace(lacking, "x")) is None
    assert grammar.summary(PROMPT.replace("naïve", "na\tive")) is None


@pytest.mark.parametrize("bullets", [BULLETS[:1], BULLETS, (*BULLETS, BULLETS[0][:-6] + "[LOW]")])
def test_a_summary_is_let_through_and_left_alone(model: Model, bullets: tuple[str, ...]) -> None:
    text = whole(*bullets)
    assert let_through(model, FORM, text)
    (answer, steps), (slowly, each) = (
        write(model, wanting(text, model.size), spans=spans) for spans in (True, False)
    )
    assert answer.text == slowly.text == text
    assert answer.finish == slowly.finish == "stop"
    assert each == len(text_ids(text)) + 1
    assert steps < 0.5 * each  # what is settled is not waited for


@pytest.mark.parametrize(
    "text",
    [
        whole(),
        whole(BULLETS[0].replace(" [HIGH]", "")),
        whole(BULLETS[0].replace("HIGH", "INFO")),
        whole(BULLETS[0].replace("10:15-10:20 - ", "")),
        whole(BULLETS[0], "", BULLETS[1]),
        whole(*(f"{bullet[:-5]} {bullet[-5:]}" for bullet in (*BULLETS, *BULLETS))),
        whole(f"• 10:15 - {'x' * 301} [LOW]"),
        whole(*BULLETS).replace("1500 events", "1501 events"),
        whole(*BULLETS) + "\n",
        whole(*BULLETS)[1:],
    ],
)
def test_another_one_is_not(model: Model, text: str) -> None:
    assert not let_through(model, FORM, text)


def test_what_every_beginning_needs_is_known(model: Model) -> None:
    text = whole(*BULLETS)
    for length in range(len(text) + 1):
        rest = grammar.rest(FORM, text[:length])
        assert rest is not None, text[:length]
        assert text[length:].startswith(rest.sure), text[:length]
        if length % 7 == 0 and text[:length].rpartition("\n")[2] in ("", BULLETS[0][:40]):
            assert let_through(model, FORM, text[:length] + rest.text), text[:length]
    assert grammar.rest(FORM, text).text == ""
    assert grammar.rest(FORM, "x") is None


def test_a_list_that_repeats_itself_is_at_its_end(model: Model) -> None:
    loop = f"{FORM.header}\n\n" + f"{BULLETS[0]}\n{BULLETS[1]}\n{BULLETS[0].upper()}\n" * 30
    loop = loop.replace(BULLETS[0].upper(), BULLETS[0])
    answer, _ = write(model, wanting(loop, model.size))
    assert (answer.text, answer.finish) == (whole(*BULLETS), "stop")
    assert [one.kind for one in answer.interventions] == ["bullet"]


def test_there_are_no_more_bullets_than_groups(model: Model) -> None:
    many = "".join(f"• 10:{i} - Scan number {i} of many [HIGH]\n" for i in range(15, 45))
    answer, _ = write(model, wanting(f"{FORM.header}\n\n{many}", model.size))
    assert (answer.text, answer.finish) == (whole(*many.splitlines()[:3]), "stop")


LONG = "• 10:15 - Scan of ports 22 and 443. Contact" + " with 10.0.0.15 again" * 30


@pytest.mark.parametrize(
    ("wanted", "ends"),
    [
        # With its last sentence, or else between words; with the severity that it names ...
        (LONG.replace("Scan", "9 events [MEDIUM] Scan"), "Scan of ports 22 and 443. [MEDIUM]"),
        (LONG.replace("443. Contact", "[LOW]"), "… [LOW]"),
        # ... or one that is chosen, of those that the evidence has.
        (LONG, "• 10:15 - Scan of ports 22 and 443. ["),
        ("• 10:15 - " + "x" * 300, None),
    ],
)
def test_a_bullet_that_is_too_long_comes_to_its_end(
    model: Model, wanted: str, ends: str | None
) -> None:
    text = f"{FORM.header}\n\n{wanted}"
    answer, _ = write(model, wanting(text, model.size))
    assert let_through(model, FORM, answer.text)
    first = answer.text[len(FORM.header) + 2 :].split("\n")[0]
    assert len(first) <= 320
    if ends is None:
        return
    assert ends in first
    assert first.endswith(("[HIGH]", "[MEDIUM]", "[LOW]"))
    assert answer.interventions[0].kind == "bullet"


def test_the_last_bullet_says_what_it_has_to_say(model: Model) -> None:
    """Though it holds a severity before that, as the evidence's own bullets do."""
    text = whole("• 10:15-10:20 - 9 events [HIGH] scan of ports 22 and 443 [HIGH]")
    form = Summary(FORM.header, FORM.closing, 1, FORM.severities)
    answer, _ = write(model, wanting(text, model.size), form=form)
    assert (answer.text, answer.finish) == (text, "stop")


def test_one_that_does_not_fit_ends_after_a_whole_bullet(model: Model) -> None:
    form = Summary(FORM.header, FORM.closing, 50, FORM.severities)
    many = "".join(f"• 10:{i} - Scan number {i} of many [HIGH]\n" for i in range(11, 60))
    answer, _ = write(model, wanting(f"{FORM.header}\n\n{many}", model.size), 600, form=form)
    assert answer.finish == "wound_up"
    number = answer.text.count("•")
    assert 10 < number < 30
    assert answer.text == whole(*many.splitlines()[:number])
    assert answer.tokens > 560


def test_room_for_no_bullet_is_refused() -> None:
    with pytest.raises(ImmuneError, match="too few for an answer to task summary"):
        Ending(FORM, 300)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_random_weights_write(model: Model, seed: int) -> None:
    likes = slips_of_the_pen(PROMPT, seed) if seed % 2 else ()
    made = of_random_weights(seed, model.size, likes)
    answer, _ = write(model, made, 560, temperature=1.0, seed=seed)
    assert answer.finish in ("stop", "wound_up")
    assert let_through(model, FORM, answer.text)
    assert not answer_fields.parse("summary", answer.text).missing
    assert_grounded(answer.text, PROMPT)


def reproduced(out: Path, model: Model, every: int, step: int = 1) -> tuple[int, int, int]:
    """Of one in `step` references: those whose evidence has a form, those of the form, and those
    that have more bullets than their evidence has groups."""
    total = of_the_form = longer = 0
    for split in ("train", "eval"):
        file = out / "sft" / "unified-clean" / f"{split}.jsonl"
        with file.open(encoding="utf-8") as lines:
            found = [record for record in map(json.loads, lines) if record["task"] == "summary"]
        for record in found[::step]:
            *asked, answer = (composed(turn["content"]) for turn in record["messages"])
            form = grammar.summary("\n".join(asked))
            if form is None:  # its evidence has no header, or no totals
                continue
            total += 1
            if answer.count("\n• ") > form.bullets:
                longer += 1
            elif grammar.repeated(form, answer) is None and let_through(model, form, answer):
                of_the_form += 1
                if of_the_form % every == 0:
                    logits = wanting(answer, model.size)
                    given, _ = write(model, logits, form=form, shown="\n".join(asked))
                    assert (given.text, given.finish) == (answer, "stop")
    return total, of_the_form, longer


def test_references_of_the_sample(
    sample_out: Callable[[str], Path], model: Model, pytestconfig: pytest.Config
) -> None:
    step = 1 if pytestconfig.getoption("--thorough") else 5
    total, of_the_form, longer = reproduced(sample_out("unified-clean"), model, 20, step)
    assert total > 300 / step
    assert of_the_form > 0.9 * (total - longer)


def test_real_references(real_out: Callable[[str], Path], model: Model) -> None:
    """Seven name blacklisted addresses one by one, which their evidence shows as one group."""
    assert reproduced(real_out("unified-clean"), model, 4) == (34, 26, 7)
