"""What a GGUF file says of itself is read without llama.cpp, and what is not whole is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gguf")

from gguf import GGUFWriter

from immune_data.common.errors import ImmuneError
from immune_train.artifacts import gguf_header

TENSORS = {"token_embd.weight": 160, "blk.0.ffn_up.weight": 80, "output_norm.weight": 8}


def written(path: Path, alignment: int | None = None) -> Path:
    writer = GGUFWriter(path, "qwen2")
    if alignment is not None:
        writer.add_custom_alignment(alignment)
    writer.add_string("immune.recipe", "naïve 日本")
    writer.add_array("tokenizer.ggml.tokens", ["a", "", "é" * 300])
    writer.add_array("tokenizer.ggml.token_type", [1, 2, 3])
    writer.add_bool("a truth", True)
    writer.add_float64("a number", 0.5)
    for name, size in TENSORS.items():
        writer.add_tensor(name, np.arange(size, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("alignment", [None, 64])
def test_texts_and_sizes_are_those_of_the_file(tmp_path: Path, alignment: int | None) -> None:
    path = written(tmp_path / "made.gguf", alignment)
    found = gguf_header.read(path)
    assert found.texts == {"general.architecture": "qwen2", "immune.recipe": "naïve 日本"}
    # Each is filled up to the alignment.
    unit = alignment or 32
    assert found.tensors == {name: -(-4 * size // unit) * unit for name, size in TENSORS.items()}


def test_a_file_that_is_cut_in_its_header_is_a_sentence(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.gguf").read_bytes()
    path = tmp_path / "cut.gguf"
    for length in range(
        len(whole) - sum(gguf_header.read(tmp_path / "whole.gguf").tensors.values())
    ):
        path.write_bytes(whole[:length])
        with pytest.raises(ImmuneError, match=r"is not a GGUF file|is damaged or cut short"):
            gguf_header.read(path)


@pytest.mark.parametrize("number", [1000, 1 << 20, (1 << 63) - 1, (1 << 64) - 1])
def test_a_file_whose_numbers_are_wrong_is_a_sentence(tmp_path: Path, number: int) -> None:
    """The number of tensors, of keys, and the length of the first key."""
    whole = written(tmp_path / "whole.gguf").read_bytes()
    path = tmp_path / "wrong.gguf"
    for at in (8, 16, 24):
        path.write_bytes(whole[:at] + struct.pack("<Q", number) + whole[at + 8 :])
        with pytest.raises(ImmuneError, match="is damaged or cut short"):
            gguf_header.read(path)
    path.write_bytes(whole[:4] + struct.pack("<I", 1) + whole[8:])
    with pytest.raises(ImmuneError, match="is damaged or cut short"):
        gguf_header.read(path)
