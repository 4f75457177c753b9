"""What commands load and read before they work, for `warm` to fork.

Nothing is computed here: what starts threads could not be forked. And it is left out of garbage
collection, which would look through it again and again while it is loaded (a seventh of the time),
and in each of the forks.
"""

import gc
from importlib import import_module

gc.disable()

LIBRARIES = (
    "duckdb",
    "gguf",
    "imports_of_training",
    "llama_cpp",
    "openai",
    "polars",
    "pyarrow.parquet",
)
for library in LIBRARIES:
    import_module(library)

cli = import_module("immune_data.common.cli")
for package in ("immune_data", "immune_train"):
    for verb in import_module(f"{package}.__main__").VERBS:
        cli.module(f"{package}.{verb}")
import_module("immune_data.contract.tokens").read_vocabulary()

gc.freeze()
gc.enable()
