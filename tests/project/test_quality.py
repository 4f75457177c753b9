"""`benchmarks/quality.py`: the same questions for all recipes, cells made once, numbers by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import quality
import quality_cell
import quality_held
import quality_table
from answers import RISK, SUMMARY
from conftest import REPOSITORY
from corpus import Corpus, many_kinds
from quality_cell import Cell, Measurement
from quality_held import DatasetSize, Held, HeldIncident

from immune_data.contract.record import Record
from immune_data.prompts import Message
from immune_train.data.labels import Renderer
from immune_train.data.preflight import TASKS
from immune_train.score import intervals
from immune_train.score.answers import read_answers, read_reference

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LINES = str(REPOSITORY / "benchmarks" / "clean-lines.toml")
END, END_OF_TEXT = 151_645, 151_643


# Preparing


def sources(folder: Path, held: Corpus, trained: int = 12) -> tuple[str, ...]:
    train = Corpus()
    for number in range(trained):
        train.incident(f"t{number:02}", facts={"source_ip": f"10.0.0.{number}"})
    train.write(folder / "train")
    held.write(folder / "held")
    return ("--train", str(folder / "train"), "--held", str(folder / "held"))


def held_out() -> Corpus:
    """Three incidents of two groups; the last is one that no prompt of condensed evidence holds."""
    return (
        Corpus()
        .incident("a", facts={"source_ip": "10.1.0.1", "event_count": 499})
        .incident("b", facts={"source_ip": "10.1.0.1", "event_count": 500})
        .incident("c", facts={"source_ip": "10.1.0.2"}, dag=many_kinds(200))
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recipes prepared; only read, or copied."""
    folder = tmp_path_factory.mktemp("quality")
    arguments = ["--prepare", "--reference", "unified-v2", "--output", str(folder / "out")]
    arguments += [*sources(folder, held_out()), "--recipes", LINES, "unified-edge"]
    assert quality.main(arguments) == 0
    return folder / "out"


def records(output: Path, recipe: str) -> list[dict[str, Any]]:
    text = (output / "prepared" / recipe / "held.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_all_recipes_ask_about_the_same_incidents_in_their_own_words(prepared: Path) -> None:
    lines, edge = records(prepared, "clean-lines"), records(prepared, "unified-edge")
    keys = [(record["incident_id"], record["task"]) for record in lines]
    assert sorted(keys) == sorted((incident, task) for incident in "ab" for task in TASKS)
    assert [(record["incident_id"], record["task"]) for record in edge] == keys
    for one, other in zip(lines, edge, strict=True):
        assert one["messages"][-1] == other["messages"][-1]
        assert one["messages"][:-1] != other["messages"][:-1]


def test_an_incident_that_one_recipe_cannot_ask_about_is_left_out_for_all(prepared: Path) -> None:
    held = quality_held.read(prepared)
    assert [(one.incident_id, one.recipe) for one in held.left_out] == [("c", "unified-edge")]
    assert "the recipe's limit is 3,500" in held.left_out[0].why
    assert list(held.incidents) == ["a", "b"]
    assert held.incidents["a"].group == held.incidents["b"].group


def test_tokens_of_what_all_keep_are_of_both_sides(prepared: Path) -> None:
    held = quality_held.read(prepared)
    assert held.shared_records == 36
    for name, of in held.recipes.items():
        folder = prepared / "prepared" / name
        train, other = (
            [json.loads(line)["tokens"] for line in (folder / file).read_text().splitlines()]
            for file in ("train.jsonl", "eval.jsonl")
        )
        assert (of.records, of.tokens) == (len(train), sum(train))
        assert of.shared_tokens == sum(train) + sum(other)


@pytest.mark.parametrize("fact", ["incident_id", "source_ip"])
def test_a_held_out_incident_or_group_that_is_trained_on_is_refused(
    fact: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    incident = "t03" if fact == "incident_id" else "a"
    held = Corpus().incident(incident, facts={"source_ip": "10.0.0.3"})
    said = refused(
        quality.main,
        *("--prepare", "--reference", "unified-v2", "--output", tmp_path / "out"),
        *(*sources(tmp_path, held), "--recipes", "unified-v2"),
    )
    assert said.startswith(f"1 held-out incidents (first: {incident}) are in the source to train")
    assert not (tmp_path / "out" / "prepared" / "held.json").exists()


def test_sources_that_changed_are_prepared_again(tmp_path: Path) -> None:
    asked = []
    for trained, incidents in ((12, "ab"), (13, "a")):
        held = Corpus()
        for number, incident in enumerate(incidents):
            held.incident(incident, facts={"source_ip": f"10.1.0.{number}"})
        arguments = ["--prepare", "--reference", "unified-v2", "--output", str(tmp_path / "out")]
        arguments += [*sources(tmp_path, held, trained), "--recipes", LINES]
        assert quality.main(arguments) == 0
        assert quality_held.read(tmp_path / "out").shared_records == 3 * trained
        asked.append([one["incident_id"] for one in records(tmp_path / "out", "clean-lines")])
    assert asked == [["a"] * 3 + ["b"] * 3, ["a"] * 3]


# Pooling


def record(incident: str, task: str, answer: str, shown: str) -> Record:
    messages = [Message("user", shown), Message("assistant", answer)]
    return Record(messages, incident, task, "gpt-4o", 9.0, False, "unified", 100)


def of(
    incident: str, task: str, loss: float, tokens: int, answer: str, finish="stop"
) -> Measurement:
    return Measurement(incident, task, loss, tokens, answer, finish)


def cell(recipe: str, seed: int, *measured: Measurement, seconds: float = 10.0) -> Cell:
    return Cell(recipe, seed, {}, "", 9, 90, 9, 2, 2, seconds, 1.0, list(measured))


def held_of(groups: dict[str, str], events: dict[str, int | None], evidence: str = "") -> Held:
    asked = {key: HeldIncident(group, events.get(key), evidence) for key, group in groups.items()}
    return Held("one", 1, {"one": DatasetSize(9, 90, 80), "two": DatasetSize(9, 60, 40)}, asked, [])


def shares(result: quality_table.Result, task: str, events: str = "all") -> dict[str, tuple]:
    return {
        one.measure: (one.k, one.n)
        for one in result.shares
        if (one.task, one.events) == (task, events)
    }


def test_pooled_numbers_are_those_of_a_hand() -> None:
    held = held_of({"a": "g", "b": "h"}, {"a": 499, "b": 500}, "seen: 10.9.9.9")
    asked = [
        record("a", "risk", RISK, "port 8080"),
        record("b", "risk", RISK, "port 8080"),
        record("a", "summary", SUMMARY, "nothing"),
    ]
    bare = "A scan of port 8080."
    one = [
        cell(
            "one",
            1,
            of("a", "risk", 30.0, 10, RISK),
            of("b", "risk", 10.0, 10, bare),
            of("a", "summary", 8.0, 4, "On 10.9.9.9 and on", "length"),
            seconds=10,
        ),
        cell(
            "one",
            2,
            of("a", "risk", 20.0, 10, "no names"),
            of("b", "risk", 0.0, 10, "port 77"),
            of("a", "summary", 4.0, 4, SUMMARY),
            seconds=20,
        ),
    ]
    two = [
        cell(
            "two",
            1,
            *(of(m.incident_id, m.task, m.loss / 2, m.tokens, RISK) for m in one[0].measured),
        )
    ]
    reference, first, second = quality_table.results(
        held, {"one": one, "two": two}, {"one": asked, "two": asked}
    )
    assert {loss.task: (loss.tokens, loss.loss) for loss in first.losses} == {
        "all": (48, 72 / 48),
        "summary": (8, 12 / 8),
        "risk": (40, 60 / 40),
    }
    assert second.losses[0].loss == 24 / 24
    assert second.losses[0].difference == 24 / 24 - 72 / 48
    assert (first.seeds, first.seconds, first.shared_tokens) == ([1, 2], 15, 80)
    assert shares(first, "risk") == {
        "structure": (1, 4),
        "grounded_shown": (2, 3),  # one of four names nothing, one names port 77
        "grounded_whole": (2, 3),
        "never_ends": (0, 4),
    }
    assert shares(first, "risk", "below 500")["structure"] == (1, 2)
    assert shares(first, "risk", "from 500")["structure"] == (0, 2)
    assert shares(first, "summary")["never_ends"] == (1, 2)
    # 10.9.9.9 is in the evidence, but was not shown.
    assert shares(first, "summary")["grounded_shown"] == (0, 2)
    assert shares(first, "summary")["grounded_whole"] == (1, 2)
    assert shares(reference, "risk")["structure"] == (2, 2)
    assert shares(reference, "risk")["never_ends"] == (0, 0)


@pytest.mark.parametrize("together", [True, False])
def test_intervals_are_of_groups(together: bool) -> None:
    """Two incidents that always come together spread nothing, and twenty answers of one no more."""
    held = held_of({"a": "g", "b": "g" if together else "h"}, {})
    asked = [record("a", "risk", RISK, ""), record("b", "risk", RISK, "")]
    measured = [of("a", "risk", 30.0, 10, RISK), of("b", "risk", 10.0, 10, "no")]
    cells = {"one": [cell("one", seed, *measured) for seed in range(10)]}
    _, result = quality_table.results(held, cells, {"one": asked})
    loss, (structure, *_) = result.losses[0], result.shares
    assert (loss.loss, structure.share) == (2.0, 0.5)
    expected = ((2.0, 2.0), (0.5, 0.5)) if together else ((1.0, 3.0), (0.0, 1.0))
    assert ((loss.low, loss.high), (structure.low, structure.high)) == expected


def test_a_difference_is_of_the_same_draws() -> None:
    """A recipe that is better by as much everywhere is so for certain, however groups differ."""
    totals, numbers = [1.0, 50.0, 7.0, 900.0], [10, 10, 10, 10]
    better = [total - 5 for total in totals]
    low, high = intervals.of_difference(better, numbers, totals, numbers)
    assert (low, high) == pytest.approx((-0.5, -0.5))
    assert intervals.of_groups(totals, numbers)[1] > 3 * intervals.of_groups(totals, numbers)[0]


def test_groups_of_one_are_the_bootstrap_of_a_mean() -> None:
    values = [0.0, 1.0, 1.0, 2.0, 5.0, 9.0]
    found = intervals.of_groups(values, [1] * len(values))
    assert found == pytest.approx(intervals.bootstrap(values))
    tripled = intervals.of_groups([3 * value for value in values], [3] * len(values))
    assert tripled == pytest.approx(found)


# Answering


class Scripted:
    """A model that says what it is told, and runs out of memory above so many questions."""

    device = "cpu"

    def __init__(self, says: dict[int, list[int]], most: int = 100) -> None:
        self.says, self.most, self.asked = says, most, []

    def generate(self, ids: Any, attention_mask: Any) -> Any:
        import torch

        if len(ids) > self.most:
            raise torch.OutOfMemoryError("too much")
        limit = self.generation_config.max_new_tokens
        rows = []
        for row, mask in zip(ids.tolist(), attention_mask.tolist(), strict=True):
            prompt = [token for token, seen in zip(row, mask, strict=True) if seen]
            assert row[len(row) - len(prompt) :] == prompt, "padding stands on the left"
            said = self.says[prompt[0]]
            rows.append(row + (said + [END_OF_TEXT] * limit)[:limit])
        self.asked.append(len(ids))
        return torch.tensor(rows)


@pytest.mark.parametrize("most", [100, 3, 1])
def test_an_answer_without_an_end_within_the_limit_never_ends(most: int) -> None:
    says = {1: [7, 8, END, 9], 2: [7, 8, 9, 10], 3: [END], 4: [5, 5, 5, END]}
    prompts = [[3], [1, 1, 1], [2, 2], [4] * 6]
    model = Scripted(says, most)
    found = quality_cell.answer(model, prompts, 4, at_once=1_000)
    expected = [([], True), ([7, 8], True), ([7, 8, 9, 10], False), ([5, 5, 5], True)]
    assert found == expected
    assert quality_cell.answer(model, prompts, 3, at_once=1_000)[3] == ([5, 5, 5], False)


def test_batches_hold_what_fits_and_every_question_once() -> None:
    lengths = [5, 50, 20, 100, 20, 5]
    batches = list(quality_cell._batches(lengths, 59))
    assert batches == [[3], [1], [2, 4], [0, 5]]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


def test_questions_asked_together_are_answered_as_alone(model: Any) -> None:
    import torch

    prompts = [[11, 12, 13], [21, 22, 23, 24, 25, 26, 27], [31]]
    expected = []
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(5):
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        expected.append((ids[len(prompt) :], False))
    assert quality_cell.answer(model, prompts, 5) == expected


def test_the_loss_is_that_of_the_answers_tokens(model: Any, renderer: Renderer) -> None:
    import torch

    [row] = renderer.rows([record("a", "risk", "High, as it seems.", "What is it?")])
    with torch.no_grad():
        said = model(torch.tensor([row.input_ids])).logits[0].log_softmax(-1)
    expected = -sum(float(said[i - 1, row.input_ids[i]]) for i in range(row.answer, row.end))
    assert quality_cell._loss(model, row) == pytest.approx(expected, rel=1e-5)


# Cells


@pytest.fixture
def cells_quickly(
    quick: None, qwen: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spares each cell the loading of a tokenizer, before its training and after it."""
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda *_, **__: qwen)


def test_a_cell_is_made_once_and_again_for_other_settings(
    prepared: Path,
    tiny_model: Path,
    cells_quickly: None,
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []
    make = quality_cell.make
    monkeypatch.setattr(quality_cell, "make", lambda *given: made.append(given) or make(*given))
    output = ["--output", str(prepared)]
    with_model = [*output, "--model", str(tiny_model), "--config", "tiny", "--limit", "6"]
    settings = ["--set", "max_steps=1", "eval_strategy=no", "records_train=3"]
    arguments = [*with_model, "--recipes", "unified-edge", "--seeds", "5", *settings]

    said = refused(quality.main, *output, "--seeds", "5", code=1)
    assert "clean-lines 5, unified-edge 5" in said
    assert quality.main([*arguments, "--only", "unified-edge", "5"]) == 0
    assert not (prepared / "quality.json").exists()
    assert quality.main(arguments) == 0
    assert len(made) == 1
    result = json.loads((prepared / "quality.json").read_text(encoding="utf-8"))
    _, row = result["results"]
    assert (row["recipe"], row["seeds"], row["train_records"]) == ("unified-edge", [5], 3)
    counted = {one["measure"]: (one["k"], one["n"]) for one in row["shares"][:4]}
    assert counted["never_ends"] == (2, 2)  # six tokens of a random model
    assert row["losses"][0]["tokens"] == sum(
        one.tokens for one in quality_cell.read(prepared, "unified-edge", 5).measured
    )
    run = prepared / "runs" / "unified-edge-5"
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["recipe"] == "unified-edge"
    assert not [path for path in run.rglob("*") if path.suffix in (".safetensors", ".bin", ".pt")]
    answers = read_answers(
        prepared / "answers" / "unified-edge-5.jsonl",
        read_reference(prepared / "prepared" / "unified-edge" / "held.jsonl"),
    )
    assert len(answers) == 6
    assert {case.finish for case in answers.values()} == {"length"}
    for name in ("quality.md", "quality.svg"):
        assert "unified-edge" in (prepared / name).read_text(encoding="utf-8")

    before = (prepared / "quality.json").read_bytes()
    assert quality.main([*output, "--recipes", "unified-edge", "--seeds", "5"]) == 0
    assert (prepared / "quality.json").read_bytes() == before

    monkeypatch.setattr(quality_cell, "make", lambda *given: pytest.fail("another cell"))
    with pytest.raises(pytest.fail.Exception, match="another cell"):
        quality.main([*arguments, "weight_decay=0.1"])


def test_variants_stand_beside_their_recipe(
    prepared: Path,
    tiny_model: Path,
    cells_quickly: None,
    tmp_path: Path,
    refused: Callable[..., str],
) -> None:
    """Other settings, one task, and the base itself, whose loss is that of no training at all."""
    shutil.copytree(prepared / "prepared", tmp_path / "prepared")
    output = ["--output", str(tmp_path)]
    making = [*output, "--model", str(tiny_model), "--config", "tiny", "--limit", "2"]
    settings = ["--set", "max_steps=1", "eval_strategy=no"]
    only = ["--only", "unified-edge", "1"]
    assert "name it with --variant" in refused(quality.main, *making, *only, "--untrained")
    for given in (
        [],
        ["--variant", "r4", "lora_r=4", "lora_alpha=4"],
        ["--variant", "risk", "--tasks", "risk"],
        ["--variant", "base", "--untrained"],
    ):
        values = [one for one in given if "=" in one]
        options = [one for one in given if "=" not in one]
        assert quality.main([*making, *settings, *values, *only, *options]) == 0

    def cell_of(variant: str) -> Cell:
        found = quality_cell.read(tmp_path, f"unified-edge{variant}", 1)
        assert found is not None
        return found

    assert {one.task for one in cell_of("@risk").measured} == {"risk"}
    assert cell_of("@risk").records == 9
    assert cell_of("@base").steps == 0
    assert [one.task for one in cell_of("@base").measured] == [
        one.task for one in cell_of("").measured
    ]
    names = [f"unified-edge{variant}" for variant in ("", "@r4", "@risk", "@base")]
    assert quality.main([*output, "--recipes", *names, "--seeds", "1"]) == 0
    content = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))
    losses = {row["recipe"]: {one["task"] for one in row["losses"]} for row in content["results"]}
    assert losses["unified-edge@risk"] == {"risk"}
    assert losses["unified-edge@base"] == {"all", *TASKS}
    assert content["variants"]["unified-edge@risk"]["tasks"] == ["risk"]
    assert "lora_r=4" in content["variants"]["unified-edge@r4"]["settings"]
    assert "| unified-edge@risk | – |" in (tmp_path / "quality.md").read_text(encoding="utf-8")


def test_cells_of_other_settings_are_not_put_into_one_table(
    prepared: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    shutil.copytree(prepared / "prepared", tmp_path / "prepared")
    for seed in (1, 2):
        depends = {**quality_cell.file_dependencies(tmp_path, "clean-lines"), "settings": [seed]}
        content = msgspec.structs.replace(cell("clean-lines", seed), depends=depends)
        path = quality_cell.path(tmp_path, "clean-lines", seed)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(msgspec.json.encode(content))
    given = ("--output", tmp_path, "--recipes", "clean-lines", "--seeds")
    assert "other settings" in refused(quality.main, *given, 1, 2, code=1)
    (tmp_path / "prepared" / "clean-lines" / "train.jsonl").write_text("", encoding="utf-8")
    assert "of another dataset: clean-lines 1" in refused(quality.main, *given, 1, code=1)
