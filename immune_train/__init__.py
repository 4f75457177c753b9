"""Fine-tune one small model on the dataset that `immune_data` emits, and take it to the edge.

How data flows: `data` reads the records, renders and masks them, reports what a trainer would do
to them and batches them; `backends` load a model, `sft` trains it, `merge` makes one model of base
and adapter, `export` makes GGUF files of that model, `edge` runs them, `generate` writes answers.
"""

import immune_data  # noqa: F401 (it checks the operating system)
