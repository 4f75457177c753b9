"""What a run will take, said before any weight is loaded, against runs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from training import as_rows, model_of_few_words, small_tokenizer

from immune_data.common.errors import ImmuneError
from immune_train import configs
from immune_train.backends import trl
from immune_train.backends.outlines import outline
from immune_train.data import plan
from immune_train.sft import progress, trainer

SIZES = "19 MiB for the base's weights and 1 MiB"  # of `tiny_model` and an adapter of rank 128


def planned_on(config: configs.Config, rows: int) -> plan.Plan:
    return plan.make(config, rows, "trl", outline(config))


@given(
    *(st.integers(1, 30), st.integers(1, 4), st.integers(1, 3), st.booleans(), st.booleans()),
    st.sampled_from([("num_train_epochs", 2), ("num_train_epochs", 0.4), ("max_steps", 5)]),
    st.sampled_from([0, 3, 0.25, 40]),
)
@examples(25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_steps_and_warmup_are_the_trainers(
    tiny_model: Path,
    tmp_path: Path,
    rows: int,
    batch: int,
    turns: int,
    packed: bool,
    drop: bool,
    length: tuple[str, float],
    warmup: float,
) -> None:
    loaded = configs.load(
        "tiny",
        [
            *(f"per_device_train_batch_size={batch}", f"gradient_accumulation_steps={turns}"),
            *(f"packing={packed}", f"dataloader_drop_last={drop}", f"{length[0]}={length[1]}"),
            *(f"warmup_steps={warmup}", "lr_scheduler_type=cosine", "max_length=64"),
            *("eval_strategy=no", "load_best_model_at_end=false", "save_strategy=no"),
            f"model_name_or_path={tiny_model}",
        ],
    )
    taken = as_rows([8] * rows)
    if drop and rows < (batch * turns if packed else batch):
        with pytest.raises(ImmuneError, match="drops all of"):
            planned_on(loaded, rows)
        return
    made = trainer.make(
        loaded, model_of_few_words(), small_tokenizer(None), taken, taken[:1], tmp_path
    )
    found = made.set_initial_training_values(made.args, made.get_train_dataloader())
    planned = planned_on(loaded, rows)
    assert planned.steps == found[-1]
    assert planned.warmup == made.args.get_warmup_steps(found[-1])
    assert planned.conversations_a_step == batch * turns
    assert any("still rising" in one for one in planned.warnings()) == (
        planned.warmup >= planned.steps
    )


@given(*(st.integers(1, n) for n in (60, 4, 4, 3)), st.booleans())
def test_processes_take_the_steps_of_one(
    rows: int, batch: int, number: int, turns: int, packed: bool
) -> None:
    def steps(turns: int, number: int) -> int:
        values: dict[str, Any] = {
            "per_device_train_batch_size": batch,
            "gradient_accumulation_steps": turns,
            "packing": packed,
            "dataloader_drop_last": False,
        }
        return plan.steps_an_epoch(configs.Config("", values, {}), rows, number)

    assert steps(turns, number) == steps(turns * number, 1)


@pytest.mark.parametrize(
    "more", [[], ["use_dora=true"], ["lora_r=3", "lora_target_modules=[q_proj, down_proj]"]]
)
def test_parameters_and_memory_are_the_models(more: list[str], tiny_model: Path) -> None:
    loaded = configs.load("tiny", [f"model_name_or_path={tiny_model}", *more])
    planned = planned_on(loaded, 9)
    model = trl.load(loaded)
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    base = model.get_base_model().num_parameters()
    assert planned.trained_parameters == trained
    assert planned.base_parameters == base - trained
    assert planned.base_bytes == 4 * (base - trained)
    assert planned.adapter_bytes == trained * 16
    rounded = planned_on(
        configs.load("tiny", [f"model_name_or_path={tiny_model}", "load_in_4bit=true"]), 9
    )
    assert rounded.base_bytes < planned.base_bytes


def test_another_architecture_is_warned_about(tiny_model: Path, tmp_path: Path) -> None:
    content = json.loads((tiny_model / "config.json").read_text())
    other = {**content, "model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(other))
    for folder, warned in ((tiny_model, 0), (tmp_path, 1)):
        planned = planned_on(configs.load("tiny", [f"model_name_or_path={folder}"]), 9)
        assert len(planned.warnings()) == warned
    assert "a llama model" in planned.warnings()[0]


def test_what_is_said(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [f"model_name_or_path={tiny_model}", "lr_scheduler_type=cosine", "warmup_steps=4"]
    given += ["lora_r=128"]
    loaded = configs.load("tiny", given)
    planned = planned_on(loaded, 9)
    plan.show(planned, loaded)
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == "180 steps of 3 conversations: 60 epochs of 3 steps, the first 4 to warm up"
    assert f"{planned.trained_parameters:,} parameters are trained, " in second
    assert " by trl on " in second
    assert third.startswith(f"memory: {SIZES} for the adapter, ")
    assert json.loads(json.dumps(planned.as_json()))["steps"] == 180


def test_how_many_processes_share_the_work_is_said(
    tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = configs.load("tiny", [f"model_name_or_path={tiny_model}"])
    monkeypatch.setenv("WORLD_SIZE", "3")
    planned = planned_on(loaded, 9)
    plan.show(planned, loaded)
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("60 steps of 9 conversations: 60 epochs of 1 step")
    assert second == "3 processes share the work: each takes 3 of the 9 conversations of a step"
    assert planned.as_json()["processes"] == 3


def test_how_long_it_will_take_is_said_while_it_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1_000_000, 90))
    own = SimpleNamespace(monotonic=lambda: float(next(clock)))
    monkeypatch.setattr(progress, "time", own)
    loaded = configs.load(
        "tiny", ["max_length=64", "max_steps=4", "logging_steps=1", "save_strategy=no", *MEASURED]
    )
    rows = as_rows([8] * 12)
    shown = [progress.show()]
    made = (loaded, model_of_few_words(), small_tokenizer(None), rows, rows[:1], tmp_path)
    trainer.make(*made, shown).train()
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    left = [line.rpartition("  ")[2] for line in said if "loss" in line]
    assert left[:3] == ["about 4 min left", "about 3 min left", "about 2 min left"]
    assert "left" not in left[3]
    assert [progress._duration(seconds) for seconds in (3, 3599, 7300)] == [
        *("1 min", "1 h 0 min", "2 h 2 min"),
    ]


MEASURED = ("eval_strategy=no", "load_best_model_at_end=false")


@pytest.mark.parametrize(
    ("losses", "norms", "says"),
    [
        ([12.6, 11.9], [4.0, 2.0], "no better than a guess among all 151,936 tokens (ln = 11.93)"),
        ([1.5, 1.6, 1.5], [4.0, 2.0], "no eval loss was below 1.5000"),
        ([1.5, 1.2], [4.0, 0.0, 0.0], "the gradient was 0 at 2 of the recorded steps (first: 2)"),
        ([1.5, 1.2], [4.0, 2.0], None),
        ([1.5], [4.0], None),
        ([], [], None),
    ],
)
def test_a_run_whose_log_speaks_against_it(
    losses: list[float], norms: list[float], says: str | None
) -> None:
    history: list[dict[str, float]] = [
        *({"step": step, "eval_loss": loss} for step, loss in enumerate(losses)),
        *({"step": step, "loss": 1.0, "grad_norm": norm} for step, norm in enumerate(norms, 1)),
    ]
    found = progress.warnings(history, 151_936)
    assert (len(found) == 1 and says in found[0]) if says else found == []
    blind = [{"step": 1, "loss": 11.9, "grad_norm": 1.0}]
    assert len(progress.warnings(blind, 151_936)) == 1
