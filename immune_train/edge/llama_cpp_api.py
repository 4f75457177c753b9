"""llama.cpp as we use it: a GGUF file in, its tokens, and the logits of tokens in sequences, out.

Straight over the library's own functions: the class that llama-cpp-python has for a model knows
one sequence, and tasks that share their evidence are answered in several.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from immune_data.common.errors import ImmuneError
from immune_train.artifacts import gguf_header

INSTALL = "pip install llama-cpp-python"

_ERROR = 4  # llama.cpp's level of a line in its log


class Model:
    """A GGUF file that llama.cpp has loaded.

    Args:
        vocab_only: load what the file says of itself and its tokens, and no weights.

    Raises:
        ImmuneError: it is no GGUF file or cannot be loaded, or llama-cpp-python is missing.
    """

    def __init__(self, path: Path, *, vocab_only: bool = False) -> None:
        self.path = path
        gguf_header.check(path)
        self._library: Any = _library()
        said = silence()
        self._library.llama_backend_init()
        parameters = self._library.llama_model_default_params()
        parameters.n_gpu_layers = 0
        parameters.vocab_only = vocab_only
        # llama.cpp ends the process where it uses AMX and GCC has compiled it (ggml-org/llama.cpp,
        # pull request 26954). Only weights that are stored for such instructions use them.
        parameters.use_extra_bufts = b"AMX_INT8 = 1" not in self._library.llama_print_system_info()
        self.model = self._library.llama_model_load_from_file(bytes(path), parameters)
        if not self.model:
            reason = f" ({said[-1]})" if said else ""
            raise ImmuneError(
                f"llama.cpp cannot load {path}{reason}: is the file whole, and is there memory?"
            )
        # At the latest when Python ends, before it takes llama_cpp apart.
        self._freed = weakref.finalize(self, self._library.llama_model_free, self.model)
        self.vocabulary = self._library.llama_model_get_vocab(self.model)
        self.size = self._library.llama_vocab_n_tokens(self.vocabulary)  # tokens, added ones too

    def close(self) -> None:
        self._freed()

    @cached_property
    def ends(self) -> list[int]:
        """The tokens that llama.cpp takes for ends of a text; some of them are text, as `</s>`."""
        is_end = self._library.llama_vocab_is_eog
        return [token for token in range(self.size) if is_end(self.vocabulary, token)]

    @property
    def trained_context(self) -> int:
        """The tokens that the model's positions reach."""
        return self._library.llama_model_n_ctx_train(self.model)

    def tokenise(self, text: str, *, special: bool = False) -> list[int]:
        """The tokens of a text; a control token in it counts as one only if `special`."""
        content = text.encode()
        room = len(content) + 2
        found = (ctypes.c_int32 * room)()
        count = self._library.llama_tokenize(
            self.vocabulary, content, len(content), found, room, False, special
        )
        return list(found[:count])


class Context:
    """A model's memory of some sequences of tokens, which can share what they begin with.

    Args:
        cells: tokens that all sequences hold together.
        batch: the most tokens of one call of `decode`.
        flash: whether to use flash attention; None leaves it to llama.cpp.

    Raises:
        ImmuneError: there is no memory for it.
    """

    def __init__(
        self,
        model: Model,
        cells: int,
        *,
        batch: int,
        threads: int,
        sequences: int = 1,
        flash: bool | None = None,
    ) -> None:
        self._model = model
        self._library: Any = _library()
        library = self._library
        parameters = library.llama_context_default_params()
        parameters.n_ctx = cells
        parameters.n_batch = parameters.n_ubatch = batch
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.n_seq_max = sequences
        parameters.kv_unified = True  # or each sequence would have its share, and share nothing
        parameters.no_perf = True
        if flash is not None:
            parameters.flash_attn_type = (
                library.LLAMA_FLASH_ATTN_TYPE_ENABLED
                if flash
                else library.LLAMA_FLASH_ATTN_TYPE_DISABLED
            )
        fits = cells < 1 << 31  # llama.cpp's own numbers end there
        self._context = library.llama_init_from_model(model.model, parameters) if fits else None
        if not self._context:
            raise ImmuneError(
                f"there is no memory for {cells:,} tokens of context with {model.path.name}: "
                "close other programs, or use another machine"
            )
        self._batch = library.llama_batch_init(batch, 0, 1)
        self._memory = library.llama_get_memory(self._context)
        self._freed = weakref.finalize(self, _free, library, self._context, self._batch)

    def close(self) -> None:
        self._freed()

    def decode(self, tokens: Sequence[tuple[int, int, int, bool]]) -> None:
        """Evaluate tokens: for each its id, its position, its sequence, and if logits are wanted.

        Raises:
            ImmuneError: llama.cpp cannot.
        """
        batch = self._batch
        for i, (token, position, sequence, wanted) in enumerate(tokens):
            batch.token[i], batch.pos[i] = token, position
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
            batch.logits[i] = wanted
        batch.n_tokens = len(tokens)
        if self._library.llama_decode(self._context, batch):
            raise ImmuneError(
                f"llama.cpp cannot evaluate {self._model.path.name}: there may be too little "
                "memory, or the file is damaged"
            )

    def logits(self, i: int) -> np.ndarray:
        """Those after token `i` of the last call of `decode`; the next one overwrites them."""
        logits = self._library.llama_get_logits_ith(self._context, i)
        return np.ctypeslib.as_array(logits, shape=(self._model.size,))

    def share(self, source: int, target: int, length: int) -> None:
        """Let a sequence begin with the first `length` tokens of another, and hold no more."""
        self.drop(target)
        self._library.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def drop(self, sequence: int, start: int = 0) -> None:
        """Forget a sequence from position `start` on."""
        self._library.llama_memory_seq_rm(self._memory, sequence, start, -1)


def _free(library: Any, context: Any, batch: Any) -> None:
    library.llama_batch_free(batch)
    library.llama_free(context)


def _library() -> Any:
    try:
        import llama_cpp
    except ImportError as error:
        raise ImmuneError(f"llama-cpp-python cannot be loaded ({error}): {INSTALL}") from None
    return llama_cpp


_said: list[str] = []
_listener: Any = None


def silence() -> list[str]:
    """Keep llama.cpp from writing to the terminal; its complaints, from now on, in a list."""
    global _listener
    library = _library()
    _said.clear()
    if _listener is None:

        @library.llama_log_callback
        def listener(level: int, text: bytes, _: Any) -> None:
            if level == _ERROR and (line := " ".join(text.decode("utf-8", "replace").split())):
                _said.append(line)

        _listener = listener  # llama.cpp has its address: it may never go away
    library.llama_log_set(_listener, ctypes.c_void_p(0))
    return _said
