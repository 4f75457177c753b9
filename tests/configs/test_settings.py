"""Every setting of TRL's `SFTConfig` and `ModelConfig` acts, or is refused with the reason.

A setting acts if another value of it leaves another adapter, other checkpoints, other losses on
record, or another model or loader. Each has its proof here; one without proof fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from training import as_rows, model_of_few_words, small_tokenizer

from immune_data.common.errors import ImmuneError
from immune_train import configs
from immune_train.backends import trl
from immune_train.configs import refused
from immune_train.sft import __main__ as sft

LENGTHS = [33, 60, 12, 8, 41, 22, 64, 17, 30]
PLAIN = (
    *("max_length=64", "logging_steps=2", "num_train_epochs=2", "save_strategy=no"),
    *("eval_strategy=no", "load_best_model_at_end=false", "learning_rate=1e-2"),
)
MEASURED = ("eval_strategy=steps", "eval_steps=2")
SAVED = ("save_strategy=steps", "save_steps=2")
# Steps so large that the best one is not the last, nor the same for each task.
BEST = (*MEASURED, *SAVED, "learning_rate=0.25")

# Settings by which another adapter is learned: one value, beside which others.
LEARNED: dict[str, tuple[str, ...]] = {
    "adam_beta1": ("0.5",),
    "adam_beta2": ("0.5",),
    "adam_epsilon": ("0.1",),
    "bf16": ("true",),
    "data_seed": ("7",),
    "dataloader_drop_last": ("true", "per_device_train_batch_size=2"),
    "gradient_accumulation_steps": ("2",),
    "learning_rate": ("1e-3",),
    "lr_scheduler_kwargs": ("{num_cycles: 1.5}", "lr_scheduler_type=cosine"),
    "lr_scheduler_type": ("linear",),
    "max_grad_norm": ("1e-3", "optim=sgd"),
    "max_steps": ("3",),
    "neftune_noise_alpha": ("5",),
    "num_train_epochs": ("1",),
    "optim": ("sgd",),
    "optim_args": ("momentum=0.9", "optim=sgd"),
    "packing": ("true", "lora_dropout=0.5"),
    "per_device_train_batch_size": ("2",),
    "seed": ("7",),
    "warmup_steps": ("2", "lr_scheduler_type=cosine"),
    "weight_decay": ("0.5",),
}
# What a run writes down or saves: the value, and settings beside it.
WRITTEN: dict[str, tuple[str, ...]] = {
    "eval_delay": ("4", *MEASURED),
    "eval_on_start": ("false", *MEASURED),
    "eval_steps": ("4", *MEASURED),
    "eval_strategy": ("epoch",),
    "greater_is_better": ("true", *BEST, "load_best_model_at_end=true"),
    "load_best_model_at_end": ("true", *BEST),
    "logging_first_step": ("true",),
    "logging_steps": ("1",),
    "logging_strategy": ("epoch",),
    "metric_for_best_model": ("eval_risk_loss", *BEST, "load_best_model_at_end=true"),
    "save_steps": ("5", *SAVED, "save_total_limit=null"),
    "save_strategy": ("epoch",),
    "save_total_limit": ("1", *SAVED),
}
# How the base is loaded, and what the adapter is.
LOADED: dict[str, tuple[str, ...]] = {
    "attn_implementation": ("eager",),
    "bnb_4bit_quant_type": ("fp4", "load_in_4bit=true"),
    "dtype": ("bfloat16",),
    "load_in_4bit": ("true",),
    "lora_alpha": ("8",),
    "lora_dropout": ("0.3",),
    "lora_r": ("8",),
    "lora_target_modules": ("[q_proj, v_proj]",),
    "model_name_or_path": ("acme/other",),
    "model_revision": ("v2",),
    "seed": ("7",),
    "use_bnb_nested_quant": ("false", "load_in_4bit=true"),
    "use_dora": ("true",),
    "use_rslora": ("false",),
}
# What has a test of its own: below, or `max_length` in test_preflight.
APART = {
    *("debug", "dataloader_pin_memory", "fp16", "full_determinism", "gradient_checkpointing"),
    *("gradient_checkpointing_kwargs", "log_level", "max_length", "per_device_eval_batch_size"),
    *("project", "report_to", "run_name", "tf32", "torch_empty_cache_steps"),
}


def names() -> list[str]:
    from trl import ModelConfig, SFTConfig

    return [field.name for kind in (SFTConfig, ModelConfig) for field in fields(kind) if field.init]


def test_each_setting_acts_or_is_refused() -> None:
    proofs = {*LEARNED, *WRITTEN, *LOADED, *APART}
    for key in names():
        assert (key in proofs) != (key in refused.REASONS), f"nothing says what {key} does"


# Refused


OTHER = {
    "output_dir": "elsewhere",
    "remove_unused_columns": "true",
    "use_peft": "false",
    "enable_jit_checkpoint": "false",
    "logging_nan_inf_filter": "true",
    "dataset_kwargs": "{add_special_tokens: true}",
    "include_num_input_tokens_seen": "true",
    "train_sampling_strategy": "sequential",
    "packing_strategy": "wrapped",
    "truncation_mode": "keep_end",
    "log_level_replica": "debug",
    "loss_type": "dft",
    "hub_strategy": "end",
    "lora_task_type": "SEQ_CLS",
    "bnb_4bit_quant_storage": "uint8",
    "activation_checkpointing": "true",
    "torch_compile_mode": "default",
    "dataloader_multiprocessing_context": "spawn",
    "ddp_backend": "gloo",
}


def another(key: str, value: Any) -> str:
    if key in OTHER:
        return OTHER[key]
    if isinstance(value, bool):
        return str(not value).lower()
    if isinstance(value, int | float):
        return str(value + 1)
    return "{a: 1}" if key.endswith(("_kwargs", "_config")) else "1"


@pytest.mark.parametrize("key", refused.REASONS)
def test_a_refused_setting_says_why(key: str) -> None:
    defaults = configs.defaults()
    other = f"{key}={another(key, defaults[key])}"
    if key in ("liger_kernel_config", "parallelism_config"):  # TRL's parser takes no value of them
        with pytest.raises(ImmuneError, match=key):
            configs.load("tiny", [other])
        return
    given = configs.load("tiny", [other])
    assert given.values[key] != defaults[key] or key in configs.DECIDED
    with pytest.raises(ImmuneError) as error:
        refused.check(given, defaults, "trl")
    said = str(error.value)
    assert said == f"{key} (command line) cannot be set here: {refused.REASONS[key]}"
    assert "\n" not in said
    # Its value in force may be given.
    in_force = configs.load("tiny").values[key]
    if in_force not in (None, []):
        refused.check(configs.load("tiny", [f"{key}={in_force}"]), defaults, "trl")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["adam_beta1=0.5", "optim=sgd"], "optimisers of the Adam family"),
        (["adam_epsilon=0.5", "optim=adafactor"], "optimisers of the Adam family"),
        (["optim_args=momentum=0.9"], "AdamW is set by"),
        (["run_name=mine"], "report_to is none"),
        (["project=mine", "report_to=tensorboard"], "report_to=trackio"),
    ],
)
def test_a_setting_that_acts_beside_others_only(settings: list[str], says: str) -> None:
    with pytest.raises(ImmuneError, match=says):
        refused.check(configs.load("tiny", settings), configs.defaults(), "trl")


def test_what_one_back_end_only_has() -> None:
    given = configs.load("tiny", ["attn_implementation=eager"])
    refused.check(given, configs.defaults(), "trl")
    with pytest.raises(ImmuneError, match="unsloth has its own attention"):
        refused.check(given, configs.defaults(), "unsloth")


@pytest.mark.parametrize("name", configs.shipped())
@pytest.mark.parametrize("backend", ["trl", "unsloth"])
def test_what_is_shipped_sets_nothing_in_vain(name: str, backend: str, tmp_path: Path) -> None:
    refused.check(configs.load(name), configs.defaults(), backend)
    written = tmp_path / "config.yaml"
    written.write_text(configs.load(name).text(), encoding="utf-8")
    refused.check(configs.load(str(written)), configs.defaults(), backend)


def test_the_command_refuses_before_it_reads_anything(refused: Callable[..., str]) -> None:
    said = refused(sft.main, "--config", "tiny", "label_smoothing_factor=0.1", "--dry-run")
    assert said.startswith("label_smoothing_factor (command line) cannot be set here: ")
    said = refused(sft.main, "--config", "tiny", "hub_token=hf_secret", "--dry-run")
    assert "hf_secret" not in said


# Those that act


def trained(folder: Path, *settings: str, callbacks: Sequence[Any] = (), start: bool = True) -> Any:
    """A trainer that has trained a tiny adapter."""
    import torch

    from immune_train.sft import progress, trainer

    torch.set_num_threads(1)
    loaded = configs.load("tiny", [*PLAIN, *settings])
    refused.check(loaded, configs.defaults(), "trl")
    rows = as_rows(LENGTHS)
    made = trainer.make(
        *(loaded, model_of_few_words(lora_dropout=loaded.lora_dropout)),
        *(small_tokenizer(None), rows, rows[:4], folder),
        [progress.last_step(), *callbacks],
    )
    if start:
        made.train()
    return made


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Any]:
    """`train(*settings)`: as `trained`, each in a folder of its own."""
    runs = iter(range(100))
    return lambda *settings, **more: trained(tmp_path / f"run{next(runs)}", *settings, **more)


@pytest.fixture(scope="session")
def without(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """`without(look, *settings)`: what `look` sees of a run of these, which is trained once."""

    @cache
    def seen(look: Callable[[Any], Any], *settings: str) -> Any:
        return look(run(*settings))

    @cache
    def run(*settings: str) -> Any:
        return trained(tmp_path_factory.mktemp("run"), *settings)

    return seen


def adapter(made: Any) -> list[list[float]]:
    return [w.flatten().tolist() for w in made.model.parameters() if w.requires_grad]


def written(made: Any) -> tuple[Any, ...]:
    folder = Path(made.args.output_dir)
    keys = [(log["step"], *log) for log in made.state.log_history]
    return keys, sorted(path.name for path in folder.glob("*")), adapter(made)


def test_the_same_settings_learn_the_same_adapter(train: Callable[..., Any]) -> None:
    assert adapter(train()) == adapter(train())


@pytest.mark.parametrize("key", LEARNED)
def test_another_adapter_is_learned(
    key: str, train: Callable[..., Any], without: Callable[..., Any]
) -> None:
    value, *beside = LEARNED[key]
    assert without(adapter, *beside) != adapter(train(*beside, f"{key}={value}"))


@pytest.mark.parametrize("key", WRITTEN)
def test_something_else_is_written(
    key: str, train: Callable[..., Any], without: Callable[..., Any]
) -> None:
    value, *beside = WRITTEN[key]
    assert without(written, *beside) != written(train(*beside, f"{key}={value}"))


def loaded(*settings: str) -> tuple[Any, ...]:
    """What a base is asked for with these settings, and the adapter that it gets."""
    import torch
    import transformers

    given = configs.load("tiny", settings)
    asked: list[Any] = []

    def from_pretrained(*names: str, **more: Any) -> Any:
        asked.extend((names, more))
        return model_of_few_words().unload()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(transformers, "BitsAndBytesConfig", lambda **given: given)
        patched.setattr(transformers.AutoModelForCausalLM, "from_pretrained", from_pretrained)
        if given.load_in_4bit:
            patched.setattr(trl, "check", lambda config: None)
            patched.setattr(torch.cuda, "is_available", lambda: True)
        model = trl.load(given)
    lora = model.peft_config["default"].to_dict()
    lora["target_modules"] = sorted(lora["target_modules"])
    weights = [w.flatten().tolist() for w in model.parameters() if w.requires_grad]
    return asked, lora, weights


loaded_once = cache(loaded)


@pytest.mark.parametrize("settings", sorted({tuple(beside) for _, *beside in LOADED.values()}))
def test_the_same_settings_load_the_same(settings: tuple[str, ...]) -> None:
    assert loaded_once(*settings) == loaded(*settings)


@pytest.mark.parametrize("key", LOADED)
def test_something_else_is_loaded(key: str) -> None:
    value, *beside = LOADED[key]
    assert loaded_once(*beside) != loaded(*beside, f"{key}={value}")


def test_checkpointing_is_switched_on(train: Callable[..., Any]) -> None:
    off = train("gradient_checkpointing=false", "max_steps=1")
    assert not off.model.is_activation_checkpointing
    for reentrant in (True, False):
        kwargs = f"gradient_checkpointing_kwargs={{use_reentrant: {reentrant}}}"
        made = train("gradient_checkpointing=true", kwargs, "max_steps=1")
        found = {
            module._gradient_checkpointing_func.keywords["use_reentrant"]
            for module in made.model.modules()
            if hasattr(module, "_gradient_checkpointing_func")
        }
        assert found == {reentrant}


def test_evaluation_batches(train: Callable[..., Any]) -> None:
    for rows, batches in ((1, 4), (3, 2)):
        made = train(f"per_device_eval_batch_size={rows}", start=False)
        assert len(made._eval_batches(list(made.eval_dataset))) == batches


def test_determinism_and_log_level(train: Callable[..., Any]) -> None:
    import torch
    from transformers.utils import logging

    before = logging.get_verbosity()
    try:
        train("full_determinism=true", "log_level=debug", start=False)
        assert torch.are_deterministic_algorithms_enabled()
        assert logging.get_verbosity() == logging.DEBUG
    finally:
        torch.use_deterministic_algorithms(False)
        logging.set_verbosity(before)


def test_caches_are_emptied(train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import trainer

    emptied = []
    monkeypatch.setattr(trainer, "clear_device_cache", lambda *_, **__: emptied.append(1))
    monkeypatch.setitem(refused.NEEDS, "torch_empty_cache_steps", (lambda values: True, ""))
    train("torch_empty_cache_steps=2", "max_steps=4")
    assert len(emptied) == 2


def test_overflow_is_looked_for(train: Callable[..., Any]) -> None:
    made = train("debug=underflow_overflow", "max_steps=1")
    hooked = sum(bool(module._forward_hooks) for module in made.model.modules())
    assert hooked > 10


def test_what_reports_is_told(train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import TrainerCallback
    from transformers.integrations import integration_utils

    class Report(TrainerCallback):
        pass

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "trackio", Report)
    made = train("report_to=trackio", "run_name=mine", "project=ours", start=False)
    assert any(isinstance(one, Report) for one in made.callback_handler.callbacks)
    assert (made.args.run_name, made.args.project) == ("mine", "ours")


def test_precisions_of_cuda_are_not_passed_over(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is CUDA")
    for setting, says in (("fp16=true", "needs CUDA"), ("tf32=true", "cannot be used here")):
        with pytest.raises(ImmuneError, match=says):
            train(setting, start=False)
    assert not train(start=False).args.dataloader_pin_memory
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(configs, "_sft_config", lambda: Arguments)
    for setting in (True, False):
        given = configs.Config("", {**VALUES, "dataloader_pin_memory": setting}, {})
        assert given.trainer_arguments(Path("x")).dataloader_pin_memory is setting


VALUES = {
    **{"dataloader_pin_memory": True, "data_seed": None, "seed": 1, "packing": False},
    "load_best_model_at_end": False,
}


@dataclass
class Arguments:
    """As much of TRL's as is asked for here, since that one looks for the device that it has."""

    output_dir: str
    max_length: int | None
    packing: bool
    data_seed: int
    use_cpu: bool
    dataloader_pin_memory: bool
