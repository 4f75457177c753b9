"""What is said before a weight is loaded: counts, costs, and what will not be trained on.

Conversations are cut at, just below and just above their ends.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from corpus import records
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from training import by_hand, record, write

from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.contract.manifest import TrainingManifest
from immune_data.contract.record import Record
from immune_train import configs
from immune_train.data import preflight
from immune_train.data.dataset import Dataset
from immune_train.data.labels import Renderer
from immune_train.data.packing import best_fit_decreasing
from immune_train.data.preflight import Preflight, inspect
from immune_train.sft import __main__ as sft

ANSWER = "Nobody knows what caused it, but a beacon is likely."


def dataset_of(train: list[dict[str, Any]], held_out: list[dict[str, Any]]) -> Dataset:
    return Dataset(
        msgspec.convert(train, list[Record]),
        msgspec.convert(held_out, list[Record]),
        manifest=TrainingManifest(recipe="unified-clean"),
        origin="here",
    )


ASKED = record("Why?", ANSWER)
LENGTH = ASKED["tokens"]
HELD_OUT = record("?", "!", incident_id="held out")


@pytest.fixture
def seen(renderer: Renderer) -> Callable[..., Preflight]:
    """`seen(train, *settings)`: the preflight of these records."""

    def run(
        train: list[dict[str, Any]], *more: str, held_out: list[dict[str, Any]] | None = None
    ) -> Preflight:
        return inspect(
            configs.load("tiny", ["records_train=null", "records_eval=null", *more]),
            dataset_of(train, held_out or [HELD_OUT]),
            renderer,
        )

    return run


# The end of the context


def answer_starts() -> int:
    return next(i for i, label in enumerate(by_hand(ASKED["messages"])[1]) if label != -100)


@pytest.mark.parametrize("overflow", ["error", "drop", "truncate"])
@pytest.mark.parametrize(
    ("context", "over"), [(LENGTH + 1, 0), (LENGTH, 0), (LENGTH - 1, 1)], ids=["above", "at", "end"]
)
def test_an_answer_that_fits_is_kept_whole(
    overflow: str, context: int, over: int, seen: Callable[..., Preflight]
) -> None:
    """The line end after the answer, which carries no loss, may be cut; no more."""
    found = seen([ASKED], f"overflow={overflow}", f"max_length={context}").train
    assert (found.records, found.over, found.dropped) == (1, over, 0)
    assert (found.answers_cut, found.answers_lost) == (0, 0)
    [row] = found.rows
    ids, labels = by_hand(ASKED["messages"])
    assert (row.input_ids, row.labels) == (ids[:context], labels[:context])
    assert row.labels[-1 if over else -2] == 151_645


@pytest.mark.parametrize(
    ("context", "cut", "lost", "kept"),
    [
        (LENGTH - 2, 1, 0, LENGTH - 2),
        (LENGTH - 3, 1, 0, LENGTH - 3),
        (answer_starts() + 1, 1, 0, answer_starts() + 1),
        (answer_starts(), 0, 1, answer_starts()),
        (answer_starts() - 1, 0, 1, answer_starts() - 1),
        (20, 0, 1, 20),
    ],
)
def test_an_answer_that_does_not_fit(
    context: int, cut: int, lost: int, kept: int, seen: Callable[..., Preflight]
) -> None:
    both = [record("", "", system="", incident_id="short", task="cause"), ASKED]
    held_out = [record("", "", system="", incident_id="held out")]
    assert held_out[0]["tokens"] <= 20

    def run(overflow: str) -> Preflight:
        settings = (f"overflow={overflow}", f"max_length={context}")
        return seen(both, *settings, held_out=held_out)

    with pytest.raises(CheckFailed) as error:
        run("error")
    said = str(error.value)
    assert f"the risk record of a in train is {LENGTH} tokens long" in said
    assert f"at {context} its answer would be cut" in said
    assert "overflow=truncate" in said
    assert "\n" not in said

    truncated = run("truncate")
    assert (truncated.train.answers_cut, truncated.train.answers_lost) == (cut, lost)
    assert (truncated.train.over, truncated.train.dropped) == (1, 0)
    ids, labels = by_hand(ASKED["messages"])
    row = truncated.train.rows[1]
    assert (row.input_ids, row.labels) == (ids[:kept], labels[:kept])
    assert f"{lost} whole answer{'s' * (lost != 1)} and parts of {cut} others are lost" in " ".join(
        truncated.notes
    )

    dropped = run("drop")
    assert [row.incident_id for row in dropped.train.rows] == ["short"]
    assert (dropped.train.over, dropped.train.dropped, dropped.train.records) == (1, 1, 2)
    assert "1 of them is left out" in " ".join(dropped.notes)
    assert run("drop").as_json()["train"]["by_task"]["risk"]["records"] == 0


def test_an_eval_answer_is_cut_no_more_silently(seen: Callable[..., Preflight]) -> None:
    long = {**ASKED, "incident_id": "held out"}
    short = record("?", "!")
    with pytest.raises(CheckFailed, match="of held out in eval"):
        seen([short], f"max_length={LENGTH - 2}", held_out=[long])
    found = seen([short], f"max_length={LENGTH - 2}", "overflow=truncate", held_out=[long])
    assert (found.eval.over, found.eval.answers_cut, found.train.over) == (1, 1, 0)
    assert any("1 eval record is longer" in note for note in found.notes)


@pytest.mark.parametrize("overflow", ["drop", "truncate"])
def test_a_split_in_which_nothing_is_left_to_learn(
    overflow: str, seen: Callable[..., Preflight]
) -> None:
    short = [record("", "", system="", incident_id="held out")]
    with pytest.raises(CheckFailed, match="no record of train carries loss"):
        seen([ASKED, ASKED], f"overflow={overflow}", "max_length=20", held_out=short)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.integers(25, 120))
@examples(40)
def test_what_is_lost_is_counted(renderer: Renderer, words: list[int], context: int) -> None:
    """Against labels written by hand, whatever the lengths."""
    train = [
        record(" so" * n, " it" * words[-i - 1], incident_id=str(i)) for i, n in enumerate(words)
    ]
    train.append(record("", "", system="", incident_id="short"))
    loaded = configs.load(
        "tiny", ["records_train=null", "overflow=truncate", f"max_length={context}"]
    )
    short = [record("", "", system="", incident_id="held out")]
    found = inspect(loaded, dataset_of(train, short), renderer).train
    labels = [by_hand(one["messages"])[1] for one in train]
    whole = [sum(label != -100 for label in of_one) for of_one in labels]
    kept = [sum(label != -100 for label in of_one[:context]) for of_one in labels]
    assert found.over == sum(len(of_one) > context for of_one in labels)
    assert found.answers_lost == kept.count(0)
    assert found.answers_cut == sum(0 < k < w for k, w in zip(kept, whole, strict=True))
    assert found.counts()["supervised_tokens"] == sum(kept)
    assert found.counts()["tokens"] == sum(min(context, len(of_one)) for of_one in labels)


# What is not trained on


def test_a_leak_is_an_error_unless_it_is_allowed(seen: Callable[..., Preflight]) -> None:
    train = [
        record(incident_id="a", task="cause"),
        record(incident_id="b", task="cause"),
        record(incident_id="b", task="risk"),
        record(incident_id="c", task="risk"),
    ]
    held_out = [record(incident_id="b", task="summary"), record(incident_id="c", task="summary")]
    with pytest.raises(CheckFailed) as error:
        seen(train, held_out=held_out)
    assert "3 train records are of eval incidents (first: b)" in str(error.value)
    assert "allow_leak=true" in str(error.value)
    found = seen(train, "allow_leak=true", held_out=held_out)
    assert found.leaked == {"cause": 1, "risk": 2}
    [note] = [note for note in found.notes if "eval incidents" in note]
    assert note.startswith("3 train records (1 cause, 2 risk) are of 2 eval incidents")
    assert seen(train).leaked == {}


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("split", ["train", "eval"])
def test_a_record_that_was_counted_otherwise(
    by: int, split: str, seen: Callable[..., Preflight]
) -> None:
    wrong = [record(incident_id="w", tokens=record()["tokens"] + by)]
    right = [record(incident_id="r")]
    with pytest.raises(ImmuneError) as error:
        seen(wrong if split == "train" else right, held_out=wrong if split == "eval" else right)
    said = str(error.value)
    assert f"the risk record of w in {split} has {record()['tokens']} tokens" in said
    assert f"and {record()['tokens'] + by} by the dataset's" in said


def test_records_whose_answers_join_the_line_before_are_counted_right(
    seen: Callable[..., Preflight],
) -> None:
    found = seen([record("?", "\n\nb"), record("?", " b"), record("?", "\n"), record("?", "")])
    assert found.train.records == 4


# What is said


def test_padding_is_that_of_the_batches(seen: Callable[..., Preflight]) -> None:
    train = [record(" so" * n, "it", incident_id=str(n)) for n in (3, 90, 40, 7, 60, 11, 1)]
    lengths = [one["tokens"] for one in train]
    found = seen(
        train,
        *("per_device_train_batch_size=2", "gradient_accumulation_steps=2", "max_length=150"),
    )
    batches = [lengths[at : at + 2] for at in range(0, 7, 2)]
    padded = sum(len(batch) * max(batch) for batch in batches)
    assert found.padding == pytest.approx(1 - sum(lengths) / padded)
    packs = sum(len(best_fit_decreasing(lengths[at : at + 4], 300)) for at in (0, 4))
    assert found.packs_a_step == packs / 2


def test_a_dataset_of_another_recipe_is_said(seen: Callable[..., Preflight]) -> None:
    [note] = seen([record()], "recipe=unified-v1").notes
    assert note == "config tiny is for recipe unified-v1, but the dataset is of unified-clean"
    assert seen([record()]).notes == []


def test_the_report_in_numbers(
    seen: Callable[..., Preflight], capsys: pytest.CaptureFixture[str]
) -> None:
    train = [record(task=task, incident_id=task) for task in ("summary", "cause", "cause")]
    found = seen(train, "use_rslora=false", "lora_r=64")
    preflight.show(found, configs.load("tiny"))
    said = capsys.readouterr().out
    tokens, supervised = record()["tokens"], 3  # `That`, `.` and the end
    table = [line.split() for line in said.splitlines()]
    share = f"{supervised / tokens:.1%}"
    assert ["train", "summary", "1", str(tokens), str(supervised), share] in table
    assert ["train", "cause", "2", str(2 * tokens), str(2 * supervised), share] in table
    assert ["train", "all", "3", str(3 * tokens), str(3 * supervised), share] in table
    assert not any("risk" in row for row in table if row[:1] == ["train"])
    assert "0 of 3 train records are longer than the context of 4,096 tokens" in said
    assert "warning: RSLoRA is off at r = 64" in said
    assert json.loads(json.dumps(found.as_json()))["train"]["supervised_tokens"] == 3 * supervised


# The command


def dry(model: Path, config: str, out: Path, *more: object) -> list[str]:
    arguments = ["--config", config, "--model", model, "--data", out, "--backend", "trl"]
    anywhere = ("load_in_4bit=false", "optim=adamw_torch")  # without CUDA too
    return [str(argument) for argument in (*arguments, *more, "--dry-run", *anywhere)]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", ["unified-v1", "unified-v2", "unified-v3", "risk"])
def test_a_documented_config_trains_on_its_dataset_as_it_is(
    name: str,
    training_out: Callable[[str], Path],
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = training_out(name)
    assert sft.main(dry(tiny_model, name, out)) == 0
    said = capsys.readouterr().out
    train, held_out = (records(out, split, name) for split in ("train", "eval"))
    ids = {one["incident_id"] for one in held_out}
    leaked = [one for one in train if one["incident_id"] in ids]
    assert (f"{len(leaked)} train records (" in said) == bool(leaked)
    assert bool(leaked) == (name in ("unified-v2", "unified-v3"))
    tokens = sum(one["tokens"] for one in train)
    assert re.search(rf"train +all +{len(train)} +{tokens:,} ", said)
    assert "no manifest" not in said
    assert "nothing was trained" in said


@pytest.mark.usefixtures("quick")
def test_what_a_context_costs_a_documented_config(
    training_out: Callable[[str], Path],
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
    refused: Callable[..., str],
) -> None:
    """One incident's evidence fills the context; its answers are cut, and each run says so."""

    def arguments(*settings: str) -> list[str]:
        out = training_out("unified-v2")
        return dry(tiny_model, "unified-v2", out, "max_length=3700", *settings)

    assert sft.main(arguments()) == 0
    said = capsys.readouterr().out
    assert "warning: 3 train records are longer than 3,700 tokens: " in said
    assert "3 of 73 train records are longer than the context of 3,700 tokens" in said
    assert "would be cut" in refused(sft.main, *arguments("overflow=error"), code=1)
    assert "allow_leak=true" in refused(sft.main, *arguments("allow_leak=false"), code=1)


def test_what_is_refused_in_one_sentence(
    training_out: Callable[[str], Path],
    tiny_model: Path,
    tmp_path: Path,
    refused: Callable[..., str],
) -> None:
    clean = training_out("unified-clean")
    said = refused(sft.main, *dry(tiny_model, "tiny", clean, "max_length=100"), code=1)
    assert "would be cut" in said
    said = refused(sft.main, *dry(tmp_path / "absent", "tiny", clean))
    assert "absent cannot be loaded" in said
    assert "--model" in said
    spoilt = tmp_path / "data" / "sft" / "unified-clean"
    shutil.copytree(clean / "sft" / "unified-clean", spoilt)
    content = (spoilt / "eval.jsonl").read_bytes()
    (spoilt / "eval.jsonl").write_bytes(content.replace(b"scan", b"scam", 1))
    said = refused(sft.main, *dry(tiny_model, "tiny", tmp_path / "data"), code=1)
    assert str(spoilt / "eval.jsonl") in said


def test_a_model_with_another_template_is_refused(
    tiny_model: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    """What only its tokenizer's files say: its weights are not even there."""
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model, ignore=shutil.ignore_patterns("*.safetensors"))
    [template] = model.glob("chat_template.jinja")
    files = [
        *("--train", write(tmp_path / "t.jsonl", [record()])),
        *("--eval", write(tmp_path / "e.jsonl", [HELD_OUT])),
    ]
    arguments = dry(model, "tiny", tmp_path, *files)
    assert sft.main(arguments) == 0
    original = template.read_text(encoding="utf-8")
    template.write_text(original.replace("You are Qwen, created by Alibaba Cloud. ", ""))
    said = refused(sft.main, *arguments)
    assert "the chat template of" in said
    assert "use a Qwen2.5 instruct model" in said
    template.unlink()
    assert "has no chat template" in refused(sft.main, *arguments)


@pytest.mark.usefixtures("quick")
def test_files_that_no_manifest_vouches_for(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = write(tmp_path / "train.jsonl", [record()])
    held_out = write(tmp_path / "held-out.jsonl", [HELD_OUT])
    arguments = dry(tiny_model, "tiny", tmp_path, "--train", train, "--eval", held_out)
    assert sft.main(arguments) == 0
    assert f"warning: there is no manifest for {train} and {held_out}" in capsys.readouterr().out
