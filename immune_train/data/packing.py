"""Batches: the rows of an optimiser step in, the micro-batches that a model reads out.

Without packing a micro-batch consists of rows padded on the right to the longest of them. With
packing it is one row of whole conversations, one after the other: positions restart with each, and
`cu_seq_lens` says where they meet, so that no conversation attends to another.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from immune_data.common.errors import ImmuneError
from immune_train.data.labels import NO_LOSS

if TYPE_CHECKING:
    import torch

Example = dict[str, Any]

MICRO_BATCHES = "micro_batches"


def best_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Bins of indices whose lengths sum to at most `capacity`, none split.

    The longest goes first, each into the fullest bin with enough space (Johnson, 1973: at most 11/9
    of the optimal number of bins). Ties go to the lower index and the earlier bin, so that the same
    lengths give the same bins.

    Raises:
        ImmuneError: one is longer than a bin.
    """
    bins: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (free space, bin), sorted
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if lengths[i] > capacity:
            raise ImmuneError(
                f"a conversation of {lengths[i]:,} tokens does not fit a pack of {capacity:,}: "
                "raise max_length"
            )
        at = bisect_left(room, (lengths[i], 0))
        if at == len(room):
            bins.append([])
            space, bin = capacity, len(bins) - 1
        else:
            space, bin = room.pop(at)
        bins[bin].append(i)
        insort(room, (space - lengths[i], bin))
    return bins


def padded(examples: Sequence[Example], pad_token: int) -> dict[str, torch.Tensor]:
    """A micro-batch of rows padded on the right: `input_ids`, `attention_mask`, `labels`.

    Each is of shape (rows, longest row); padding attends to nothing and carries no loss.
    """
    import torch

    longest = max(len(example["input_ids"]) for example in examples)

    def tensor(rows: list[list[int]], fill: int) -> torch.Tensor:
        return torch.tensor([row + [fill] * (longest - len(row)) for row in rows])

    ids = [list(example["input_ids"]) for example in examples]
    return {
        "input_ids": tensor(ids, pad_token),
        "attention_mask": tensor([[1] * len(row) for row in ids], 0),
        "labels": tensor([list(example["labels"]) for example in examples], NO_LOSS),
    }


def packed(examples: Sequence[Example]) -> dict[str, Any]:
    """A micro-batch of one row: the whole conversations, one after the other.

    `input_ids`, `position_ids` and `labels` are of shape (1, tokens); `cu_seq_lens_q` and `_k`
    are the places where conversations start and the last one ends, `max_length_q` and `_k` the
    longest one, under the names that `transformers` passes to attention kernels.
    """
    import torch

    lengths = [len(example["input_ids"]) for example in examples]
    labels = [
        # A conversation's first token follows the last one of another: nothing to learn.
        label
        for example in examples
        for label in (NO_LOSS, *example["labels"][1:])
    ]
    borders = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    return {
        "input_ids": torch.tensor([[i for e in examples for i in e["input_ids"]]]),
        "position_ids": torch.tensor([[i for length in lengths for i in range(length)]]),
        "labels": torch.tensor([labels]),
        "cu_seq_lens_q": borders,
        "cu_seq_lens_k": borders,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }


class Padding:
    """A collator of padded micro-batches."""

    def __init__(self, pad_token: int) -> None:
        self._pad_token = pad_token

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        return padded(examples, self._pad_token)


class Packing:
    """A collator that packs all conversations of an optimiser step into few micro-batches.

    `capacity` is the most tokens of a micro-batch. `labels`, next to the micro-batches, contains
    the labels of all of them, so that a trainer can count the tokens that carry loss.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        import torch

        lengths = [len(example["input_ids"]) for example in examples]
        bins = best_fit_decreasing(lengths, self._capacity)
        batches = [packed([examples[i] for i in sorted(bin)]) for bin in bins]
        return {
            MICRO_BATCHES: batches,
            "labels": torch.cat([batch["labels"] for batch in batches], dim=1),
        }


def layout(lengths: Sequence[int], rows: int, step: int, capacity: int) -> tuple[float, float]:
    """Two layouts of the same steps: the share of padding if padded, the packs per step if packed.

    `lengths` are in the order of the dataset, `step` is the number of conversations per step and
    `rows` the number per padded batch, whose rows are all as long as its longest.
    """
    batches = [lengths[i : i + rows] for i in range(0, len(lengths), rows)]
    padded_to = sum(len(batch) * max(batch) for batch in batches)
    steps = [lengths[i : i + step] for i in range(0, len(lengths), step)]
    packs = sum(len(best_fit_decreasing(of_step, capacity)) for of_step in steps)
    return 1 - sum(lengths) / padded_to, packs / len(steps)
