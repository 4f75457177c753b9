"""An epoch reads each record once, by however many processes, in the steps of one."""

from __future__ import annotations

from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from immune_train.data.order import Order, blanks


def batches(order: Order, batch: int, processes: int) -> list[list[list[int]]]:
    """The batches of each process, as accelerate shares them out."""
    from accelerate.data_loader import BatchSamplerShard
    from torch.utils.data import BatchSampler

    sampler = BatchSampler(order, batch, drop_last=False)
    if processes == 1:
        return [list(sampler)]
    shards = [BatchSamplerShard(sampler, processes, index) for index in range(processes)]
    assert len({len(shard) for shard in shards}) == 1
    return [list(shard) for shard in shards]


def read(order: Order, records: int, batch: int, processes: int, turns: int) -> list[set[int]]:
    """The records of each step of an epoch."""
    of_each = batches(order, batch, processes)
    assert len({len(one) for one in of_each}) == 1
    steps = []
    for at in range(0, len(of_each[0]), turns):
        found = [i for one in of_each for group in one[at : at + turns] for i in group]
        kept = [i for i in found if i < records]
        assert len(kept) == len(set(kept))
        steps.append(set(kept))
    return steps


@given(
    *(st.integers(1, 40), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)),
    st.sampled_from([None, 7]),
    st.integers(0, 2),
)
@examples(200)
def test_processes_read_what_one_reads(
    records: int, batch: int, processes: int, turns: int, seed: int | None, epoch: int
) -> None:
    together = Order(records, records + blanks(records, batch, processes), seed)
    alone = Order(records, records, seed)
    for order in (together, alone):
        order.set_epoch(epoch)
    steps = read(together, records, batch, processes, turns)
    assert steps == read(alone, records, batch, 1, turns * processes)
    assert sorted(i for step in steps for i in step) == list(range(records))


def test_an_epoch_has_an_order_of_its_own() -> None:
    order = Order(50, 52, 3)
    seen: list[list[int]] = []
    for epoch in (0, 1, 0):
        order.set_epoch(epoch)
        seen.append(list(order))
    assert seen[0] == seen[2] != seen[1]
    assert [one[50:] for one in seen] == [[50, 51]] * 3
    assert list(Order(50, 52, 4)) != seen[0]
    assert list(Order(4, 4, None)) == [0, 1, 2, 3]


@pytest.mark.parametrize("step", [1, 3, 4])
def test_a_resumed_run_goes_on_in_the_order_of_its_epoch(step: int, tmp_path: Any) -> None:
    from training import as_rows, model_of_few_words, small_tokenizer

    from immune_train import configs
    from immune_train.sft import trainer

    rows = as_rows([9, 12, 15, 18, 21, 24, 27])

    def train(folder: str, *more: str, resume: str | None = None) -> list[list[int]]:
        loaded = configs.load(
            "tiny",
            [
                *("max_length=64", "per_device_train_batch_size=3", "num_train_epochs=3"),
                *("eval_strategy=no", "load_best_model_at_end=false", "save_steps=1"),
                *("save_total_limit=null", "logging_steps=1", *more),
            ],
        )
        made = trainer.make(
            loaded, model_of_few_words(), small_tokenizer(None), rows, rows, tmp_path / folder
        )
        seen: list[list[int]] = []
        collate = made.data_collator

        def watched(examples: Any) -> Any:
            seen.append([len(example["input_ids"]) for example in examples])
            return collate(examples)

        made.data_collator = watched
        made.train(resume_from_checkpoint=resume)
        return seen

    whole = train("whole")
    assert sorted(whole[0] + whole[1] + whole[2]) == [len(row.input_ids) for row in rows]
    again = train("again", resume=str(tmp_path / "whole" / f"checkpoint-{step}"))
    assert again[-(9 - step) :] == whole[step:9]
