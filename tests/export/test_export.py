"""From a merged model to GGUF files: conversion, quantising, and what that costs."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libraries
import numpy as np
import official_converter
import pytest
import training
from exported import ANSWERS, FEW_TOKENS, TASKS, conversation, model, run, write_eval

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")

from immune_data.common.errors import ImmuneError
from immune_train.export import __main__ as export
from immune_train.export import gguf_file, quantise, roundtrip

pytestmark = [libraries.training, pytest.mark.usefixtures("kept_vocabularies")]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def tiny(shared_folder: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    return shared_folder("gguf-model", lambda folder: model(folder / "tiny")) / "tiny"


@pytest.fixture(scope="session")
def exported(tiny: Path, shared_folder: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """The tiny model in 16 bits."""

    def make(folder: Path) -> None:
        assert run(tiny, "--output", folder / "gguf", "--quant", "f16") == 0

    return shared_folder("gguf-exported", make) / "gguf"


@pytest.fixture(scope="session")
def measured(shared_folder: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A smaller model, whose answers wander, in three types and measured."""

    def make(folder: Path) -> None:
        made = model(folder / "small", **training.SMALL, tie_word_embeddings=False)
        eval_file = write_eval(folder / "eval.jsonl")
        more = ("--f16", "--eval", eval_file, "--eval-conversations", 3)
        assert run(made, "--output", folder / "gguf", "--quant", "q4_0", "q8_0", *more) == 0

    return shared_folder("gguf-measured", make) / "gguf"


@pytest.fixture(scope="session")
def few(shared_folder: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """The tiny model with few tokens, and in `gguf` every default type of it."""

    def make(folder: Path) -> None:
        made = model(folder / "tiny", **FEW_TOKENS)
        assert run(made, "--output", folder / "gguf", "--f16") == 0

    return shared_folder("gguf-few", make) / "tiny"


@pytest.fixture(scope="session")
def few_exported(few: Path) -> Path:
    return few.parent / "gguf"


@pytest.fixture
def copied(few: Path, tmp_path: Path) -> Path:
    """A copy of the model that a test may spoil."""
    return Path(shutil.copytree(few, tmp_path / "model" / "tiny"))


# Conversion


def test_our_file_is_the_official_converters_byte_for_byte(tiny: Path, tmp_path: Path) -> None:
    source = official_converter.source()
    if source is None:
        pytest.skip("LLAMA_CPP names no sources of llama.cpp (see official_converter.py)")
    official_converter.convert(source, tiny, tmp_path / "theirs.gguf")
    gguf_file.convert(gguf_file.read(tiny), "tiny", tmp_path / "ours.gguf")
    assert digest(tmp_path / "ours.gguf") == digest(tmp_path / "theirs.gguf")


def test_metadata_and_tensors_are_those_the_official_converter_wrote(exported: Path) -> None:
    found = official_converter.describe(exported / "tiny-f16.gguf")
    assert found == json.loads(official_converter.RECORDED.read_text(encoding="utf-8"))
    metadata = found["metadata"]
    assert metadata["tokenizer.ggml.pre"][1] == "qwen2"
    assert metadata["tokenizer.ggml.merges"][1].startswith("151387:")
    assert metadata["tokenizer.ggml.tokens"][1].startswith("151936:")
    assert metadata["tokenizer.ggml.eos_token_id"][1] == 151_645
    assert metadata["tokenizer.ggml.padding_token_id"][1] == 151_643
    assert metadata["tokenizer.ggml.add_bos_token"][1] is False


def test_no_token_is_put_before_a_prompt_whatever_the_tokenizer_leaves_unsaid(
    copied: Path, tmp_path: Path
) -> None:
    path = copied / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    del config["add_bos_token"]
    path.write_text(json.dumps(config), encoding="utf-8")
    gguf_file.convert(gguf_file.read(copied), "tiny", tmp_path / "made.gguf")
    found = official_converter.describe(tmp_path / "made.gguf")["metadata"]
    assert found["tokenizer.ggml.add_bos_token"] == [["BOOL"], False]


def test_every_tensor_holds_the_models_numbers(tiny: Path, exported: Path) -> None:
    from safetensors.torch import load_file

    weights = load_file(tiny / "model.safetensors")
    _, made = official_converter.read(exported / "tiny-f16.gguf")
    tensors = gguf_file.read(tiny).tensors
    assert len(tensors) == len(weights) == len(made)
    for tensor in tensors:
        kind, shape, data = made[tensor.name]
        numbers = np.float16 if tensor.is_matrix else np.float32
        assert kind == ("F16" if tensor.is_matrix else "F32")
        assert tuple(reversed(shape)) == tensor.shape
        expected = weights[tensor.original].float().numpy().astype(numbers)
        assert data.startswith(expected.tobytes())


def test_shards_and_float32_are_the_same_model(
    few: Path, few_exported: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    again = tmp_path / "tiny"
    shutil.copytree(few, again, ignore=shutil.ignore_patterns("model*"))
    whole = AutoModelForCausalLM.from_pretrained(few, dtype="float32")
    whole.save_pretrained(again, max_shard_size="2MB")
    assert len(list(again.glob("model-*.safetensors"))) > 1
    shutil.copy(few / "generation_config.json", again)
    gguf_file.convert(gguf_file.read(again), "tiny", tmp_path / "made.gguf")
    found = official_converter.read(tmp_path / "made.gguf")
    assert found == official_converter.read(few_exported / "tiny-f16.gguf")


# The command


def test_each_file_is_named_sized_hashed_and_shown(few_exported: Path, few: Path) -> None:
    content = json.loads((few_exported / "export.json").read_text(encoding="utf-8"))
    quants = ["f16", "q4_k_m", "q5_k_m", "q8_0"]
    assert [file["quant"] for file in content["files"]] == quants
    names = {f"tiny-{quant}.gguf" for quant in quants}
    assert {path.name for path in few_exported.iterdir()} == {*names, "Modelfile", "export.json"}
    for file in content["files"]:
        path = few_exported / file["file"]
        assert (file["bytes"], file["sha256"]) == (path.stat().st_size, digest(path))
        kind = {"f16": 1, "q4_k_m": 15, "q5_k_m": 17, "q8_0": 7}[file["quant"]]
        metadata, tensors = official_converter.read(path)
        assert metadata["general.file_type"][1] == kind
        assert len(tensors) == 26
    assert content["made_of"]["model.safetensors"] == digest(few / "model.safetensors")
    assert content["trained_on"] is None  # it has no run


def test_the_same_model_gives_the_same_bytes_and_no_16_bit_file_unasked(
    few: Path, few_exported: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(few, "--output", tmp_path / "out", "--quant", "q8_0", "q4_k_m") == 0
    said = capfd.readouterr()
    names = {"tiny-q8_0.gguf", "tiny-q4_k_m.gguf", "Modelfile", "export.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    for name in ("tiny-q8_0.gguf", "tiny-q4_k_m.gguf"):
        assert digest(tmp_path / "out" / name) == digest(few_exported / name)
        assert f"{digest(few_exported / name)}  {name}" in said.out
    assert "--eval" in said.out
    assert "perplexity" not in said.out
    assert "FROM ./tiny-q8_0.gguf" in (tmp_path / "out" / "Modelfile").read_text()
    assert "llama_model" not in said.err


def test_a_runs_folder_gives_name_place_and_trained_context(copied: Path) -> None:
    run_folder = copied.parent.parent / "my-run"
    (run_folder / "adapter").mkdir(parents=True)
    copied.rename(run_folder / "merged_16bit")
    (run_folder / "config.yaml").write_text("max_length: 2048  # x\n")
    assert run(run_folder, "--quant", "q8_0") == 0
    assert (run_folder / "gguf" / "my-run-q8_0.gguf").is_file()
    assert "PARAMETER num_ctx 2048" in (run_folder / "gguf" / "Modelfile").read_text()


def test_help_answers_without_heavy_imports() -> None:
    code = (
        "import sys\nfrom immune_train.export import __main__ as export\n"
        "from immune_train.publish import __main__ as publish\n"
        "for main in (export.main, publish.main):\n"
        "    try: main(['--help'])\n    except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'llama_cpp', 'gguf', 'huggingface_hub'}\n"
        "sys.exit(bool(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# Quantising


def test_the_types_that_are_repacked_for_arm_are_written_as_such(few: Path, tmp_path: Path) -> None:
    assert run(few, "--output", tmp_path, "--quant", "q4_0", "iq4_nl") == 0
    for quant, kind, stored in (("q4_0", 2, "Q4_0"), ("iq4_nl", 25, "IQ4_NL")):
        metadata, tensors = official_converter.read(tmp_path / f"tiny-{quant}.gguf")
        assert metadata["general.file_type"][1] == kind
        assert tensors["blk.0.attn_q.weight"][0] == tensors["blk.0.ffn_gate.weight"][0] == stored


def test_rows_that_a_type_cannot_take_are_named_before_any_work(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    heads = {"num_attention_heads": 5, "num_key_value_heads": 1}
    odd = model(tmp_path / "odd", hidden_size=320, **heads, **FEW_TOKENS)
    said = refused(export.main, "--model", odd)
    assert "q4_k_m packs 256" in said
    assert "model.embed_tokens.weight have 320" in said
    assert "--quant q8_0" in said
    assert not (tmp_path / "gguf").exists()


def write_importance(
    path: Path, model: Path, change: Callable[[dict[str, Any]], None] = lambda _: None
) -> Path:
    """What `llama-imatrix` writes, of made-up numbers."""
    import gguf

    random = np.random.default_rng(0)
    rows = {t.name: t.shape[-1] for t in gguf_file.read(model).tensors if t.is_matrix}
    rows.pop("token_embd.weight")
    change(rows)
    writer = gguf.GGUFWriter(path, "imatrix")
    writer.add_type("imatrix")
    writer.add_uint32("imatrix.chunk_count", 4)
    writer.add_uint32("imatrix.chunk_size", 512)
    writer.add_array("imatrix.datasets", ["train.txt"])
    for name, size in rows.items():
        sums = random.exponential(size=(1, size)).astype(np.float32) ** 4
        writer.add_tensor(f"{name}.in_sum2", sums)
        writer.add_tensor(f"{name}.counts", np.full((1, 1), 2048, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_an_importance_matrix_changes_the_blocks_and_is_on_record(
    few: Path, few_exported: Path, tmp_path: Path
) -> None:
    matrix = write_importance(tmp_path / "matrix.gguf", few)
    out = tmp_path / "out"
    assert run(few, "--output", out, "--quant", "q4_k_m", "--imatrix", matrix) == 0
    content = json.loads((out / "export.json").read_text())
    assert content["importance_matrix"] == {
        "file": "matrix.gguf",
        "sha256": digest(matrix),
        "chunks": 4,
    }
    metadata, after = official_converter.read(out / "tiny-q4_k_m.gguf")
    assert metadata["quantize.imatrix.file"][1] == "matrix.gguf"
    assert metadata["quantize.imatrix.chunks_count"][1] == 4
    _, before = official_converter.read(few_exported / "tiny-q4_k_m.gguf")
    changed = {name for name in before if before[name] != after[name]}
    assert "blk.0.ffn_up.weight" in changed
    assert "token_embd.weight" not in changed


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows.update({"blk.0.ffn_up.weight": 64}), "with rows of 64"),
        (lambda rows: rows.update({"blk.9.ffn_up.weight": 256}), "no such tensor"),
        (lambda rows: rows.pop("blk.1.ffn_down.weight"), "no values for blk.1.ffn_down.weight"),
    ],
)
def test_a_matrix_of_another_model_is_refused(
    few: Path,
    tmp_path: Path,
    refused: Callable[..., str],
    change: Callable[[dict[str, Any]], None],
    says: str,
) -> None:
    matrix = write_importance(tmp_path / "matrix.gguf", few, change)
    said = refused(export.main, "--model", few, "--output", tmp_path / "o", "--imatrix", matrix)
    assert says in said
    assert "another model" in said


def test_what_is_no_matrix_is_refused(
    few: Path, few_exported: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "old.dat").write_bytes(b"\1\0\0\0")
    for file in (tmp_path / "old.dat", few_exported / "tiny-q8_0.gguf"):
        said = refused(export.main, "--model", few, "--output", tmp_path / "o", "--imatrix", file)
        assert "is not an importance matrix" in said
    said = refused(export.main, "--model", few, "--imatrix", tmp_path / "none")
    assert "does not exist" in said


def test_llama_cpp_that_fails_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "in.gguf").write_bytes(b"GGUF but not really")
    with pytest.raises(ImmuneError, match="could not write q8_0"):
        quantise.quantise(tmp_path / "in.gguf", tmp_path / "out.gguf", "q8_0", None, 1)


# What it refuses


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: shutil.rmtree(folder), "does not exist"),
        (lambda folder: (folder / "config.json").unlink(), "contains no model"),
        (lambda folder: change(folder, architectures=["LlamaForCausalLM"]), "LlamaForCausalLM"),
        (lambda folder: change(folder, quantization_config={"a": 1}), "already quantised"),
        (lambda folder: change(folder, rope_parameters={"rope_type": "yarn"}), "with yarn"),
        (lambda folder: (folder / "model.safetensors").unlink(), "is missing"),
        (lambda folder: cut(folder / "model.safetensors"), "damaged or cut short"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "is not a tokenizer"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "no chat template"),
        (lambda folder: (folder / "chat_template.jinja").write_text("{{ 1"), "cannot be applied"),
        (lambda folder: (folder / "chat_template.jinja").write_text("hi"), "not Qwen2.5's ChatML"),
    ],
)
def test_a_folder_that_cannot_be_exported_is_a_sentence(
    copied: Path,
    tmp_path: Path,
    refused: Callable[..., str],
    spoil: Callable[[Path], object],
    says: str,
) -> None:
    spoil(copied)
    assert says in refused(export.main, "--model", copied, "--output", tmp_path / "out")
    assert not (tmp_path / "out" / "export.json").exists()


def change(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)


def test_numbers_that_16_bits_do_not_hold_are_refused(
    copied: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 3] = 1e6
    save_file(weights, copied / "model.safetensors", {"format": "pt"})
    said = refused(export.main, "--model", copied, "--output", tmp_path / "out")
    assert "model.layers.1.mlp.up_proj.weight" in said
    assert not list(tmp_path.glob("out/*"))


def test_an_eval_file_without_conversations_is_a_sentence(
    few: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    path = tmp_path / "eval.jsonl"
    null = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": None}]}
    for text, says in (
        *(("", "contains no conversations"), ("{}\n", "line 1,"), ("x", "line 1,")),
        *(("[" * 200_000, "line 1,"), (json.dumps(null), "line 1,")),
    ):
        path.write_text(text)
        said = refused(export.main, "--model", few, "--output", tmp_path / "out", "--eval", path)
        assert says in said
    said = refused(export.main, "--model", few, "--eval", tmp_path / "none.jsonl")
    assert "cannot read" in said


def test_a_context_beyond_the_models_positions_is_a_sentence(
    few: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    given = ("--model", few, "--output", tmp_path / "out", "--quant", "f16", "--context", 99_999)
    assert "supports positions up to 32,768" in refused(export.main, *given)
    assert not (tmp_path / "out").exists()


# The round trip


def test_llama_cpp_reads_the_16_bit_file_as_torch_reads_the_model(
    tiny: Path, exported: Path
) -> None:
    """Same tokens as training, and the same probabilities but for the half precision."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from immune_data.contract.record import Record
    from immune_train.data.labels import Renderer

    chosen = [conversation(task) for task in TASKS]
    renderer = Renderer(AutoTokenizer.from_pretrained(tiny))
    records = [
        Record(messages, "i", task, "m", 1.0, False, "unified", 1)
        for task, messages in zip(TASKS, chosen, strict=True)
    ]
    rows = list(renderer.rows(records))
    found = roundtrip.read(exported / "tiny-f16.gguf", chosen, 1, lambda _: None)
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    expected, greedy = [], []
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor(row.input_ids[: row.end])
            logits = model(ids[None]).logits[0, row.answer - 1 : -1].double()
            true = ids[row.answer :]
            expected += logits.log_softmax(-1)[range(len(true)), true].tolist()
            greedy += logits.argmax(-1).tolist()
    assert len(expected) == sum(row.supervised for row in rows)
    assert np.abs(found.log_probabilities - expected).max() < 0.03
    assert (found.greedy == greedy).mean() > 0.95
    assert found.perplexity == pytest.approx(math.exp(-np.mean(expected)), rel=1e-3)


def test_what_quantising_costs_is_on_record(measured: Path) -> None:
    content = json.loads((measured / "export.json").read_text(encoding="utf-8"))
    found = {file["quant"]: file for file in content["files"]}
    assert (found["f16"]["perplexity_ratio"], found["f16"]["greedy_agreement"]) == (1, 1)
    agreement = [found[quant]["greedy_agreement"] for quant in ("q4_0", "q8_0")]
    assert agreement == sorted(agreement)
    assert 0.3 < agreement[0] < agreement[-1] <= 1
    assert content["round_trip"]["conversations"] == 3
    assert content["round_trip"]["f16"]["perplexity"] == found["f16"]["perplexity"]


def test_each_task_gives_as_many_conversations(tmp_path: Path) -> None:
    path = write_eval(tmp_path / "eval.jsonl")
    chosen = roundtrip.conversations(path, 3)
    assert sorted(messages[-1].content for messages in chosen) == sorted(ANSWERS.values())
    assert len(roundtrip.conversations(path, 4)) == 4
