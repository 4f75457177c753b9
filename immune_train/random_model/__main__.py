"""Write a Qwen2.5 with random weights: a size and a seed in, a folder for `transformers` out.

Its answers are worthless, but it is enough to test everything about training: throughput, memory,
labels, checkpoints, conversion. The architectures are those of the Qwen2.5 models' config files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from immune_data.common import cli, files
from immune_data.common.errors import ImmuneError

if TYPE_CHECKING:
    from transformers import Qwen2Config

# `tiny` has rows of 256, the smallest that llama.cpp's k-quants support.
SIZES = {
    "tiny": (256, 512, 2, 4, 2, True),
    "0.5b": (896, 4864, 24, 14, 2, True),
    "1.5b": (1536, 8960, 28, 12, 2, True),
    "3b": (2048, 11008, 36, 16, 2, True),
}
_REACH = 1_250  # hidden size times gain at which logits can reach 25
VOCABULARY = 151_936  # rows of the embedding, a few more than the number of tokens


def config(size: str, **changes: Any) -> Qwen2Config:
    """The `Qwen2Config` of a size in `SIZES`."""
    from transformers import Qwen2Config

    hidden, intermediate, layers, heads, key_value_heads, tie_embeddings = SIZES[size]
    return Qwen2Config(
        **{
            "vocab_size": VOCABULARY,
            "hidden_size": hidden,
            "intermediate_size": intermediate,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": key_value_heads,
            "max_position_embeddings": 32_768,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": tie_embeddings,
            "bos_token_id": 151_643,
            "eos_token_id": 151_645,
            "pad_token_id": 151_643,
            **changes,
        }
    )


def write(
    folder: Path, size: str, *, seed: int = 0, dtype: str = "bfloat16", **changes: Any
) -> Path:
    """Write the model and its tokenizer; `changes` are further fields of `Qwen2Config`.

    Raises:
        ImmuneError: the folder already exists or cannot be written.
    """
    import torch
    from transformers import Qwen2ForCausalLM

    from immune_train.qwen_tokenizer import tokenizer

    if folder.exists():
        raise ImmuneError(f"{folder} already exists: remove it or name another with --output")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config(size, **changes))
        # Logits are sums over a row of the embedding. In a small model with this initialisation
        # they are too small to single out a token, so the loss could not fall below 6.9 nats.
        # Trained models have a larger gain here.
        model.model.norm.weight.data.fill_(max(1.0, _REACH / model.config.hidden_size))
        model.to(getattr(torch, dtype))
    with files.locked(folder.parent), files.staging(folder.parent) as hidden:
        model.save_pretrained(hidden / folder.name)
        tokenizer().save_pretrained(hidden / folder.name)
        files.move(hidden / folder.name, folder)
    return folder


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "immune_train.random_model",
        summary="Write a Qwen2.5 with random weights, to try training and conversion without a"
        " download.",
        example="python -m immune_train.random_model --size tiny --output data/models/tiny",
    )
    parser.add_argument(
        "--size", choices=SIZES, default="tiny", help="architecture (default: tiny)"
    )
    parser.add_argument(
        "--output", type=cli.folder, required=True, help="folder to write; must not exist"
    )
    parser.renamed(out="--output")
    parser.add_argument("--seed", type=cli.seed, default=0, help="seed of the weights (default: 0)")
    parser.add_argument(
        "--dtype",
        choices=("bfloat16", "float16", "float32"),
        default="bfloat16",
        help="type of the weights (default: bfloat16, as Qwen2.5 is published)",
    )
    return parser


def command(arguments: argparse.Namespace) -> None:
    from immune_train import backends

    backends.quiet()
    write(arguments.output, arguments.size, seed=arguments.seed, dtype=arguments.dtype)
    print(f"wrote {arguments.output}")


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
