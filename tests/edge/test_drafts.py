"""Drafts change how fast an answer is written, and not what is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from edge import incident, loaded, random_gguf
from grounded_models import EVIDENCE, of_random_weights, slips_of_the_pen, wanting
from hypothesis import given
from hypothesis import strategies as st

from immune_data.contract.chat import prompt_ids
from immune_data.contract.tokens import text_ids
from immune_data.contract.vocabulary import FIRST_ADDED
from immune_data.prompts import Message
from immune_train.edge import grammar
from immune_train.edge.drafts import Drafts
from immune_train.edge.ending import Ending
from immune_train.edge.engine import LocalModel
from immune_train.edge.grounded import Shown
from immune_train.edge.llama_cpp_api import Model
from immune_train.edge.sampling import Chooser
from immune_train.edge.writing import Answer, Prompt, Writing
from immune_train.generate import __main__ as generate

pytestmark = pytest.mark.usefixtures("kept_models")

PROMPT = f"{'=' * 60}\nIncident: i\n{EVIDENCE}"
SUMMARY = grammar.summary(PROMPT)
assert SUMMARY is not None
COPY = (
    f"{SUMMARY.header}\n\n"
    "• 10:15-10:20 - scan of ports {22, 443, 8080, … 46 in all} of 10.0.0.15/24 [HIGH]\n"
    "• 10:31 - connection to 45.83.64.12:8443 (SBL221379), at 10.9.9.9, 53/UDP [MEDIUM]"
    f"\n\n{SUMMARY.closing}"
)


@pytest.fixture(scope="module")
def model(shared_folder) -> Model:
    return loaded(random_gguf(shared_folder))


def write(
    model: Model,
    logits: Callable[[Sequence[int]], np.ndarray],
    form: grammar.Form | None,
    shown: Shown | None,
    *,
    drafts: bool,
    temperature: float = 0.0,
) -> tuple[Answer, int]:
    """An answer as the engine has it written, and the number of its batches."""
    gbnf = grammar.gbnf(form) if form else None
    choose = Chooser(model, gbnf, temperature, np.random.default_rng(5), never_end=False)
    ids = text_ids(PROMPT)
    limit = 600 if isinstance(form, grammar.Summary) else 300
    ending = Ending(form, limit, shown.is_whole if shown else None) if form else None
    prompt = Prompt(ids, limit, form, shown)
    writing = Writing(prompt, limit, choose, ending, None, drafts=drafts)
    evaluated, batches = list(ids), 1
    writing.take(logits([]))
    while writing.goes_on:
        del evaluated[writing.place :]
        tokens, first = writing.step()
        begin = len(evaluated)
        assert begin + first + 1 == writing.place == writing.length
        evaluated += tokens
        batches += 1
        for i in range(first, len(tokens)):
            if writing.wants(begin + i):
                answer = evaluated[len(writing.prompt.ids) : begin + i + 1]
                assert writing.read == evaluated[: begin + i + 1]
                writing.take(logits(answer))
    return writing.answer(0, 0), batches


@pytest.mark.parametrize(
    ("form", "grounded", "temperature"),
    [(None, False, 1.0), (None, True, 0.0), (SUMMARY, True, 0.0), ("cause", True, 1.0)],
)
def test_the_answer_is_the_same(
    model: Model, form: grammar.Form | None, grounded: bool, temperature: float
) -> None:
    """Of a model that copies with slips, and of one of random weights that likes to."""
    shown = Shown(PROMPT) if grounded else None
    likes = slips_of_the_pen(PROMPT, 3)
    models = [wanting(COPY, model.size), of_random_weights(3, model.size, likes)]
    for logits in models:
        how = {"temperature": temperature}
        (plain, steps), (drafted, batches) = (
            write(model, logits, form, shown, drafts=drafts, **how) for drafts in (False, True)
        )
        assert drafted.text == plain.text
        assert (drafted.ids, drafted.finish) == (plain.ids, plain.finish)
        assert drafted.interventions == plain.interventions
        assert (plain.drafted, plain.accepted) == (0, 0)
        assert 0 <= drafted.accepted <= drafted.drafted
        assert batches <= steps


def test_what_is_copied_takes_fewer_steps(model: Model) -> None:
    logits = wanting(COPY, model.size)
    (plain, steps), (drafted, batches) = (
        write(model, logits, None, None, drafts=drafts) for drafts in (False, True)
    )
    assert plain.text == drafted.text == COPY
    assert steps == len(text_ids(COPY)) + 1
    assert batches == steps - drafted.accepted
    assert batches < 0.5 * steps
    assert drafted.accepted > 0.7 * drafted.drafted


@given(st.lists(st.integers(0, 3), max_size=60), st.lists(st.integers(0, 3), max_size=20))
def test_a_draft_is_what_follows_in_the_prompt(prompt: list[int], answer: list[int]) -> None:
    draft = Drafts(prompt).after(answer)
    if draft:
        text, begun = bytes(prompt), bytes([*answer[-4:], *draft])
        assert len(answer) >= 4
        assert begun in text
    # What was copied from the beginning on is gone on with.
    assert Drafts([*prompt, 9, 9, 9, 9, 7]).after([9, 9, 9, 9]) == [7]


def test_no_control_token_is_drafted() -> None:
    assert Drafts([1, 2, 3, 4, 5, FIRST_ADDED + 1, 6]).after([1, 2, 3, 4]) == [5]
    assert Drafts([1, 2, 3, 4, FIRST_ADDED + 1]).after([1, 2, 3, 4]) == []


def test_the_place_that_goes_on_longest_is_copied() -> None:
    prompt = [7, 1, 2, 3, 4, 10, 8, 1, 2, 3, 4, 20, 9, 1, 2, 3, 4, 30]
    assert Drafts(prompt).after([0, 8, 1, 2, 3, 4])[0] == 20


@pytest.mark.parametrize("side_by_side", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_in_a_model_too(shared_folder, side_by_side: bool, tied: bool) -> None:
    """Which repeats the last token of its prompt if it is tied, so that every draft comes true."""
    local = LocalModel(random_gguf(shared_folder, tied=tied), 2048, threads=1)
    ids = [prompt_ids([Message("user", f"{EVIDENCE}{last}")]) for last in ("a", "b", "c")]
    again = text_ids(" port") * 12
    prompts = [Prompt([*one, *again], limit) for one, limit in zip(ids, (40, 33, 1), strict=True)]
    plain = local.answers(prompts, side_by_side=side_by_side)
    drafted = local.answers(prompts, side_by_side=side_by_side, drafts=True)
    assert [one.text for one in drafted] == [one.text for one in plain]
    assert [one.tokens for one in drafted] == [40, 33, 1]
    if tied:
        assert drafted[0].accepted == drafted[0].drafted >= 20
    # What was drafted in vain is not taken for what is there.
    assert [one.text for one in local.answers(prompts, side_by_side=side_by_side)] == [
        one.text for one in plain
    ]


def test_how_many_were_drafted_is_told(
    shared_folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "incident.json"
    file.write_text(json.dumps(incident(6)))
    arguments = ["--model", str(random_gguf(shared_folder)), "--incident", str(file), "--json"]
    arguments += ["--task", "all", "--max-tokens", "140", "--threads", "1"]
    found = {}
    for more in ((), ("--drafts",)):
        assert generate.main([*arguments, *more]) == 0
        said = capsys.readouterr()
        found[more] = json.loads(said.out)["answers"].values()
    assert {one["drafted_tokens"] for one in found[()]} == {0}
    assert any(one["drafted_tokens"] for one in found[("--drafts",)])
    assert "drafted tokens accepted" in said.err
    assert [one["answer"] for one in found[()]] == [one["answer"] for one in found[("--drafts",)]]
