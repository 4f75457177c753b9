"""The whole way of a model, by the users' own commands: train, merge, three quants, answer, score,
publish to a Hub, download, run, evaluate. `make edge-tiny` and `make evaluate-tiny` do it with a
model that has learned something.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import edge_tiny
import evaluate_tiny
import libraries
import pytest
import warm
from hub_server import TOKEN

from immune_data.common import publishing
from immune_data.common.errors import CheckFailed
from immune_data.contract.tokens import text_ids
from immune_data.contract.vocabulary import END
from immune_data.prompts import TASKS
from immune_train.export.quantise import DEFAULT as QUANTS
from immune_train.random_model import __main__ as random_model

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")

pytestmark = libraries.training

# The least that k-quants can take.
SMALLEST = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1}
WORD = "Nothing"  # the whole of an answer whose form is free
SETTINGS = ("max_steps=1", "records_train=6", "records_eval=3", "lora_r=4", "lora_alpha=4")


def answer_in_a_word(model: Path) -> Path:
    """Have a random model, which goes on with its last token for ever, write WORD and end.

    A token is followed by the one whose row of the embedding has the largest product with its own:
    the line feed before an answer by WORD, and WORD by the end.
    """
    import torch
    from safetensors.torch import load_file, save_file

    file = model / "model.safetensors"
    weights = load_file(file)
    rows = weights["model.embed_tokens.weight"]
    [start], [word] = text_ids("\n"), text_ids(WORD)
    along = rows[start].float()
    across = torch.randn(len(along), generator=torch.Generator().manual_seed(0))
    across -= along * (across @ along) / (along @ along)
    across *= along.norm() / across.norm()
    rows[word] = (1.5 * along + 1.5 * across).to(rows.dtype)
    rows[END] = (4 * across).to(rows.dtype)
    save_file(weights, file, metadata={"format": "pt"})
    return model


@pytest.mark.usefixtures("in_this_process", "kept_models", "kept_vocabularies")
def test_a_model_goes_from_training_to_its_download(
    training_out: Callable[[str], Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each command in this process; only what asks the Hub or is refused has one of its own."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the other tests need the other processors
    for module in (edge_tiny, evaluate_tiny):
        monkeypatch.setattr(module, "python", edge_tiny.python_here)
    monkeypatch.setattr(evaluate_tiny, "PYTHON", warm.commands())
    data, folder = training_out("unified-clean"), tmp_path / "tiny"
    model = answer_in_a_word(random_model.write(tmp_path / "random-tiny", "tiny", **SMALLEST))
    folders = ("--data", data, "--model", model, "--output", folder)
    edge_tiny.python_here("immune_train.sft", "--config", "tiny", *folders, *SETTINGS)
    edge_tiny.chain(data, folder, records=3, more=("--max-tokens", "88", "--threads", "1"))

    published = folder / "publish" / "tiny"
    names = {f"tiny-{quant}.gguf" for quant in QUANTS}
    assert names <= {path.name for path in published.iterdir()}
    lines = (folder / "edge" / "answers-q4_k_m.jsonl").read_text(encoding="utf-8").splitlines()
    free = [one for one in map(json.loads, lines) if one["task"] != "risk"]
    assert [(one["answer"], one["finish"]) for one in free] == [(WORD, "stop")] * 2
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    assert scores["models"] == list(QUANTS)
    assert (folder / "scores.svg").read_text(encoding="utf-8").startswith("<?xml")
    card = (published / publishing.CARD).read_text(encoding="utf-8")
    assert all(name in card for name in names)

    answering = ("--max-tokens", "88", "--threads", "1")
    found = evaluate_tiny.chain(data, folder, model, number=1, more=answering)
    assert {one["name"] for one in found["candidates"]} >= {"reference", "tuned", "base", "extract"}
    assert {one["task"] for one in found["scores"]} == set(TASKS)
    assert all(one["differences"] == [] for one in found["scores"])  # of one incident

    said = "".join(capfd.readouterr())
    assert "refused, as it should be: error: 1 of 1 evaluated incident was trained on" in said
    assert "the downloaded model answers as the local one: summary, cause, risk" in said
    assert TOKEN not in said
    texts = [*published.rglob("*.json"), *published.rglob("*.yaml"), published / publishing.CARD]
    assert not any(TOKEN in path.read_text(encoding="utf-8") for path in texts)


def test_a_step_that_fails_is_the_end_of_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CheckFailed, match=r"python3? -m immune_train.export .* exit code 2"):
        edge_tiny.python("immune_train.export", "--model", tmp_path)
    assert "error: " in capfd.readouterr().err
