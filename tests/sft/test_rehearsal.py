"""What a trainer cannot be made of is said before any weight is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from immune_train.sft import __main__ as sft

pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["report_to=dvclive"], "report_to=dvclive cannot be used here"),
        (["report_to=nobody"], "report_to=nobody cannot be used here"),
        (["optim=galore_adamw"], "optim=galore_adamw cannot be used here"),
        (["optim=sgd", "optim_args=momentum"], "optim_args=momentum cannot be used here"),
        (["optim=sgd", "optim_args=momentum=much"], "could not convert string to float"),
        (
            ["lr_scheduler_type=cosine", "lr_scheduler_kwargs={tempo: 1}"],
            "lr_scheduler_type=cosine cannot be used here",
        ),
        (["lr_scheduler_type=warmup_stable_decay"], "num_decay_steps"),
        (
            ["gradient_checkpointing=true", "gradient_checkpointing_kwargs={often: true}"],
            "gradient_checkpointing_kwargs={'often': True} cannot be used here",
        ),
        (["eval_steps=30", "save_steps=20", "load_best_model_at_end=true"], "multiple of"),
        (["attn_implementation=flash_attention_2"], "attn_implementation=flash_attention_2"),
        (["attn_implementation=mine"], "attn_implementation=mine"),
        (["lora_target_modules=[q_proj, v_prj]"], "v_prj, which is not a linear layer"),
        (["lora_target_modules=[lm_head]"], "lm_head, which is not a linear layer"),
        (["lora_target_modules=[embed_tokens]"], "it has down_proj, gate_proj"),
        (["dataloader_drop_last=true", "per_device_train_batch_size=99"], "drops all of"),
    ],
)
def test_what_cannot_be_is_refused_by_a_dry_run(
    settings: list[str],
    says: str,
    training_out: Callable[[str], Path],
    tiny_model: Path,
    refused: Callable[..., str],
) -> None:
    out = training_out("unified-clean")
    given = ["--config", "tiny", "--model", tiny_model, "--data", out, "--dry-run"]
    said = refused(sft.main, *given, *settings)
    assert says in said
    assert "\n" not in said


def test_what_needs_cuda_is_refused_below_the_report(
    training_out: Callable[[str], Path],
    tiny_model: Path,
    refused: Callable[..., str],
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is CUDA")
    out = training_out("unified-clean")
    for setting in ("load_in_4bit=true", "optim=adamw_8bit"):
        given = ["--config", "tiny", "--model", tiny_model, "--data", out, "--dry-run", setting]
        assert "which need CUDA and bitsandbytes" in refused(sft.main, *given)


@pytest.mark.parametrize(
    "settings",
    [
        ["lora_target_modules=all-linear"],
        ["lora_target_modules=[mlp.down_proj]"],
        ["optim=sgd", "optim_args=momentum=0.9"],
        ["lr_scheduler_type=cosine_with_min_lr", "lr_scheduler_kwargs={min_lr: 1.0e-6}"],
        ["lr_scheduler_type=reduce_lr_on_plateau"],
        ["gradient_checkpointing=true", "gradient_checkpointing_kwargs={use_reentrant: true}"],
        ["report_to=all"],
    ],
)
def test_what_can_be_is_not_refused(
    settings: list[str], training_out: Callable[[str], Path], tiny_model: Path
) -> None:
    out = str(training_out("unified-clean"))
    given = ["--config", "tiny", "--model", str(tiny_model), "--data", out, "--dry-run"]
    assert sft.main([*given, *settings]) == 0
