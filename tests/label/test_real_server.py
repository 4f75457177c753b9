"""Real replies: a model behind llama-cpp-python's server is asked.

A small real model's are asked for where there is one: IMMUNE_SMALL_MODEL names its GGUF file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import label_tiny
import pytest
from corpus import CAUSE_RISK
from edge_tiny import python_here
from labelled import corpus, endpoints
from llama_server import serving

from immune_data.label import __main__ as label

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")


def test_a_model_of_our_own_labels_and_emit_reads_it(
    sample_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command in this process."""
    monkeypatch.setattr(label_tiny, "python", python_here)
    label_tiny.chain(sample_source, tmp_path / "work", incidents=2)


@pytest.fixture(scope="module")
def small_model() -> Path:
    file = Path(os.environ.get("IMMUNE_SMALL_MODEL", "nowhere"))
    if not file.is_file():
        pytest.skip("IMMUNE_SMALL_MODEL names no GGUF file of a small real model")
    return file


def test_a_small_real_model_answers(small_model: Path, tmp_path: Path) -> None:
    source = corpus(["i00", "i01"]).write(tmp_path / "lab")
    with serving(small_model, context=2048, threads=2) as url:
        file = endpoints(tmp_path / "e.toml", (url, "gpt-4o"), max_concurrency=1)
        given = [
            "--incidents",
            source / CAUSE_RISK,
            "--endpoints",
            file,
            "--recipe",
            "unified-edge",
        ]
        given += ["--store", tmp_path / "s", "--yes", "--output", tmp_path / "out"]
        arguments = [str(one) for one in given]
        assert label.main([*arguments, "--max-tokens", "8"]) == 0
        rejects = (tmp_path / "out" / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["reason"] for line in rejects] == ["cut"] * 6
        assert label.main([*arguments, "--max-tokens", "900"]) == 0
    rows = json.loads((tmp_path / "out" / "risk_dataset_v2.json").read_text(encoding="utf-8"))
    answered = [row["cause_risk_gpt_4o"] for row in rows["incidents"] if "cause_risk_gpt_4o" in row]
    assert answered
    for answer in answered:
        for name, asked in answer["asked"].items():
            assert answer[name].strip()
            assert asked["finish_reason"] == "stop"
            assert 0 < asked["answer_tokens"] < 900
            assert asked["prompt_tokens"] > 100
