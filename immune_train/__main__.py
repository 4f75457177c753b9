"""`python -m immune_train VERB …`, the same as `python -m immune_train.VERB …`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from immune_data.common import cli

VERBS = {
    "random_model": "write a tiny model with random weights, to try the other commands",
    "sft": "fine-tune an adapter on an emitted dataset",
    "recall": "ask a trained model about records that it was trained on",
    "merge": "write a run's adapter and base as one 16-bit model",
    "export": "write GGUF files of a merged model, for llama.cpp",
    "generate": "ask a GGUF model about incidents",
    "score": "compare answers with those of the records",
    "evaluate": "compare models with the reference and baselines, with intervals",
    "bench_edge": "compare ways to ask a GGUF model on this machine",
    "publish": "publish the model on the Hugging Face Hub",
}


def main(argv: Sequence[str] | None = None) -> int:
    return cli.verbs("immune_train", VERBS, argv)


if __name__ == "__main__":
    sys.exit(main())
