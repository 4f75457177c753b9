"""llama-cpp-python's server on loopback, and models for it: a GGUF file in, its address out."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_START = 300.0  # seconds


@contextmanager
def serving(model: Path, log: Path, *, context: int, threads: int = 1) -> Iterator[str]:
    """The server's address, while it runs; what it says goes into `log`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "llama_cpp.server", "--model", str(model), "--port", str(port)),
        *("--host", "127.0.0.1", "--n_ctx", str(context), "--n_threads", str(threads)),
    ]
    with log.open("wb") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        address = f"http://127.0.0.1:{port}/v1"
        try:
            until = time.monotonic() + _START
            while True:
                assert process.poll() is None, log.read_text(errors="replace")
                try:
                    urllib.request.urlopen(f"{address}/models", timeout=5).close()
                    break
                except OSError:
                    assert time.monotonic() < until, log.read_text(errors="replace")
                    time.sleep(0.2)
            yield address
        finally:
            process.kill()


def rambling(folder: Path) -> Path:
    """A model of random weights that says a few words of nonsense and ends: `rambling.gguf`.

    The row of the token that ends an answer is made so long that it is chosen soon.
    """
    import torch
    from safetensors.torch import load_file, save_file

    from immune_data.contract.vocabulary import ADDED_TOKENS, END, FIRST_ADDED
    from immune_train.export import gguf_file
    from immune_train.random_model import __main__ as random_model

    model = random_model.write(
        folder / "rambling",
        "tiny",
        dtype="float16",
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        tie_word_embeddings=False,
        vocab_size=FIRST_ADDED + len(ADDED_TOKENS),
    )
    weights = load_file(model / "model.safetensors")
    rows = weights["lm_head.weight"]
    rows[FIRST_ADDED:] = 0
    rows[END] = torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(1)) * (
        3 * rows[:FIRST_ADDED].float().std()
    )
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    file = folder / "rambling.gguf"
    gguf_file.convert(gguf_file.read(model), "rambling", file)
    return file
