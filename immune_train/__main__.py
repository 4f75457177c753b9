"""`python -m immune_train VERB …`, the same as `python -m immune_train.VERB …`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from immune_data.common import cli

VERBS = {
    "random_model": "write a tiny model of random weights, to try the others with",
    "sft": "fine-tune an adapter on an emitted dataset",
    "recall": "ask a trained model for records that it was trained on",
    "merge": "one 16-bit model of a run's adapter and base",
    "export": "GGUF files of a merged model, for llama.cpp",
    "generate": "ask a GGUF model about incidents",
    "score": "measure answers against the records' own",
    "evaluate": "say whether a model is any good: baselines, intervals, refusals",
    "bench_edge": "compare ways to ask a GGUF model on this machine",
    "publish": "the model on the Hugging Face Hub",
}


def main(argv: Sequence[str] | None = None) -> int:
    return cli.verbs("immune_train", VERBS, argv)


if __name__ == "__main__":
    sys.exit(main())
