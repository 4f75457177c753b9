"""What commands load and read before they work, for `warm` to fork.

Nothing is computed here: what starts threads could not be forked. And it is left out of garbage
collection, which would look through it in each of them.
"""

import gc

import duckdb  # noqa: F401
import gguf  # noqa: F401
import imports_of_training  # noqa: F401
import llama_cpp  # noqa: F401
import openai  # noqa: F401
import polars  # noqa: F401
import pyarrow.parquet  # noqa: F401

import immune_data.__main__
import immune_train.__main__
from immune_data.common import cli
from immune_data.contract import tokens

for package in (immune_data, immune_train):
    for verb in package.__main__.VERBS:
        cli.module(f"{package.__name__}.{verb}")
tokens.read_vocabulary()

gc.collect()
gc.freeze()
