"""A GGUF of random weights, small enough to be made and run by tests.

As the command of a warm process (`warm.commands`), this module is `bench_edge` that reads a little
memory to see how fast it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from immune_train.bench_edge import __main__ as bench_edge
from immune_train.bench_edge import bandwidth
from immune_train.edge.llama_cpp_api import Model

NAME = "random.gguf"


def loaded(path: Path) -> Model:
    """The model in a file, loaded once: getting its vocabulary ready takes half a second."""
    return _loaded(path, path.stat().st_mtime_ns) if path.is_file() else Model(path)


@cache
def _loaded(path: Path, changed: int) -> Model:
    return Model(path)


def random_gguf(
    shared_folder: Callable[[str, Callable[[Path], object]], Path], *, tied: bool = True
) -> Path:
    """The file, made once for all workers.

    One whose embeddings are tied repeats the last token of its prompt. One whose are not wanders
    among all tokens; it has no rows beyond them, which only such a model would choose.
    """

    def make(folder: Path) -> None:
        from immune_data.contract.vocabulary import ADDED_TOKENS, FIRST_ADDED
        from immune_train.export import gguf_file
        from immune_train.random_model import __main__ as random_model

        model = random_model.write(
            folder / "model",
            "tiny",
            dtype="float16",
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=1,
            tie_word_embeddings=tied,
            **({} if tied else {"vocab_size": FIRST_ADDED + len(ADDED_TOKENS)}),
        )
        gguf_file.convert(gguf_file.read(model), "random", folder / NAME)

    return shared_folder("random-gguf" if tied else "random-gguf-untied", make) / NAME


def incident(lines: int = 12, **facts: Any) -> dict[str, Any]:
    """An incident as the source files hold it."""
    header = (
        "============================================================\n"
        "Incident: 7d0f6a1c-0000-4000-8000-000000000001\n"
        "Source IP: 192.168.1.7 | Timewindow: 3\n"
        "Timeline: 2024-01-01 10:00:00 to 2024-01-01 11:00:00\n"
        "Threat Level: 12.5 | Events: 15\n\n"
    )
    events = (f"• 10:{i % 60:02d} - Event to 203.0.113.{i % 256}:{i} [LOW]\n" for i in range(lines))
    return {
        "incident_id": "7d0f6a1c-0000-4000-8000-000000000001",
        "category": "Malware",
        "source_ip": "192.168.1.7",
        "timewindow": "3",
        "timeline": "2024-01-01 10:00:00 to 2024-01-01 11:00:00",
        "threat_level": 12.5,
        "event_count": 15,
        "dag_analysis": header + "".join(events),
        **facts,
    }


def of_a_little(threads: int) -> float:
    """As `bandwidth.measured`, which reads half a gigabyte ten times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bandwidth, "BYTES", 8 << 20)
        return _measured(threads)


_measured = bandwidth.measured


def main(arguments: Sequence[str]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bandwidth, "measured", of_a_little)
        return bench_edge.main(arguments)
