"""llama-cpp-python's server on loopback, and models for it: a GGUF file in, its address out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(model: Path, *, context: int, threads: int = 1) -> Iterator[str]:
    """The server's address, while it runs in a thread of this process."""
    import uvicorn
    from llama_cpp.server.app import create_app
    from llama_cpp.server.settings import ModelSettings, ServerSettings

    numbers = {"n_ctx": context, "n_threads": threads, "n_threads_batch": threads}
    # Only what follows a prompt is asked for, and by default the server computes what would follow
    # each of its tokens, which takes most of its time with a small model of a large vocabulary.
    app = create_app(
        server_settings=ServerSettings(),
        model_settings=[ModelSettings(model=str(model), logits_all=False, **numbers)],
    )
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        [listening, *_] = server.servers[0].sockets
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()


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
