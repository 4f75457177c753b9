"""Publishing a model: what the folder holds, what the Hub gets, and what its tools make of it.

The real `huggingface_hub` client talks to a loopback server; transformers, peft and llama.cpp
open what was published.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import libraries
import pytest
import training
import yaml
from corpus import digests
from exported import conversation, model, write_eval
from exported import run as export_model
from hub_server import READ_TOKEN, SIGNATURE, TOKEN, HubServer, card_errors, take_for_the_hub
from markdown_it import MarkdownIt

from immune_data.common.digests import sha256
from immune_train.artifacts import run
from immune_train.evaluate import outputs
from immune_train.publish import __main__ as publish

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")

pytestmark = libraries.training

REPO = "acme/small"
TERMS = ("--repo-id", REPO, "--license", "apache-2.0")

SUMMARY = {
    "name": "unified-clean",
    "recipe": "unified-clean",
    "base_model": "Qwen/Qwen2.5-1.5B-Instruct",
    "backend": "trl",
    "hardware": "one machine | of ours",
    "config": {
        "lora_r": 4,
        "lora_alpha": 4,
        "use_rslora": True,
        "learning_rate": 2e-5,
        "max_length": 4096,
        "lora_target_modules": ["q_proj", "v_proj"],
        "allow_leak": True,
        "seed": 42,
    },
    "records": {"summary": 675, "cause": 760, "risk": 760},
    "preflight": {
        "train": {"answers_cut": 21, "answers_lost": 1234, "dropped": 0},
        "leaked": {"cause": 43, "risk": 1043},
    },
    "steps": 1300,
    "best_step": 1250,
    "train_loss": 0.51234,
    "baseline": {"loss": 2.5, "summary": 2.75, "cause": 2.25},
    "eval": {"loss": 0.61, "summary": 0.7, "cause": 0.6, "risk": 0.53},
}
SCORES = {
    "scores": [
        {"task": "risk", "model": name, "metric": "levels_allowed", "n": 9, **values}
        for name, values in {
            "reference": {"value": 1.0, "low": 0.7, "high": 1.0},
            "q8_0": {"value": 0.875, "low": 0.5, "high": 0.98},
            "q4_0": {"value": None, "low": None, "high": None},
        }.items()
    ]
}


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def trained(shared_folder: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A run's folder as `sft` and `export` leave it, of a tiny random model."""

    def make(folder: Path) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM, AutoTokenizer

        merged = model(folder / "run" / run.MERGED, **training.SMALL)
        adapter = folder / "run" / run.ADAPTER
        base = AutoModelForCausalLM.from_pretrained(merged)
        lora = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
        get_peft_model(base, lora).save_pretrained(adapter)
        AutoTokenizer.from_pretrained(merged).save_pretrained(adapter)
        (merged / "optimizer.pt").write_bytes(b"not to be published")
        (folder / "run" / run.CHECKPOINTS).mkdir()
        (folder / "run" / run.CONFIG).write_text("max_length: 4096  # unified-v2.yaml\n")
        (folder / "run" / run.METRICS).write_text('{"step": 1, "loss": 2.5}\n')
        (folder / "run" / f"{run.CURVES}.svg").write_text("<svg/>")
        outputs = {"train.jsonl": {"bytes": 5, "sha256": "ab" * 32}}
        write_json(folder / "run" / run.DATASET, {"recipe": "unified-clean", "outputs": outputs})
        write_json(folder / "run" / run.ENVIRONMENT, {"libraries": {"torch": "2.13.0"}})
        write_json(folder / "run" / run.SUMMARY, SUMMARY)
        write_json(folder / "run" / "scores.json", SCORES)
        more = ("--eval", write_eval(folder / "eval.jsonl"), "--eval-conversations", 1)
        assert export_model(folder / "run", "--quant", "q4_0", "q8_0", *more) == 0

    return shared_folder("trained", make) / "run"


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may spoil; large files are the same on the disk."""
    folder = tmp_path / "small-run"
    shutil.copytree(trained, folder, copy_function=_copy)
    return folder


def _copy(source: str, target: str) -> None:
    if source.endswith((".gguf", ".safetensors", "tokenizer.json")):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A Hub, which the client of this process takes for the real one."""
    with HubServer(lfs_above=1 << 20) as server:  # or a tokenizer would be sent as text
        take_for_the_hub(server, monkeypatch, tmp_path)
        yield server


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, without making them."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def call(folder: Path, *more: object) -> int:
    return publish.main([str(part) for part in (*TERMS, "--run", folder, *more)])


def published(folder: Path) -> Path:
    return folder / "publish" / "small"


def card(folder: Path) -> tuple[dict[str, Any], str]:
    """The metadata of the card that was written, and the whole of it, whose Markdown is sound."""
    text = (published(folder) / "README.md").read_text(encoding="utf-8")
    _, metadata, body = text.split("---\n", 2)
    assert "\n\n\n" not in body
    shown = MarkdownIt("commonmark").enable("table").render(body)
    assert "---" not in shown  # of a table that is none
    assert shown.count("<h1>") == 1
    return yaml.safe_load(metadata), text


# The folder


@pytest.mark.parametrize("where", [run.SUMMARY, run.DATASET])
def test_a_model_of_made_up_data_says_so_and_wants_it_said(
    where: str, copied: Path, refused: Callable[..., str]
) -> None:
    arguments = (*TERMS, "--run", copied, "--dry-run")
    message = refused(publish.main, *arguments, "--synthetic")
    assert message.endswith("is not synthetic: leave --synthetic out")
    content = json.loads((copied / where).read_text(encoding="utf-8"))
    write_json(copied / where, {**content, "synthetic": True})
    message = refused(publish.main, *arguments)
    assert "--synthetic" in message
    assert not published(copied).exists()
    assert call(copied, "--dry-run", "--synthetic") == 0
    data, text = card(copied)
    assert "synthetic" in data["tags"]
    body = text.split("---\n", 2)[2]
    assert body.lstrip().startswith("**Trained on synthetic data: a program made up every incident")
    assert json.loads((published(copied) / "manifest.json").read_text())["synthetic"] is True


def test_a_dry_run_writes_everything_and_prints_the_card(
    copied: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert call(copied, "--dry-run") == 0
    message = capsys.readouterr().out
    assert message.startswith(card(copied)[1])
    assert "nothing was uploaded" in message
    names = set(digests(published(copied)))
    assert names == {
        *("README.md", "manifest.json"),
        *("config.json", "generation_config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
        *("adapter/adapter_config.json", "adapter/adapter_model.safetensors"),
        *("adapter/tokenizer.json", "adapter/tokenizer_config.json"),
        "adapter/chat_template.jinja",
        *("run-q4_0.gguf", "run-q8_0.gguf", "Modelfile"),
        *("template", "system", "params"),
        *(f"training/{name}" for name in ("run.json", "config.yaml", "dataset.json")),
        *(f"training/{name}" for name in ("environment.json", "metrics.jsonl", "curves.svg")),
        *(f"training/{name}" for name in ("scores.json", "export.json")),
    }
    content = json.loads((published(copied) / "manifest.json").read_text())
    by_name = digests(published(copied))
    del by_name["manifest.json"]
    assert {name: file["sha256"] for name, file in content["files"].items()} == by_name
    assert not list(published(copied).parent.glob(".*"))


def test_large_files_are_not_copied(copied: Path) -> None:
    assert call(copied, "--dry-run") == 0
    ours, theirs = copied / "merged_16bit", published(copied)
    assert (ours / "model.safetensors").samefile(theirs / "model.safetensors")


def test_the_card_tells_the_hub_what_it_is(copied: Path) -> None:
    assert call(copied, "--dry-run", "--dataset", "hf://datasets/acme/incidents@v1") == 0
    data, text = card(copied)
    assert card_errors(text) == []
    assert data["base_model"] == "Qwen/Qwen2.5-1.5B-Instruct"
    assert data["base_model_relation"] == "finetune"
    assert (data["library_name"], data["pipeline_tag"]) == ("transformers", "text-generation")
    assert (data["license"], data["datasets"]) == ("apache-2.0", ["acme/incidents"])
    assert {"gguf", "lora", "security"} <= set(data["tags"])
    [index] = data["model-index"]
    metrics = [result["metrics"] for result in index["results"]]
    values = {metric["name"]: metric["value"] for group in metrics for metric in group}
    assert values["loss on the answers"] == 0.61
    assert values["loss on the answers, task cause"] == 0.6
    exported = json.loads((copied / "gguf" / "export.json").read_text())
    for file in exported["files"]:
        assert values[f"perplexity on the answers, {file['quant']}"] == file["perplexity"]


def test_the_card_names_the_terms_of_the_models_that_it_learned_from(copied: Path) -> None:
    path = copied / "dataset.json"
    content = json.loads(path.read_text())
    rows = [{"model": name, "split": "train"} for name in ("qwen2.5-3b", "mine|x", "qwen2.5-3b")]
    path.write_text(json.dumps({**content, "counts": {"models": rows}}))
    assert call(copied, "--dry-run", "--dataset", "hf://datasets/acme/incidents") == 0
    opening, _, licence = card(copied)[1].partition("## Licence")
    assert opening.count("**Built with Qwen.**") == 1
    assert licence.count("Qwen Research License") == 1
    assert r"| `mine\|x` | not known here" in licence
    assert "acme/incidents/blob/main/relations.md" in licence
    assert "The licence of [Qwen/Qwen2.5-1.5B-Instruct]" in licence


def test_the_cards_text_is_what_is_on_record(copied: Path) -> None:
    assert call(copied, "--dry-run") == 0
    data, text = card(copied)
    assert "datasets" not in data
    for message in (
        *("| summary | 0.7000 | 2.7500 |", "| risk | 0.5300 |  |", "step 1,250 of 1,300"),
        *("2,195 conversations (675 summary, 760 cause, 760 risk)", "`unified-clean`"),
        *("| LoRA rank | 4 |", "| learning rate | 2e-05 |", "| target modules | q_proj, v_proj |"),
        *("train loss 0.5123", "one machine | of ours", "torch 2.13.0", "ab" * 32),
        *("| risk | levels allowed | 1 (0.7 to 1) | 0.875 (0.5 to 0.98) |  |",),
        *(
            "1,234 conversations lost their whole answer",
            "too good: it was trained on 1,086 records of eval incidents (43 cause, 1,043 risk)",
            "context of 4,096",
        ),
        *(f"ollama run hf.co/{REPO}:Q4_0", f"llama-server -hf {REPO}:Q4_0", "run-q8_0.gguf"),
        *("AutoModelForCausalLM", 'subfolder="adapter"', "training/curves.svg"),
    ):
        assert message in text, message
    assert "Built with" not in text
    assert "None" not in text
    assert "longer than the context" not in text
    assert "These figures are too good" in text
    assert "no comparison is on record" in text


def test_a_run_with_less_on_record_has_a_shorter_card(copied: Path) -> None:
    shutil.rmtree(copied / "gguf")
    for name in ("scores.json", "environment.json", "dataset.json", "curves.svg", "metrics.jsonl"):
        (copied / name).unlink()
    write_json(copied / "run.json", {"base_model": str(copied)})
    assert call(copied, "--dry-run") == 0
    data, text = card(copied)
    assert card_errors(text) == []
    assert not {"base_model", "base_model_relation", "model-index", "datasets"} & set(data)
    assert "gguf" not in data["tags"]
    assert "nobody can check" in text
    assert "no evaluation on record" in text
    for heading in ("Evaluation", "Quantised files", "How it was trained"):
        assert f"## {heading}" not in text
    assert "ollama" not in text
    assert "None" not in text
    assert str(copied) not in text


def test_an_evaluation_of_the_run_is_on_the_card(copied: Path, refused: Callable[..., str]) -> None:
    evaluation = copied / outputs.FOLDER
    evaluation.mkdir()
    (evaluation / outputs.CARD).write_text("## Evaluation against baselines\n\n- It is good.\n")
    (evaluation / outputs.PAGE).write_text("<!doctype html>")
    write_json(evaluation / outputs.NUMBERS, {"runs": [{"sha256": sha256(copied / run.SUMMARY)}]})
    assert call(copied, "--dry-run") == 0
    text = card(copied)[1]
    assert "## Evaluation against baselines\n\n- It is good." in text
    assert "no comparison is on record" not in text
    assert (published(copied) / "training" / outputs.PAGE).is_file()
    write_json(evaluation / outputs.NUMBERS, {"runs": [{"sha256": "0" * 64}]})
    message = refused(publish.main, *TERMS, "--run", copied, "--dry-run", code=1)
    assert "is an evaluation of another run" in message


def test_a_run_without_a_leak_says_that_eval_was_not_trained_on(copied: Path) -> None:
    write_json(copied / "run.json", {**SUMMARY, "preflight": {"train": {}, "leaked": {}}})
    assert call(copied, "--dry-run", "--dataset", "hf://datasets/acme/incidents") == 0
    text = card(copied)[1]
    assert "None of its incidents was trained on." in text
    assert "too good" not in text
    assert 'load_dataset("acme/incidents", "unified-clean", split="validation")' in text


def test_the_same_run_gives_the_same_bytes(copied: Path) -> None:
    assert call(copied, "--dry-run") == 0
    before = digests(published(copied))
    assert call(copied, "--dry-run") == 0
    assert digests(published(copied)) == before


# The Hub


def test_the_hub_holds_the_folder_and_its_tools_open_it(
    copied: Path, hub: HubServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch
    from huggingface_hub import snapshot_download
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from immune_train.export import roundtrip

    assert call(copied, "--revision", "v1.0") == 0
    message = capfd.readouterr().out
    assert f"published {hub.url}/{REPO} at commit" in message
    assert hub.repos[REPO].kind == "model"
    assert len(hub.repos[REPO].commits) == 2
    on_hub = {name: hashlib.sha256(data).hexdigest() for name, data in hub.files(REPO).items()}
    assert on_hub == digests(published(copied))
    large = {"model.safetensors", "adapter/adapter_model.safetensors", "run-q4_0.gguf"}
    content = json.loads((published(copied) / "manifest.json").read_text())
    assert {content["files"][name]["sha256"] for name in large} <= set(hub.storage)

    folder = Path(snapshot_download(REPO, revision="v1.0", local_dir=tmp_path / "down"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    again = AutoModelForCausalLM.from_pretrained(copied / "merged_16bit")
    ids = torch.tensor([tokenizer.encode("10.0.0.5")])
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, again(ids).logits)
        adapted = PeftModel.from_pretrained(again, folder, subfolder="adapter")
        assert not torch.equal(loaded(ids).logits, adapted(ids).logits)
    chosen = [conversation("risk")]
    assert len(roundtrip.read(folder / "run-q8_0.gguf", chosen, 1, lambda _: None).greedy) > 1
    assert (folder / "template").read_text() in (folder / "Modelfile").read_text()
    assert (folder / "system").read_text() in (folder / "Modelfile").read_text()
    assert json.loads((folder / "params").read_text())["num_ctx"] == 4096


def test_the_same_bytes_make_no_commit(
    copied: Path, hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(copied) == 0
    stored = len(hub.storage)
    capsys.readouterr()
    assert call(copied, "--json") == 0
    assert json.loads(capsys.readouterr().out)["published"]["committed"] is False
    assert len(hub.repos[REPO].commits) == 2
    assert len(hub.storage) == stored


def test_trouble_on_the_way_is_overcome(
    copied: Path, hub: HubServer, slept: list[float], capfd: pytest.CaptureFixture[str]
) -> None:
    hub.fault("POST .*/preupload/", status=503)
    hub.fault("PUT /storage/", status=500)
    hub.fault("POST .*/commit/", cut="response")
    assert call(copied) == 0
    assert slept
    on_hub = {name: hashlib.sha256(data).hexdigest() for name, data in hub.files(REPO).items()}
    assert on_hub == digests(published(copied))
    assert len(hub.repos[REPO].commits) == 2
    message = capfd.readouterr()
    for secret in (TOKEN, SIGNATURE):
        assert secret not in message.out + message.err


def test_who_may_not_write_is_told_so_without_the_token(
    copied: Path,
    hub: HubServer,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[..., str],
) -> None:
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    message = refused(publish.main, *TERMS, "--run", copied)
    assert "may not write to acme/small" in message
    assert READ_TOKEN not in message
    monkeypatch.delenv("HF_TOKEN")
    assert "hf auth login" in refused(publish.main, *TERMS, "--run", copied)
    assert REPO not in hub.repos


def test_the_repository_is_a_model_and_private_if_asked(copied: Path, hub: HubServer) -> None:
    assert call(copied, "--private") == 0
    assert hub.repos[REPO].private
    assert not any("/datasets/" in request for request in hub.requests)


# What it refuses


def stopped(folder: Path) -> None:
    summary = json.loads((folder / "run.json").read_text())
    summary |= {"steps": 9, "preflight": {"plan": {"steps": 10}}}
    (folder / "run.json").write_text(json.dumps(summary))


def unweighed(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / f"{name}.safetensors").unlink()


def otherwise_merged(folder: Path) -> None:
    (folder / "merged_16bit" / "merge.json").write_text('{"adapter": {}, "difference": {}}')


def changed(file: str, **values: object) -> Callable[[Path], None]:
    """A JSON file of the run with other values; None takes a key away."""

    def change(folder: Path) -> None:
        content = json.loads((folder / file).read_text(encoding="utf-8")) | values
        write_json(folder / file, {key: one for key, one in content.items() if one is not None})

    return change


@pytest.mark.parametrize(
    ("spoil", "says", "code"),
    [
        (changed("run.json", schema_version=99), "written by another version of immune", 2),
        (changed("run.json", steps="two"), "written by another version of immune", 2),
        (changed("gguf/export.json", schema_version=0), "another version of immune exported", 2),
        (changed("gguf/export.json", schema_version=None), "another version of immune exported", 2),
        (lambda folder: shutil.rmtree(folder), "does not exist", 2),
        (lambda folder: (folder / "run.json").unlink(), "is not finished", 2),
        (stopped, "was stopped after 9 of 10 steps", 1),
        (unweighed("adapter/adapter_model"), "adapter is missing or not whole", 2),
        (unweighed("merged_16bit/model"), "merged_16bit is missing or not whole", 2),
        (otherwise_merged, "was merged from another adapter", 1),
        (lambda folder: (folder / "run.json").write_text("[]"), "not as the run wrote it", 2),
        (lambda folder: shutil.rmtree(folder / "adapter"), "adapter is missing", 2),
        (lambda folder: shutil.rmtree(folder / "merged_16bit"), "immune_train.merge", 2),
        (lambda folder: (folder / "gguf/run-q8_0.gguf").unlink(), "is not the file", 1),
        (lambda folder: replace(folder / "gguf/run-q8_0.gguf"), "is not the file", 1),
        (lambda folder: replace(folder / "merged_16bit/config.json"), "another config.json", 1),
    ],
)
def test_a_run_that_is_not_whole_is_refused(
    copied: Path,
    refused: Callable[..., str],
    spoil: Callable[[Path], object],
    says: str,
    code: int,
) -> None:
    spoil(copied)
    assert says in refused(publish.main, *TERMS, "--run", copied, "--dry-run", code=code)
    assert not published(copied).exists()


def replace(path: Path) -> None:
    path.unlink()
    path.write_text("{}")


def test_no_token_in_a_record_is_published(
    copied: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    (copied / "config.yaml").write_text(f"hub_token: {TOKEN}  # command line\n")
    message = refused(publish.main, *TERMS, "--run", copied, "--dry-run")
    assert "training/config.yaml" in message
    assert TOKEN not in message
    assert not published(copied).exists()


def test_bad_usage_is_a_sentence(copied: Path, refused: Callable[..., str]) -> None:
    for arguments, says in (
        (("--repo-id", "small", "--license", "mit", "--run", copied), "ORG/NAME"),
        (("--repo-id", REPO, "--license", "A B", "--run", copied), "--license"),
        ((*TERMS, "--run", copied, "--dataset", "a/b"), "write hf://datasets/ORG/NAME[@REV]"),
        ((*TERMS, "--run", copied, "--revision", "a b"), "--revision"),
        ((*TERMS, "--run", copied, "--gguf", copied, "--dry-run"), "no complete export"),
        (
            (*TERMS, "--run", copied, "--output", copied, "--dry-run"),
            "neither empty nor a publication",
        ),
    ):
        assert says in refused(publish.main, *arguments)
