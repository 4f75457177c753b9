"""What a decoding step has to read: a GGUF file in, the bytes of the weights that each token takes
out.

All tensors but the table of embeddings, of which a token takes one row; where the file has no
output of its own, that table is the output too and is read whole.
"""

from __future__ import annotations

from pathlib import Path

from immune_train.artifacts import gguf_header

_EMBEDDINGS, _OUTPUT = "token_embd.weight", "output.weight"


def read_per_token(path: Path) -> int:
    """The bytes of weights that evaluating one token reads.

    Raises:
        ImmuneError: it is no whole GGUF file.
    """
    sizes = gguf_header.read(path).tensors
    tied = _OUTPUT not in sizes
    return sum(size for name, size in sizes.items() if tied or name != _EMBEDDINGS)
