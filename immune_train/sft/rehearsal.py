"""The parts of a trainer that need no weights, made first to find invalid settings.

Settings in, nothing out: arguments, optimiser, schedule and reporters are made once and dropped.
"""

from __future__ import annotations

from pathlib import Path

from immune_data.common.errors import ImmuneError
from immune_train.backends import trl
from immune_train.configs import Config
from immune_train.data.plan import Plan


def rehearse(config: Config, plan: Plan) -> None:
    """Check that a trainer can be made from the settings on this machine.

    Raises:
        ImmuneError: it cannot.
    """
    import torch
    from torch.utils.checkpoint import checkpoint
    from transformers import Trainer
    from transformers.integrations.integration_utils import get_reporting_integration_callbacks
    from transformers.optimization import get_scheduler

    trl.check(config)
    arguments = config.trainer_arguments(Path("unused"))
    setting = f"report_to={config.report_to}"
    try:
        for reporter in get_reporting_integration_callbacks(arguments.report_to):
            reporter()
        setting = f"optim={config.optim}"
        setting += f" with optim_args={config.optim_args}" if config.optim_args else ""
        kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments)
        weight = torch.nn.Parameter(torch.zeros(1))
        optimiser = kind([{"params": [weight], "weight_decay": config.weight_decay}], **options)
        setting = f"lr_scheduler_type={config.lr_scheduler_type}"
        get_scheduler(
            config.lr_scheduler_type,
            optimizer=optimiser,
            num_warmup_steps=plan.warmup,
            num_training_steps=plan.steps,
            scheduler_specific_kwargs=arguments.lr_scheduler_kwargs,
        )
        setting = f"gradient_checkpointing_kwargs={config.gradient_checkpointing_kwargs}"
        options = dict(arguments.gradient_checkpointing_kwargs or {})
        options.pop("selective", None)  # TRL's own
        checkpoint(torch.neg, weight, **{"use_reentrant": False, **options})
    except (ImportError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImmuneError(f"{setting} cannot be used here: {reason}") from None
