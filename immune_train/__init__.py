"""Fine-tune one small model on the dataset that `immune_data` emits, and take it to the edge.

The way of the data: `dataset` reads the records, `labels` renders and masks them, `preflight`
says what a trainer would do to them, `packing` batches them, `backends` load a model, `trainer`
trains it, `merge` makes one model of base and adapter, `export` makes GGUF files of that.
"""

import immune_data  # noqa: F401 (it says on which systems we run)
