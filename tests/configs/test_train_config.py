"""Configs of the training package: the documented values, overrides, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from immune_data.common.errors import ImmuneError
from immune_train import configs
from immune_train.sft import __main__ as sft

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

# The table of documented values, as it was handed to us.
BY_ALL: dict[str, Any] = {
    "model_name_or_path": "Qwen/Qwen2.5-1.5B-Instruct",
    "max_length": 4096,
    "lora_dropout": 0.0,
    "use_rslora": True,
    "lora_target_modules": TARGETS,
    "learning_rate": 2e-5,
    "lr_scheduler_type": "cosine",
    "weight_decay": 0.01,
    "optim": "adamw_8bit",
    "bf16": True,
    "fp16": False,
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "seed": 42,
}
V2 = {
    **BY_ALL,
    **{"lora_r": 128, "lora_alpha": 128, "num_train_epochs": 2, "warmup_steps": 20},
    **{"per_device_train_batch_size": 2, "gradient_accumulation_steps": 8},
}
V1 = {
    **BY_ALL,
    **{"lora_r": 64, "lora_alpha": 64, "num_train_epochs": 3, "warmup_steps": 30},
    **{"per_device_train_batch_size": 1, "gradient_accumulation_steps": 16},
}
RISK = {**V1, "warmup_steps": 20}
LAYOUT = ("per_device_train_batch_size", "gradient_accumulation_steps")
CLEAN = {key: value for key, value in V2.items() if key not in LAYOUT}
PADDED = {"packing": False, "order": "shuffled", "overflow": "truncate", "merge": True}

DOCUMENTED = {
    "unified-v1": {**V1, **PADDED, "recipe": "unified-v1", "allow_leak": False},
    "unified-v2": {**V2, **PADDED, "recipe": "unified-v2", "allow_leak": True},
    "unified-v3": {**V2, **PADDED, "recipe": "unified-v3", "allow_leak": True},
    "risk": {**RISK, **PADDED, "recipe": "risk", "allow_leak": False},
    "unified-clean": {**CLEAN, "recipe": "unified-clean", "overflow": "error", "allow_leak": False},
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_documented_config_has_the_documented_values(name: str) -> None:
    loaded = configs.load(name)
    assert {key: loaded.values[key] for key in DOCUMENTED[name]} == DOCUMENTED[name]
    assert loaded.step == 16
    assert loaded.warnings() == []


def test_a_first_try_needs_neither_cuda_nor_a_download() -> None:
    tiny = configs.load("tiny")
    assert tiny.recipe == "unified-clean"
    assert (tiny.backend, tiny.load_in_4bit, tiny.bf16, tiny.optim) == (
        *("trl", False, False),
        "adamw_torch",
    )
    assert not tiny.model_name_or_path.startswith("Qwen/")
    assert (tiny.overflow, tiny.allow_leak, tiny.packing) == ("error", False, False)


def test_the_documented_configs_are_shipped() -> None:
    assert {*DOCUMENTED, "tiny"} <= set(configs.shipped())


@pytest.mark.parametrize("name", configs.shipped())
def test_a_config_opens_with_how_to_run_it(name: str) -> None:
    text = (configs.FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    opening = text.partition("\n\n")[0].splitlines()
    assert all(line.startswith("#") for line in opening)
    assert any(f"python -m immune_train.sft --config {name} " in line for line in text.splitlines())


@pytest.mark.parametrize("name", configs.shipped())
def test_what_a_run_writes_can_be_trained_from_again(name: str, tmp_path: Path) -> None:
    overrides = [
        "eval_strategy=no",
        "learning_rate=3e-7",
        "gguf=[]",
        "records_train=7",
        "lr_scheduler_kwargs={a: 1}",
    ]
    first = configs.load(name, overrides)
    written = tmp_path / "config.yaml"
    written.write_text(first.text(), encoding="utf-8")
    again = configs.load(str(written))
    assert again.values == first.values
    assert again.learning_rate == 3e-7
    assert again.gguf == []


def test_overrides_are_read_as_yaml_and_each_value_says_where_it_is_from(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("extends: unified-clean\nlora_r: 32\nseed: 7\n")
    overrides = ["learning_rate=2e-6", "seed=8", "lora_target_modules=[q_proj, v_proj]"]
    overrides += [
        "eval_strategy=no",
        "bf16=false",
        "adam_epsilon=1e-9",
        "packing=no",
        "report_to=tensorboard",
    ]
    loaded = configs.load(str(own), overrides)
    expected = {
        "learning_rate": (2e-6, "command line"),
        "seed": (8, "command line"),
        "lora_target_modules": (["q_proj", "v_proj"], "command line"),
        "eval_strategy": ("no", "command line"),
        "bf16": (False, "command line"),
        "adam_epsilon": (1e-9, "command line"),
        "packing": (False, "command line"),
        "report_to": ("tensorboard", "command line"),
        "lora_r": (32, "mine.yaml"),
        "overflow": ("error", "unified-clean.yaml"),
        "lora_alpha": (128, "unified-v2.yaml"),
        "load_best_model_at_end": (True, "immune_train"),
        "adam_beta1": (0.9, "default"),
        "merge": (True, "default"),
    }
    assert {key: (loaded.values[key], loaded.origins[key]) for key in expected} == expected
    assert isinstance(loaded.learning_rate, float)
    assert loaded.name == "mine"
    for key, (_, origin) in expected.items():
        [line] = [line for line in loaded.text().splitlines() if line.startswith(f"{key}: ")]
        assert line.endswith(f"  # {origin}")
    assert set(loaded.origins) == set(loaded.values)


def test_nothing_is_reported_to_anyone_unless_asked_for() -> None:
    for name in configs.shipped():
        assert configs.load(name).report_to == "none"


def test_a_parent_is_looked_for_beside_its_child_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "child.yaml").write_text("extends: parent.yaml\n")
    (tmp_path / "here" / "parent.yaml").write_text("extends: tiny\nseed: 1\n")
    (tmp_path / "parent.yaml").write_text("extends: tiny\nseed: 2\n")
    monkeypatch.chdir(tmp_path)
    assert configs.load("here/child.yaml").seed == 1


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("lerning_rate=1e-5", "did you mean learning_rate?"),
        ("lora_alfa=8", "did you mean lora_alpha?"),
        ("maxlength=8", "did you mean max_length?"),
        ("allow_leaks=true", "did you mean allow_leak?"),
        ("qqqqqqqq=1", "is not a setting"),
        ("learning_rate", "key=value"),
        ("learning_rate=fast", "fast"),
        ("learning_rate=", "learning_rate"),
        ("learning_rate=null", "learning_rate"),
        ("learning_rate=[1, 2]", "has one value"),
        ("seed=1.5", "1.5"),
        ("bf16=perhaps", "perhaps"),
        ("overflow=cut", "'truncate'"),
        ("order=random", "'emitted'"),
        ("backend=axolotl", "'unsloth'"),
        ("lr_scheduler_type=cosinus", "'cosine'"),
        ("max_length=0", "at least 1"),
        ("max_length=-4", "at least 1"),
        ("max_length=null", "max_length"),
        ("per_device_train_batch_size=0", "at least 1"),
        ("gradient_accumulation_steps=0", "at least 1"),
        ("records_train=0", "at least 1"),
        ("lora_r=0", "at least 1"),
        ("learning_rate=-1e-3", "at least 0"),
        ("learning_rate=nan", "give a number"),
        ("learning_rate=.inf", "give a number"),
        ("weight_decay=-1", "at least 0"),
        ("adam_beta1=1.0", "below 1"),
        ("lora_dropout=1.5", "below 1"),
        ("lora_alpha=0", "at least 1"),
        ("lora_target_modules=[]", "all-linear"),
        ("lora_target_modules=null", "all-linear"),
        ("num_train_epochs=0", "more than 0"),
        ("max_steps=0", "at least 1, or -1"),
        ("max_steps=-2", "at least 1, or -1"),
        ("logging_steps=0", "more than 0"),
        ("eval_steps=-3", "more than 0"),
        ("save_steps=0", "more than 0"),
        ("save_total_limit=0", "at least 1"),
        ("seed=-1", "at least 0"),
        ("data_seed=4294967296", "at most 4294967295"),
        ("lr_scheduler_kwargs=5", "is a mapping"),
        ("gradient_checkpointing_kwargs=[1]", "is a mapping"),
        ("seed={", "is not YAML"),
        ("seed=2024-13-45", "is not YAML"),
        ("model_name_or_path=null", "no model is set"),
    ],
)
def test_a_wrong_override_is_a_sentence(override: str, says: str) -> None:
    with pytest.raises(ImmuneError) as error:
        configs.load("unified-v2", [override])
    assert says in str(error.value)
    assert override.partition("=")[0] in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("extends: tiny\nlerning_rate: 1\n", "lerning_rate (mine.yaml)"),
        ("extends: tiny\nlora_r: [8, 16]\n", "lora_r (mine.yaml) has one value"),
        ("extends: tiny\nlora_r: {a: 8}\n", "lora_r"),
        ("extends: tiny\nseed: 1\nlora_r: 8\nseed: 2\n", "seed is repeated"),
        ("extends: tiny\nlr_scheduler_kwargs: {a: 1, a: 2}\n", "a is repeated"),
        ("extends: mine.yaml\n", "extends itself"),
        ("extends: sub/../mine.yaml\n", "extends itself"),
        ("extends: ./other.yaml\n", "extends itself"),
        ("extends: unified-v9\n", "did you mean unified-v"),
        ("extends: absent.yaml\n", "no config absent.yaml"),
        ("extends: tiny\nmax_length: null\n", "max_length (mine.yaml)"),
        ("- extends\n- tiny\n", "is not a config"),
        ("", "is not a config"),
        ("1: 2\n", "is not a config"),
        ("seed: [1\n", "is not YAML"),
        ("seed: !!python/object:os.system 1\n", "is not YAML"),
        ("seed: 1\n", "no model is set"),
    ],
)
def test_a_wrong_file_is_a_sentence(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "other.yaml").write_text("extends: ./mine.yaml\n")
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ImmuneError) as error:
        configs.load(str(tmp_path / "mine.yaml"))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_config_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ImmuneError, match=r"did you mean unified-clean\?"):
        configs.load("unified-claen")
    with pytest.raises(ImmuneError, match="shipped are risk, tiny, unified-clean"):
        configs.load(str(tmp_path / "mine.yaml"))
    with pytest.raises(ImmuneError, match="no config"):
        configs.load(str(tmp_path))
    (tmp_path / "latin.yaml").write_bytes(b"# caf\xe9\nextends: tiny\n")
    with pytest.raises(ImmuneError, match="cannot read"):
        configs.load(str(tmp_path / "latin.yaml"))


@pytest.mark.parametrize(("rank", "on", "warned"), [(64, False, 1), (63, False, 0), (128, True, 0)])
def test_rslora_off_at_a_high_rank_is_warned_about(rank: int, on: bool, warned: int) -> None:
    loaded = configs.load("tiny", [f"lora_r={rank}", f"use_rslora={on}"])
    assert len(loaded.warnings()) == warned
    assert all("RSLoRA is off" in warning for warning in loaded.warnings())


def test_the_trainer_is_handed_the_settings(tmp_path: Path) -> None:
    loaded = configs.load("tiny", ["learning_rate=2e-5", "seed=7", "gradient_accumulation_steps=4"])
    made = loaded.trainer_arguments(tmp_path)
    assert (made.learning_rate, made.seed, made.data_seed) == (2e-5, 7, 7)
    assert (made.per_device_train_batch_size, made.gradient_accumulation_steps) == (3, 4)
    assert made.report_to == []
    # Rows come ready made: TRL must neither cut nor pack nor prepare them.
    assert (made.max_length, made.packing) == (None, False)
    assert made.dataset_kwargs == {"skip_prepare_dataset": True}


def test_settings_that_contradict_each_other_are_a_sentence(tmp_path: Path) -> None:
    loaded = configs.load("tiny", ["load_best_model_at_end=true", "eval_steps=30", "save_steps=20"])
    with pytest.raises(ImmuneError) as error:
        loaded.trainer_arguments(tmp_path)
    assert "config tiny cannot be used here" in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_may_stand_on_both_sides_of_an_option(refused: Callable[..., str]) -> None:
    sides = ["lora_alfa=8", "--config", "tiny", "--dry-run", "seed=7"]
    assert "did you mean lora_alpha?" in refused(sft.main, *sides)
    assert "did you mean lora_alpha?" in refused(sft.main, *sides[::-1][:2], *sides[1:3], sides[0])


@pytest.mark.parametrize("module", ["sft", "merge", "random_model"])
def test_help_loads_nothing_heavy(module: str, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom immune_data.common import cli\n"
        f"main = cli.module('immune_train.{module}').main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as done:\n    code = done.code\n"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'datasets', 'polars', 'duckdb'}\n"
        "print('heavy:', *heavy & {name.split('.')[0] for name in sys.modules})\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert (done.returncode, done.stderr) == (0, "")
    said, _, heavy = done.stdout.partition("heavy:")
    assert heavy.split() == []
    assert f"python -m immune_train.{module} " in said.partition("example")[2]


def test_the_package_needs_no_training_library() -> None:
    script = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'trl', 'peft', 'unsloth', 'datasets', 'tokenizers',"
        " 'yaml'):\n"
        "    sys.modules[name] = None\n"
        "import immune_train\n"
        "from immune_train.sft import __main__ as sft\n"
        "sft.parser()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("revision", ["1680e25e03d4", "1e5", "12", "true", "null", "2024-01-01"])
def test_text_that_looks_like_something_else_is_read_again_as_text(
    revision: str, tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").write_text(f'extends: tiny\nmodel_revision: "{revision}"\n')
    given = configs.load(str(tmp_path / "own.yaml"))
    assert given.model_revision == revision
    (tmp_path / "again.yaml").write_text(given.text())
    assert configs.load(str(tmp_path / "again.yaml")).values == given.values
