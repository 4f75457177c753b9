"""llama.cpp as we load it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import edge
import pytest

from immune_train.edge.llama_cpp_api import Model

BASE = b"CPU : SSE3 = 1 | AVX512_BF16 = 1 | "


@pytest.mark.parametrize(
    ("compiled_with", "stored_for_it"),
    [(BASE + b"AMX_INT8 = 1 | REPACK = 1 | ", False), (BASE + b"REPACK = 1 | ", True)],
)
def test_no_weights_are_stored_for_amx(
    shared_folder: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    compiled_with: bytes,
    stored_for_it: bool,
) -> None:
    import llama_cpp

    load = llama_cpp.llama_model_load_from_file
    asked: list[bool] = []

    def spied(path: bytes, parameters: Any) -> Any:
        asked.append(parameters.use_extra_bufts)
        return load(path, parameters)

    monkeypatch.setattr(llama_cpp, "llama_model_load_from_file", spied)
    monkeypatch.setattr(llama_cpp, "llama_print_system_info", lambda: compiled_with)
    Model(edge.random_gguf(shared_folder), vocab_only=True).close()
    assert asked == [stored_for_it]
