"""The training loop: a model, tokenised rows and settings in, a trained adapter out.

TRL's `SFTTrainer` with additions: a step of packed micro-batches, the loss of each task at every
evaluation, and on a CPU a loss that computes logits only where a token carries loss.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from immune_data.common import files
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_train.configs import processes
from immune_train.data.labels import NO_LOSS
from immune_train.data.order import Order, blank, blanks
from immune_train.data.packing import MICRO_BATCHES, Packing, Padding, best_fit_decreasing, packed

_RUNNING = "immune running loss"  # a key of the trainer's saved state

if TYPE_CHECKING:
    from torch import Tensor

    from immune_train.configs import Config
    from immune_train.data.labels import Row


def make(
    config: Config,
    model: Any,
    tokenizer: Any,
    train: Sequence[Row],
    eval: Sequence[Row],
    output: Path,
    callbacks: Sequence[Any] = (),
    **changes: Any,
) -> Any:
    """The trainer of a run, whose checkpoints go to `output`; `changes` are `SFTConfig`'s.

    Raises:
        ImmuneError: the settings cannot be used on this machine.
    """
    from datasets import Dataset
    from transformers import PrinterCallback, ProgressCallback

    arguments = config.trainer_arguments(output, **changes)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    # TRL rounds an adapter on 4-bit weights to bfloat16, whose resolution is coarser than the steps
    # of a learning rate of 2e-5: the weights would hardly change. So the originals are restored.
    adapter = {
        name: weight.data for name, weight in model.named_parameters() if weight.requires_grad
    }
    rows = [_example(row) for row in train]
    batch = 0 if arguments.dataloader_drop_last else arguments.per_device_train_batch_size
    fill = blanks(len(rows), batch, processes.number()) if batch else 0
    seed = arguments.data_seed if config.order == "shuffled" else None
    order = Order(len(rows), len(rows) + fill, seed)
    trainer = _class()(
        model=model,
        args=arguments,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows + [blank(pad, train[0].task)] * fill),
        eval_dataset=Dataset.from_list([_example(row) for row in eval]),
        data_collator=Packing(config.capacity) if config.packing else Padding(pad),
    )
    for callback_class in (ProgressCallback, PrinterCallback):  # `progress` replaces them
        trainer.remove_callback(callback_class)
    for callback in (_epochs(order), _guard(trainer), *callbacks):
        trainer.add_callback(callback)
    for name, weight in trainer.model.named_parameters():
        if name in adapter:
            weight.data = adapter[name].to(weight.device)
    trainer.setup(config, pad, order)
    return trainer


def _epochs(order: Order) -> Any:
    """A callback that tells the order the current epoch, also in a resumed run."""
    from transformers import TrainerCallback

    class Epochs(TrainerCallback):
        def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            order.set_epoch(int(state.epoch or 0))

    return Epochs()


class NotFinite(CheckFailed):
    """Training produced numbers that are not finite; nothing of them was saved."""


def _guard(trainer: Any) -> Any:
    """A callback that checks each step's loss and gradient before the weights are changed."""
    from transformers import TrainerCallback

    class Guard(TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            trainer.refuse_step()

    return Guard()


def _example(row: Row) -> dict[str, Any]:
    return {"input_ids": row.input_ids, "labels": row.labels, "task": row.task}


def _class() -> type:
    """The trainer's class, defined late: unsloth replaces `SFTTrainer` when it is imported."""
    from contextlib import nullcontext

    import torch
    from trl import SFTTrainer

    class Trainer(SFTTrainer):
        control: Any
        processing_class: Any

        def setup(self, config: Config, pad_token: int, order: Order) -> None:
            self._config = config
            self._order = order
            self._pad_token = pad_token
            # Losses are sums over a step's tokens, divided by their number: they must not be
            # averaged over micro-batches again.
            self.model_accepts_loss_kwargs = True
            self._running: tuple[Any, int] | None = None

        def _send_telemetry(self) -> None:
            """Send nothing: TRL would report the trainer and the model."""

        def _get_train_sampler(self, train_dataset: Any = None) -> Order:
            return self._order

        def training_step(
            self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
        ) -> Tensor:
            batches = inputs.get(MICRO_BATCHES, [inputs])
            losses = []
            for number, batch in enumerate(batches, 1):
                # Processes may need different numbers of packs for a step, so their gradients
                # can be combined only after the last pack of each.
                unsynchronised = number < len(batches) and hasattr(model, "no_sync")
                with model.no_sync() if unsynchronised else nullcontext():
                    losses.append(super().training_step(model, batch, num_items_in_batch))
            loss = torch.stack(losses).sum()
            if self._running is None:
                self._running = self._at_checkpoint(loss)
            self._running = self._running[0] + loss, self._running[1]
            return loss

        def refuse_step(self) -> None:
            """Stop before a step whose loss or gradient is not finite.

            Raises:
                NotFinite: that is so in any process.
            """
            assert self._running is not None, "a step has a loss"
            loss = self._running[0]
            gradients = [weight.grad for weight in self.model.parameters() if weight.requires_grad]
            norm = torch.nn.utils.get_total_norm(
                [gradient for gradient in gradients if gradient is not None]
            )
            if self.args.fp16:  # its scaler tries such steps and skips them
                norm = torch.zeros_like(loss)
            numbers = torch.stack([loss, norm.to(loss)])
            if self.accelerator.num_processes > 1:
                numbers = self.accelerator.reduce(numbers)
            for name, number in zip(("loss", "gradient"), numbers.tolist(), strict=True):
                if not math.isfinite(number):
                    step = self.state.global_step + 1
                    raise NotFinite(f"the {name} of step {step:,} is {number}")

        # The losses since the last logged step, and its number, are saved in the checkpoint, so
        # that a resumed run logs the same as an uninterrupted one.

        def _at_checkpoint(self, loss: Tensor) -> tuple[Tensor, int]:
            saved_loss = self.state.stateful_callbacks.get(_RUNNING)
            total, since = saved_loss or (0.0, self.state.global_step)
            return torch.zeros_like(loss) + total, since

        def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
            if "loss" in logs and self._running is not None:
                total, since = self._running
                steps = max(1, self.state.global_step - since)
                logs["loss"] = self.accelerator.gather(total).mean().item() / steps
                self._running = torch.zeros_like(total), self.state.global_step
            super().log(logs, *args, **kwargs)

        def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            for weight in self.model.parameters():
                if weight.requires_grad and not weight.isfinite().all():
                    step = self.state.global_step
                    raise NotFinite(
                        f"the adapter has numbers that are not finite after step {step:,}"
                    )
            if self._running is not None:
                total, since = self._running
                loss = [self.accelerator.gather(total).mean().item(), since]
                self.state.stateful_callbacks[_RUNNING] = loss
            folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            try:
                super()._save_checkpoint(*args, **kwargs)
            except Exception as error:
                if not files.is_full(error):
                    raise
                shutil.rmtree(folder, ignore_errors=True)  # incomplete
                raise ImmuneError(
                    f"the disk of {folder.parent} is full, so step {self.state.global_step:,} "
                    "could not be saved: free some space, and resume with --resume"
                ) from None
            if self.args.should_save:
                files.follow_umask(folder)

        def _save(self, *args: Any, **kwargs: Any) -> None:
            """Leave out the tokenizer, which is beside the run's adapter and the same in all."""
            tokenizer, self.processing_class = self.processing_class, None
            try:
                super()._save(*args, **kwargs)
            finally:
                self.processing_class = tokenizer

        def compute_loss(
            self,
            model: Any,
            inputs: dict[str, Any],
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> Any:
            on_cpu = self.args.device.type == "cpu"
            single_process = self.accelerator.num_processes == 1
            if return_outputs or (single_process and not on_cpu):
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            if on_cpu:
                loss = answer_loss(model, inputs, num_items_in_batch)
            else:
                # TRL's own method gathers values for its log from all processes at every batch,
                # and would wait forever for a process with fewer batches.
                arguments = {**inputs, "use_cache": False, "fused_lm_head": True}
                outputs = model(**arguments)
                items = num_items_in_batch
                items = outputs.label_mask.sum() if items is None else torch.as_tensor(items)
                loss = -outputs.log_probs.sum() / items.clamp(min=1)
            several = num_items_in_batch is not None and self.args.average_tokens_across_devices
            return loss * self.accelerator.num_processes if several else loss

        def evaluate(
            self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
        ) -> dict[str, float]:
            """The mean loss per token, over all tasks and for each: `eval_risk_loss`, …"""
            examples = list(self.eval_dataset if eval_dataset is None else eval_dataset)
            tasks = sorted({example["task"] for example in examples})
            self.model.eval()
            totals = {
                task: self._total([e for e in examples if e["task"] == task]) for task in tasks
            }
            metrics = {f"{metric_key_prefix}_loss": _mean(totals.values())}
            for task, total in totals.items():
                metrics[f"{metric_key_prefix}_{task}_loss"] = _mean([total])
            for name, loss in metrics.items():
                if not math.isfinite(loss):
                    moment = f"after step {self.state.global_step:,}"
                    raise NotFinite(f"{name} {moment} is {loss}")
            self.log(metrics)
            self.model.train()
            self.control = self.callback_handler.on_evaluate(
                self.args, self.state, self.control, metrics
            )
            return metrics

        def _total(self, examples: list[dict[str, Any]]) -> tuple[float, int]:
            """The sum of the losses of the examples' tokens, and how many carry loss."""
            sums = torch.zeros(2, dtype=torch.float64)
            processes = self.accelerator.num_processes
            batches = self._eval_batches(examples)
            for inputs in batches[self.accelerator.process_index :: processes]:
                number = int((inputs["labels"][:, 1:] != NO_LOSS).sum())
                if not number:
                    continue
                with torch.no_grad(), self.compute_loss_context_manager():
                    loss = self.compute_loss(self.model, self._prepare_inputs(inputs))
                sums += torch.tensor([loss.item() * number, number], dtype=torch.float64)
            if processes > 1:
                sums = self.accelerator.reduce(sums.to(self.args.device, torch.float32)).cpu()
            return sums[0].item(), int(sums[1].item())

        def _eval_batches(self, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
            rows = self.args.per_device_eval_batch_size
            lengths = [len(example["input_ids"]) for example in examples]
            if self._config.packing:
                bins = best_fit_decreasing(lengths, self._config.max_length * rows)
                return [packed([examples[i] for i in bin]) for bin in bins]
            by_length = sorted(range(len(examples)), key=lambda i: (-lengths[i], i))
            pad = Padding(self._pad_token)
            return [
                pad([examples[i] for i in by_length[at : at + rows]])
                for at in range(0, len(examples), rows)
            ]

    return Trainer


def train_loss(state: Mapping[str, Any]) -> float:
    """The mean loss of all steps up to a checkpoint, from its saved state."""
    total, since = 0.0, 0
    for log in state["log_history"]:
        if "loss" in log:
            total += log["loss"] * (log["step"] - since)
            since = log["step"]
    running, _ = state["stateful_callbacks"].get(_RUNNING) or (0.0, since)
    return (total + running) / max(1, state["global_step"])


def _mean(totals: Collection[tuple[float, int]]) -> float:
    return sum(loss for loss, _ in totals) / max(1, sum(number for _, number in totals))


def answer_loss(model: Any, inputs: dict[str, Any], items: Any = None) -> Any:
    """Cross entropy of the tokens that carry loss, in float32, as their sum over `items`.

    Without `items` it is their mean. Logits are computed only where some row of the batch carries
    loss: the vocabulary is so large that all others would cost more than the rest of a small
    model. A batch without any such token has a loss and gradients of 0.
    """
    import torch
    from torch.nn import functional

    labels = functional.pad(inputs["labels"][:, 1:], (0, 1), value=NO_LOSS)
    arguments = {key: value for key, value in inputs.items() if key != "labels"}
    places = (labels != NO_LOSS).any(dim=0).nonzero()[:, 0]
    if not len(places):
        places = torch.zeros(1, dtype=torch.long, device=labels.device)
    logits = model(**arguments, use_cache=False, logits_to_keep=places).logits.float()
    targets = labels[:, places]
    total = functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=NO_LOSS, reduction="sum"
    )
    number = (targets != NO_LOSS).sum().clamp(min=1) if items is None else items
    return total / number
