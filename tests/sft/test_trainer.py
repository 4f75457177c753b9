"""The trainer's losses, by hand: of a step, of each task, and TRL's own on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from training import NO_LOSS, as_rows, model_of_few_words, small_tokenizer

from immune_train import configs

LENGTHS = [33, 60, 12, 8, 41, 22, 64, 17, 30]

Trainer = Callable[..., Any]


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    """`trainer(*settings)`: a trainer of a model whose adapter does something."""
    import torch

    from immune_train.sft import trainer as module

    torch.set_num_threads(1)

    def make(*more: str, lengths: Sequence[int] = LENGTHS) -> Any:
        settings = ["max_length=64", "order=emitted", "logging_steps=1", "save_strategy=no"]
        settings += ["eval_strategy=no", "load_best_model_at_end=false", "num_train_epochs=1"]
        loaded = configs.load("tiny", [*settings, *more])
        taken = as_rows(lengths)
        model = model_of_few_words(init_lora_weights=False)
        return module.make(loaded, model, small_tokenizer(None), taken, taken, tmp_path / "run")

    return make


def loss_of(model: Any, row: Any) -> tuple[float, int]:
    """The sum of the losses of a row's tokens, token by token."""
    import torch

    with torch.no_grad():
        logits = model(input_ids=torch.tensor([row.input_ids])).logits[0].double()
    chances = logits.log_softmax(-1)
    found = [
        -chances[at - 1, label].item()
        for at, label in enumerate(row.labels)
        if label != NO_LOSS and at
    ]
    return sum(found), len(found)


def mean(model: Any, rows: Sequence[Any]) -> float:
    found = [loss_of(model, row) for row in rows]
    return sum(loss for loss, _ in found) / sum(number for _, number in found)


@pytest.mark.parametrize("layout", ["packing=false", "packing=true"])
@pytest.mark.parametrize("batch", [1, 4])
def test_eval_losses_are_means_over_tokens_by_task(
    layout: str, batch: int, trainer: Trainer
) -> None:
    made = trainer(layout, f"per_device_eval_batch_size={batch}")
    found = made.evaluate()
    del found["epoch"]
    model = made.model.eval()
    expected = {"eval_loss": mean(model, as_rows(LENGTHS))}
    for task in ("summary", "cause", "risk"):
        of_task = [row for row in as_rows(LENGTHS) if row.task == task]
        expected[f"eval_{task}_loss"] = mean(model, of_task)
    assert found == pytest.approx(expected, rel=1e-5)
    assert len(set(found.values())) == 4
    [logged] = [log for log in made.state.log_history if "eval_loss" in log]
    assert {key: logged[key] for key in expected} == found


def test_only_tasks_that_are_there_are_measured(trainer: Trainer) -> None:
    found = trainer(lengths=[20, 30]).evaluate()
    assert set(found) == {"epoch", "eval_loss", "eval_summary_loss", "eval_cause_loss"}


@pytest.mark.parametrize("layout", ["packing=false", "packing=true"])
def test_a_steps_loss_is_the_mean_of_its_tokens(layout: str, trainer: Trainer) -> None:
    sizes = ["per_device_train_batch_size=2", "gradient_accumulation_steps=2"]
    made = trainer(layout, *sizes, "learning_rate=0.0")
    expected = [mean(made.model, as_rows(LENGTHS)[at : at + 4]) for at in (0, 4, 8)]
    made.train()
    logged = [log["loss"] for log in made.state.log_history if "loss" in log]
    assert logged == pytest.approx(expected, rel=1e-4)


def test_our_loss_is_trls(trainer: Trainer) -> None:
    """On the same batch, by the trainer's own way of computing one."""
    from trl import SFTTrainer

    made = trainer()
    batch = made.data_collator(list(made.train_dataset)[:4])
    number = (batch["labels"][:, 1:] != NO_LOSS).sum()
    for items in (None, number, number * 3):
        ours = made.compute_loss(made.model, dict(batch), num_items_in_batch=items)
        theirs = SFTTrainer.compute_loss(made, made.model, dict(batch), num_items_in_batch=items)
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_the_trainer_is_handed_rows_as_they_are(trainer: Trainer) -> None:
    made = trainer()
    rows = as_rows(LENGTHS)
    assert made.train_dataset["input_ids"] == [row.input_ids for row in rows]
    assert made.train_dataset["labels"] == [row.labels for row in rows]
    batches = [batch["labels"].tolist() for batch in made.get_train_dataloader()]
    kept = [[label for label in row if label != NO_LOSS] for batch in batches for row in batch]
    assert kept == [row.input_ids[row.answer :] for row in rows]
