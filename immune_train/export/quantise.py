"""Quantise a GGUF file with llama.cpp: a 16-bit file and a type in, a smaller file out.

Problems that llama.cpp would only find late, or silently work around, are checked first: rows that
do not fit a type, and an importance matrix of another model.
"""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from immune_data.common.digests import sha256
from immune_data.common.errors import ImmuneError

if TYPE_CHECKING:
    import numpy as np

    from immune_train.export.gguf_file import Tensor

# llama.cpp's id of each type, and how many numbers it packs into one block of a row. It repacks
# q4_0 and iq4_nl on loading, for the dot products of ARM processors.
QUANTS = {
    "q4_k_m": (15, 256),
    "q5_k_m": (17, 256),
    "q6_k": (18, 256),
    "q8_0": (7, 32),
    "q4_0": (2, 32),
    "iq4_nl": (25, 32),
}
SIXTEEN = "f16"
NAMES = (*QUANTS, SIXTEEN)
DEFAULT = ("q4_k_m", "q5_k_m", "q8_0")

_MEMORY = 1 << 29  # bytes of tensors that llama.cpp has in memory at a time


@dataclass(frozen=True)
class Importance:
    """An importance matrix: how much each column of a tensor mattered on some text."""

    file: str
    sha256: str
    chunks: int
    values: dict[str, np.ndarray]


def check_names(quants: Sequence[str]) -> None:
    """Refuse an unknown type.

    Raises:
        ImmuneError: `export` does not support it.
    """
    for quant in quants:
        if quant not in NAMES:
            raise ImmuneError(f"gguf has {quant}, which is not a type: use {', '.join(NAMES)}")


def check_rows(tensors: Sequence[Tensor], quants: Sequence[str]) -> None:
    """Refuse a type whose blocks do not divide the rows of every matrix.

    Raises:
        ImmuneError: llama.cpp would store some tensors in another type.
    """
    for quant in quants:
        block = QUANTS[quant][1]
        for tensor in tensors:
            if tensor.is_matrix and tensor.shape[-1] % block:
                alternatives = [
                    name for name, (_, size) in QUANTS.items() if not tensor.shape[-1] % size
                ]
                raise ImmuneError(
                    f"{quant} packs {block} numbers at a time, and the rows of {tensor.original} "
                    f"have {tensor.shape[-1]:,}, which is not a multiple of it: "
                    + (
                        f"take --quant {' '.join(alternatives)}"
                        if alternatives
                        else "take --quant f16"
                    )
                )


def read_importance(path: Path, tensors: Sequence[Tensor]) -> Importance:
    """The importance matrix that `llama-imatrix` wrote for this model.

    Raises:
        ImmuneError: it cannot be read, or is of another model.
    """
    import numpy as np
    from gguf import GGUFReader

    if not path.is_file():
        raise ImmuneError(f"{path} does not exist: make it with llama-imatrix")
    message = f"{path} is not an importance matrix in GGUF format: make it with a new llama-imatrix"
    with path.open("rb") as file:
        if b"imatrix" not in file.read(1 << 16):  # a whole model would take a minute to read
            raise ImmuneError(message)
    try:
        reader = GGUFReader(path)
        kind = reader.fields["general.type"].contents()
        chunks = int(reader.fields["imatrix.chunk_count"].contents())
        arrays = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
    except (ValueError, KeyError, OSError, IndexError):
        raise ImmuneError(message) from None
    if kind != "imatrix":
        raise ImmuneError(message)
    values = {}
    for key, sums in arrays.items():
        name, dot, suffix = key.rpartition(".")
        if not dot or suffix != "in_sum2":
            continue
        count = float(arrays.get(f"{name}.counts", np.ones(1)).ravel()[0])
        row = sums.astype(np.float32).ravel()
        values[name] = row / np.float32(count) if count > 0 else np.ones_like(row)
    _check_importance(path, values, tensors)
    return Importance(path.name, sha256(path), chunks, values)


def _check_importance(path: Path, values: dict[str, np.ndarray], tensors: Sequence[Tensor]) -> None:
    import numpy as np

    rows = {tensor.name: tensor.shape[-1] for tensor in tensors if tensor.is_matrix}
    advice = "make it with llama-imatrix from this model's own f16 file (--f16)"
    for name, row in values.items():
        if rows.get(name) != len(row):
            problem = f"rows of {rows[name]:,}" if name in rows else "no such tensor"
            raise ImmuneError(
                f"{path} is of another model, with rows of {len(row):,} in {name} where this one "
                f"has {problem}: {advice}"
            )
        if not np.isfinite(row).all():
            raise ImmuneError(f"{path} contains numbers that are not finite in {name}: {advice}")
    missing = sorted(name for name in rows if name.startswith("blk.") and name not in values)
    if missing:
        raise ImmuneError(
            f"{path} has no values for {missing[0]}"
            + (f" and {len(missing) - 1:,} more" if len(missing) > 1 else "")
            + f": it belongs to another model; {advice}"
        )


def quantise(
    source: Path, target: Path, quant: str, importance: Importance | None, threads: int
) -> None:
    """Write `source` in another type as `target`.

    Raises:
        ImmuneError: llama.cpp cannot; the message includes its own.
    """
    import llama_cpp

    from immune_train.edge.llama_cpp_api import silence

    messages = silence()
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.nthread = threads
    parameters.ftype = QUANTS[quant][0]
    parameters.max_buf_size = _MEMORY
    references: list[Any] = []  # llama.cpp has only their addresses
    if importance is not None:
        parameters.imatrix, parameters.kv_overrides = _c_arguments(importance, references)
    status = llama_cpp.llama_model_quantize(bytes(source), bytes(target), ctypes.byref(parameters))
    if not status:
        return
    free = shutil.disk_usage(target.parent).free
    if free < 1 << 24:
        raise ImmuneError(f"the disk of {target.parent} is full: free some space and run again")
    reason = f" ({messages[-1]})" if messages else ""
    raise ImmuneError(f"llama.cpp could not write {quant}{reason}: check the model's own files")


def _c_arguments(importance: Importance, references: list[Any]) -> tuple[Any, Any]:
    """The matrix as llama.cpp expects it, and the metadata that its own tool writes to the file."""
    import llama_cpp

    entries = (llama_cpp.llama_model_imatrix_data * (len(importance.values) + 1))()
    for entry, (name, row) in zip(entries, importance.values.items(), strict=False):
        entry.name = name.encode()
        entry.data = row.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = len(row)
    notes = {
        "quantize.imatrix.file": importance.file,
        "quantize.imatrix.entries_count": len(importance.values),
        "quantize.imatrix.chunks_count": importance.chunks,
    }
    overrides = (llama_cpp.llama_model_kv_override * (len(notes) + 1))()
    for override, (key, value) in zip(overrides, notes.items(), strict=False):
        override.key = key.encode()
        if isinstance(value, str):
            override.tag = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_STR
            override.value.val_str = value.encode()[:127]
        else:
            override.tag = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_INT
            override.value.val_i64 = value
    references += [entries, overrides]
    return entries, overrides
