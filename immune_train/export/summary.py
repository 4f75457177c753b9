"""An export as text: the content of `export.json` in, a table out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from immune_data.common import table
from immune_data.common.text import counted
from immune_train.export.build import MODELFILE
from immune_train.export.quantise import SIXTEEN


def show(output: Path, content: dict[str, Any]) -> None:
    """Print what was written."""
    round_trip = content["round_trip"]
    columns = ["file", "size"]
    rows = [[file["file"], size(file["bytes"])] for file in content["files"]]
    if round_trip:
        columns += ["perplexity", "compared with f16", "greedy agreement"]
        for row, file in zip(rows, content["files"], strict=True):
            row += [
                f"{file['perplexity']:.6g}",
                f"{file['perplexity_ratio'] - 1:+.2%}",
                f"{file['greedy_agreement']:.2%}",
            ]
        if not any(file["quant"] == SIXTEEN for file in content["files"]):
            whole = round_trip[SIXTEEN]
            rows.append(["(f16, not kept)", size(whole["bytes"]), f"{whole['perplexity']:.6g}"])
            rows[-1] += [None, None]
    table.show(f"{output}", columns, rows)
    for file in content["files"]:
        print(f"{file['sha256']}  {file['file']}")
    if round_trip:
        print(
            f"measured on {counted(round_trip['counted_tokens'], 'token')} of the answers of "
            f"{counted(round_trip['conversations'], 'conversation')} of {round_trip['eval']}"
        )
    else:
        print("the cost of quantising was not measured: name eval conversations with --eval")
    command = ["ollama", "create", content["name"].lower(), "-f", str(output / MODELFILE)]
    print(f"run it: {shlex.join(command)}")


def size(count: int) -> str:
    """Bytes in units of thousands, as the Hub shows them."""
    for unit, bound in (("GB", 10**9), ("MB", 10**6)):
        if count >= bound * 0.9:
            return f"{count / bound:.2f} {unit}"
    return f"{count / 1000:.1f} kB"
