"""The parts of a trainer that need no weights, made before any is loaded: what cannot be is said.

Settings in, nothing out: arguments, optimiser, schedule and reporters are made once and dropped.
"""

from __future__ import annotations

from pathlib import Path

from immune_data.common.errors import ImmuneError
from immune_train.backends import trl
from immune_train.configs import Config
from immune_train.data.plan import Plan


def rehearse(config: Config, plan: Plan) -> None:
    """See that a trainer can be made of the settings on this machine.

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
    what = f"report_to={config.report_to}"
    try:
        for reporter in get_reporting_integration_callbacks(arguments.report_to):
            reporter()
        what = f"optim={config.optim}"
        what += f" with optim_args={config.optim_args}" if config.optim_args else ""
        kind, given = Trainer.get_optimizer_cls_and_kwargs(arguments)
        weight = torch.nn.Parameter(torch.zeros(1))
        optimiser = kind([{"params": [weight], "weight_decay": config.weight_decay}], **given)
        what = f"lr_scheduler_type={config.lr_scheduler_type}"
        get_scheduler(
            config.lr_scheduler_type,
            optimizer=optimiser,
            num_warmup_steps=plan.warmup,
            num_training_steps=plan.steps,
            scheduler_specific_kwargs=arguments.lr_scheduler_kwargs,
        )
        what = f"gradient_checkpointing_kwargs={config.gradient_checkpointing_kwargs}"
        given = dict(arguments.gradient_checkpointing_kwargs or {})
        given.pop("selective", None)  # TRL's own
        checkpoint(torch.neg, weight, **{"use_reentrant": False, **given})
    except (ImportError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise ImmuneError(f"{what} cannot be used here: {said}") from None
