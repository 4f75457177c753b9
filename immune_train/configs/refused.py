"""Settings of TRL and transformers that would have no effect, or a wrong one, and why.

All their other settings take effect. Setting one of these to another value is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from immune_data.common.errors import ImmuneError

if TYPE_CHECKING:
    from immune_train.configs import Config

_ROWS = "conversations are rendered, masked, cut and packed by immune_train, with the model's own "
_ROWS += "tokenizer and template"
_EVALUATION = "an evaluation measures the mean loss per answer token, for each task and for all"
_LOSS = "the loss is the mean cross entropy of the answers' tokens"
_HUB = "publish a finished run with `python -m immune_train.publish`"
_SEVERAL = "several GPUs are used with torchrun, each with the whole model"
_LOADER = "rows are tokenised in memory, so there is nothing for other processes to load"
_BASE = "the base is chosen by model_name_or_path, model_revision, dtype, attn_implementation and "
_BASE += "load_in_4bit"
_ADAPTER = "the adapter is a LoRA adapter on the linear layers of a Qwen2 model"
_QUANTISED = "the base is loaded in 4 bits with load_in_4bit=true, or in 16"
_MEMORY = "if memory is too small, the run ends with a sentence that says what to lower"
_TERMINAL = "the first process shows a bar on a terminal, and lines elsewhere"
_RESUMING = "--resume resumes a run, with everything in its last checkpoint"
_CHECKPOINTING = "set gradient_checkpointing and gradient_checkpointing_kwargs"
_COMPILING = "conversations differ in length, so every step would be compiled again"

REASONS: dict[str, str] = {
    # What a conversation becomes
    "assistant_only_loss": _ROWS,
    "chat_template_path": _ROWS,
    "completion_only_loss": _ROWS,
    "dataset_kwargs": _ROWS,
    "dataset_num_proc": _ROWS,
    "dataset_text_field": _ROWS,
    "eos_token": _ROWS,
    "eval_packing": _ROWS,
    "label_names": _ROWS,
    "packing_strategy": _ROWS,
    "pad_to_multiple_of": _ROWS,
    "pad_token": _ROWS,
    "padding_free": _ROWS,
    "remove_unused_columns": _ROWS,
    "truncation_mode": _ROWS,
    # Their order
    "accelerator_config": "every record is read once per epoch, in batches of the configured sizes",
    "length_column_name": "the order is set by order=shuffled or order=emitted",
    "shuffle_dataset": "the order is set by order=shuffled or order=emitted",
    "train_sampling_strategy": "the order is set by order=shuffled or order=emitted",
    "dataloader_in_order": _LOADER,
    "dataloader_multiprocessing_context": _LOADER,
    "dataloader_num_workers": _LOADER,
    "dataloader_persistent_workers": _LOADER,
    "dataloader_prefetch_factor": _LOADER,
    # The model
    "bnb_4bit_quant_storage": _QUANTISED,
    "load_in_8bit": _QUANTISED,
    "lora_modules_to_save": _ADAPTER,
    "lora_target_parameters": _ADAPTER,
    "lora_task_type": _ADAPTER,
    "model_init_kwargs": _BASE,
    "router_aux_loss_coef": _ADAPTER,
    "trust_remote_code": "a Qwen2 model needs no code from its repository, and none is run",
    "use_cache": "there is nothing to cache while a model is trained",
    "use_peft": "only an adapter is trained",
    # The loss and the step
    "auto_find_batch_size": _MEMORY,
    "average_tokens_across_devices": _LOSS + " of a step, for any number of devices",
    "label_smoothing_factor": _LOSS,
    "loss_type": _LOSS,
    "optim_target_modules": "the optimiser trains the whole adapter",
    # Speed and memory
    "activation_checkpointing": _CHECKPOINTING,
    "activation_checkpointing_kwargs": _CHECKPOINTING,
    "activation_offloading": "memory is saved by gradient_checkpointing",
    "liger_kernel_config": "backend=unsloth has faster kernels than Liger's",
    "torch_compile": _COMPILING,
    "torch_compile_backend": _COMPILING,
    "torch_compile_mode": _COMPILING,
    "use_liger_kernel": "backend=unsloth has faster kernels than Liger's",
    # Evaluation
    "batch_eval_metrics": _EVALUATION,
    "bf16_full_eval": "an evaluation computes in the precision of the training",
    "do_eval": _EVALUATION,
    "eval_accumulation_steps": _EVALUATION,
    "eval_do_concat_batches": _EVALUATION,
    "eval_use_gather_object": _EVALUATION,
    "fp16_full_eval": "an evaluation computes in the precision of the training",
    "include_for_metrics": _EVALUATION,
    "prediction_loss_only": _EVALUATION,
    # Logging and saving
    "disable_tqdm": _TERMINAL,
    "include_num_input_tokens_seen": "the preflight counts the tokens",
    "log_level_replica": _TERMINAL,
    "log_on_each_node": _SEVERAL,
    "logging_nan_inf_filter": "training stops at the first loss that is not finite",
    "output_dir": "name the folder with --output",
    "save_on_each_node": _SEVERAL,
    "skip_memory_metrics": "benchmarks/gpu.py measures memory",
    # Stopping and resuming
    "enable_jit_checkpoint": "every run saves when it is interrupted",
    "ignore_data_skip": _RESUMING,
    "restore_callback_states_from_checkpoint": _RESUMING,
    "resume_from_checkpoint": _RESUMING,
    "save_only_model": _RESUMING,
    # Machines
    "ddp_backend": _SEVERAL,
    "ddp_broadcast_buffers": _SEVERAL,
    "ddp_bucket_cap_mb": _SEVERAL,
    "ddp_find_unused_parameters": _SEVERAL,
    "ddp_static_graph": _SEVERAL,
    "ddp_timeout": _SEVERAL,
    "deepspeed": _SEVERAL,
    "fsdp": _SEVERAL,
    "fsdp_config": _SEVERAL,
    "local_rank": _SEVERAL,
    "parallelism_config": _SEVERAL,
    "use_cpu": "the device is the first of CUDA_VISIBLE_DEVICES, or the CPU if that is empty",
    # Publishing
    "hub_always_push": _HUB,
    "hub_model_id": _HUB,
    "hub_private_repo": _HUB,
    "hub_revision": _HUB,
    "hub_strategy": _HUB,
    "hub_token": "the token for the Hub is read from HF_TOKEN",
    "push_to_hub": _HUB,
    "trackio_bucket_id": _HUB,
    "trackio_space_id": _HUB,
    "trackio_static_space_id": _HUB,
    # Switches of transformers' example scripts
    "do_predict": "this command trains",
    "do_train": "this command trains",
}

Values = Mapping[str, Any]


def _adam(values: Values) -> bool:
    return "adam" in values["optim"] or "lion" in values["optim"]


def _cuda(values: Values) -> bool:
    import torch

    return torch.cuda.is_available()


# Settings that take effect only with some values of others: the condition, and what they need.
NEEDS: dict[str, tuple[Callable[[Values], bool], str]] = {
    "adam_beta1": (_adam, "it is for optimisers of the Adam family"),
    "adam_beta2": (_adam, "it is for optimisers of the Adam family"),
    "adam_epsilon": (lambda v: "adam" in v["optim"], "it is for optimisers of the Adam family"),
    "attn_implementation": (lambda v: v["backend"] != "unsloth", "unsloth has its own attention"),
    "fp16": (_cuda, "float16 needs CUDA"),
    "gradient_checkpointing_kwargs": (
        lambda v: v["gradient_checkpointing"],
        "gradient_checkpointing is off",
    ),
    "lr_scheduler_kwargs": (
        lambda v: v["lr_scheduler_type"] not in ("constant", "constant_with_warmup"),
        "a constant learning rate has none",
    ),
    "model_revision": (
        lambda v: not Path(v["model_name_or_path"]).is_dir(),
        "it is for a model of the Hub, and the base is a folder",
    ),
    "optim_args": (
        lambda v: not v["optim"].startswith(("adamw_", "adafactor")) or "any" in v["optim"],
        "AdamW is set by adam_beta1, adam_beta2, adam_epsilon and weight_decay",
    ),
    "project": (lambda v: "trackio" in v["report_to"], "it is for report_to=trackio"),
    "run_name": (lambda v: v["report_to"] not in ("none", ["none"]), "report_to is none"),
    "torch_empty_cache_steps": (_cuda, "a CPU has no such cache"),
    "warmup_steps": (
        lambda v: v["lr_scheduler_type"] not in ("constant", "reduce_lr_on_plateau", "greedy"),
        "its lr_scheduler_type has no warm-up; constant_with_warmup has",
    ),
}


def check(config: Config, defaults: Values, backend: str) -> None:
    """Check that every setting takes effect with the chosen back end; `defaults` are TRL's own.

    Raises:
        ImmuneError: a setting has a value that would not take effect.
    """
    from immune_train.configs import DECIDED

    values = {**config.values, "backend": backend}
    for key in config.values:
        if values[key] == DECIDED.get(key, defaults[key]):
            continue
        reason = REASONS.get(key)
        if reason is None and key in NEEDS and not NEEDS[key][0](values):
            reason = NEEDS[key][1]
        if reason is not None:
            raise ImmuneError(f"{key} ({config.origins[key]}) cannot be set here: {reason}")
