"""Fine-tune one small model on the dataset that `immune_data` emits, and take it to the edge.

The way of the data: `data` reads the records, renders and masks them, says what a trainer would do
to them and batches them; `backends` load a model, `sft` trains it, `merge` makes one model of base
and adapter, `export` makes GGUF files of that, `edge` asks those, `generate` has them answer.
"""

import immune_data  # noqa: F401 (it says on which systems we run)
