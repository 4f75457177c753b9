"""The order in which an epoch reads the records: each once, by one process or several.

Several processes take batches in turn, and all need the same number. Libraries fill the last
batches with records that were already read; here they are filled with blanks, which carry no loss.
"""

from __future__ import annotations

from collections.abc import Iterator

from immune_train.data.labels import NO_LOSS


def blanks(records: int, batch: int, processes: int) -> int:
    """How many blanks follow the records, so that all processes have equally many full batches."""
    return -records % (batch * processes) if processes > 1 else 0


def blank(pad_token: int, task: str) -> dict[str, object]:
    """A row without loss."""
    return {"input_ids": [pad_token], "labels": [NO_LOSS], "task": task}


class Order:
    """A sampler: the records, shuffled again each epoch or as they are, then the blanks."""

    def __init__(self, records: int, rows: int, seed: int | None) -> None:
        self._records, self._rows, self._seed = records, rows, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[int]:
        import torch

        if self._seed is None:
            yield from range(self._records)
        else:
            chance = torch.Generator().manual_seed(self._seed + self.epoch)
            yield from torch.randperm(self._records, generator=chance).tolist()
        yield from range(self._records, self._rows)
