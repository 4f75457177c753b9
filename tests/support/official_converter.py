"""llama.cpp's own converter, to compare ours with, and what it made, for where it is not there.

    pip download --no-binary :all: --no-deps llama-cpp-python && tar -xzf llama_cpp_python-*.tar.gz
    LLAMA_CPP=llama_cpp_python-*/vendor/llama.cpp python tests/support/official_converter.py

writes `official_converter.json` anew: metadata and tensors of the tiny random model, by its script.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).with_suffix(".json")
SCRIPT = "convert_hf_to_gguf.py"


def source() -> Path | None:
    """The folder of llama.cpp's sources: `LLAMA_CPP`, or where `make` would have put it."""
    folder = Path(os.environ.get("LLAMA_CPP", "data/llama.cpp"))
    return folder if (folder / SCRIPT).is_file() else None


def convert(llama_cpp: Path, model: Path, target: Path) -> None:
    """Run the script, with a stand-in for `sentencepiece`, which it imports and does not use."""
    with tempfile.TemporaryDirectory() as stub:
        Path(stub, "sentencepiece.py").write_text("class SentencePieceProcessor:\n    pass\n")
        path = os.pathsep.join([str((llama_cpp / "gguf-py").resolve()), stub])
        done = subprocess.run(
            [sys.executable, llama_cpp / SCRIPT, model, "--outfile", target, "--outtype", "f16"],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr


def describe(path: Path) -> dict[str, Any]:
    """The metadata of a GGUF file, long values by their hash, and its tensors but for the data."""
    metadata, tensors = read(path)
    return {
        "metadata": metadata,
        "tensors": {name: [kind, shape] for name, (kind, shape, _) in tensors.items()},
    }


# By GGUF's number: the name of a value's type, and its format if it is a number.
_VALUES = {
    **{0: ("UINT8", "B"), 1: ("INT8", "b"), 2: ("UINT16", "H"), 3: ("INT16", "h")},
    **{4: ("UINT32", "I"), 5: ("INT32", "i"), 6: ("FLOAT32", "f"), 7: ("BOOL", "?")},
    **{8: ("STRING", ""), 9: ("ARRAY", ""), 10: ("UINT64", "Q"), 11: ("INT64", "q")},
}
_TENSORS = {
    **{0: "F32", 1: "F16", 2: "Q4_0", 8: "Q8_0", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K"},
    20: "IQ4_NL",
}


def read(path: Path) -> tuple[dict[str, Any], dict[str, tuple[str, list[int], bytes]]]:
    """Metadata (type and value) and tensors (type, shape and data) of a GGUF file.

    After the format's documentation; the `gguf` package's reader takes seconds for a vocabulary.
    """
    data = path.read_bytes()
    at = 0

    def number(kind: str) -> Any:
        nonlocal at
        [value] = struct.unpack_from(f"<{kind}", data, at)
        at += struct.calcsize(kind)
        return value

    def text() -> bytes:
        nonlocal at
        size = number("Q")
        at += size
        return data[at - size : at]

    def value(kind: int) -> list[Any]:
        nonlocal at
        name, code = _VALUES[kind]
        if name == "STRING":
            content = text()
            return [[name], content.decode() if len(content) < 200 else _hash(content)]
        if name != "ARRAY":
            return [[name], number(code)]
        of, count = number("I"), number("Q")
        start = at
        for _ in range(count):
            if _VALUES[of][1]:
                at += struct.calcsize(_VALUES[of][1])
            else:
                at += 8 + int.from_bytes(data[at : at + 8], "little")
        return [[name, _VALUES[of][0]], f"{count}: {_hash(data[start:at])}"]

    assert data[:4] == b"GGUF"
    at = 4
    assert number("I") == 3
    tensors, keys = number("Q"), number("Q")
    metadata = {}
    for _ in range(keys):
        key = text().decode()
        metadata[key] = value(number("I"))
    found = []
    for _ in range(tensors):
        name = text().decode()
        shape = [number("Q") for _ in range(number("I"))]
        found.append((name, _TENSORS[number("I")], shape, number("Q")))
    begin = -(-at // 32) * 32
    ends = [start for *_, start in found[1:]] + [len(data) - begin]
    return metadata, {
        name: (kind, shape, data[begin + start : begin + end])
        for (name, kind, shape, start), end in zip(found, ends, strict=True)
    }


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    from exported import model

    found = source()
    assert found is not None, f"LLAMA_CPP names no folder with {SCRIPT}"
    with tempfile.TemporaryDirectory() as folder:
        convert(found, model(Path(folder, "tiny")), Path(folder, "made.gguf"))
        content = describe(Path(folder, "made.gguf"))
    RECORDED.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {RECORDED}")
