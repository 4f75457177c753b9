"""A GGUF file says what it was trained on, and whoever asks it asks so, or is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import libraries
import pytest
from edge import incident, random_gguf

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")

from immune_data import recipes
from immune_data.contract import prompting
from immune_train import merge, recall
from immune_train.artifacts import provenance
from immune_train.edge.questions import Asker
from immune_train.export import __main__ as export
from immune_train.generate import __main__ as generate
from immune_train.generate.asker import of_gguf

pytestmark = [libraries.training, pytest.mark.usefixtures("kept_models", "kept_vocabularies")]

EDGE = "unified-edge"


def finished_run(folder: Path, model: Path, dataset: dict[str, Any]) -> Path:
    """As much of a run's folder as `export` looks at."""
    shutil.copytree(model, folder / "merged_16bit")
    (folder / "adapter").mkdir()
    (folder / "config.yaml").write_text("max_length: 4096\n")
    (folder / "dataset.json").write_text(json.dumps(dataset))
    return folder


def exported(run: Path, output: Path) -> Path:
    arguments = ("--model", run, "--output", output, "--quant", "q8_0", "--threads", 1)
    assert export.main([str(argument) for argument in arguments]) == 0
    return output / f"{run.name}-q8_0.gguf"


@pytest.fixture(scope="session")
def manifest(training_out: Callable[[str], Path]) -> dict[str, Any]:
    """What `emit` wrote of a dataset of the recipe `unified-edge`."""
    folder = training_out(EDGE) / "sft" / EDGE
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def gguf(
    shared_folder: Callable[[str, Callable], Path], tiny_model: Path, manifest: dict[str, Any]
) -> Path:
    """A quantised model that was trained on `unified-edge`."""

    def make(folder: Path) -> None:
        exported(finished_run(folder / "edge", tiny_model, manifest), folder / "gguf")

    return shared_folder("trained-on", make) / "gguf" / "edge-q8_0.gguf"


def ask(capsys: pytest.CaptureFixture[str], model: Path, *more: object) -> tuple[Any, str]:
    given = ("--model", model, "--task", "risk", "--incident", json.dumps(incident()), "--json")
    arguments = (*given, "--max-tokens", 140, "--threads", 1, *more)
    capsys.readouterr()
    assert generate.main([str(argument) for argument in arguments]) == 0
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def own_recipe(folder: Path, text: str, name: str = "ours") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_quantised_file_and_its_record_name_the_dataset(
    gguf: Path, manifest: dict[str, Any]
) -> None:
    found = of_gguf(gguf)
    assert found is not None
    assert found.recipe == EDGE
    assert found.asking_sha256 == manifest["asking_sha256"] == Asker(EDGE).asking_sha256
    assert found.version == manifest["inputs"]["version"]
    record = json.loads((gguf.parent / "export.json").read_text(encoding="utf-8"))
    assert record["trained_on"] == {
        "recipe": found.recipe,
        "asking_sha256": found.asking_sha256,
        "version": found.version,
    }


def test_a_model_is_asked_by_its_own_recipe(gguf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = ask(capsys, gguf)
    assert found["recipe"] == EDGE
    assert ask(capsys, gguf, "--recipe", EDGE)[0]["recipe"] == EDGE
    (asked,) = [json.loads(line) for line in request(capsys, "--model", gguf).splitlines()]
    shared = Asker(EDGE)._conversations.prompts["risk"].templates[0][1]
    assert asked["messages"][0] == {"role": "system", "content": shared}


def request(capsys: pytest.CaptureFixture[str], *more: object) -> str:
    arguments = ("--task", "risk", "--incident", json.dumps(incident()), "--request", *more)
    assert generate.main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_a_request_to_a_server_needs_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(request(capsys, "--model", "immune.gguf"))["model"] == "immune"


def test_another_recipe_is_refused_unless_it_asks_the_same(
    gguf: Path, tmp_path: Path, refused: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--model", gguf, "--task", "risk", "--incident", json.dumps(incident()))
    said = refused(generate.main, *given, "--recipe", "unified-clean")
    assert "was trained on the recipe unified-edge" in said
    assert "leave out --recipe" in said
    same = own_recipe(tmp_path, f'extends = "{EDGE}"\n[audit]\ndag_resemblance = 0.5\n')
    assert ask(capsys, gguf, "--recipe", same)[0]["recipe"] == "ours"
    other = own_recipe(tmp_path, f'extends = "{EDGE}"\n[dag]\nlimit = 3000\n')
    assert "ours has other prompts" in refused(generate.main, *given, "--recipe", other)


def test_a_model_of_a_recipe_of_ones_own_wants_its_file(
    gguf: Path,
    manifest: dict[str, Any],
    tmp_path: Path,
    refused: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its name and digest are as long as those of the other: nothing else in the file moves."""
    name = "ours-as-long"
    own = own_recipe(tmp_path, f'extends = "{EDGE}"\n[dag]\nlimit = 3000\n', name)
    asking = Asker(str(own)).asking_sha256
    content = gguf.read_bytes()
    for old, new in ((EDGE, name), (manifest["asking_sha256"], asking)):
        assert (content.count(old.encode()), len(old)) == (1, len(new))
        content = content.replace(old.encode(), new.encode())
    model = tmp_path / "ours.gguf"
    model.write_bytes(content)
    given = ("--model", model, "--task", "risk", "--incident", json.dumps(incident()))
    said = refused(generate.main, *given)
    assert f"was trained on the recipe {name}" in said
    assert "--recipe" in said
    assert ask(capsys, model, "--recipe", own)[0]["recipe"] == name

    changed = own_recipe(tmp_path, f'extends = "{EDGE}"\n[dag]\nlimit = 2000\n', name)
    said = refused(generate.main, *given, "--recipe", changed)
    assert f"of immune {manifest['inputs']['version']}, whose prompts" in said


@pytest.mark.parametrize(
    "dataset", [{}, {"recipe": EDGE}, {"recipe": EDGE, "asking_sha256": "a", "inputs": []}]
)
def test_a_dataset_that_does_not_say_leaves_no_key(dataset: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(dataset))
    assert provenance.of_manifest(tmp_path / "dataset.json") is None
    assert provenance.of_manifest(tmp_path / "none" / "dataset.json") is None


def test_a_model_without_a_run_says_nothing_and_is_asked_as_told(
    shared_folder: Callable[[str, Callable], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model = random_gguf(shared_folder)
    assert of_gguf(model) is None
    found, notes = ask(capsys, model)
    assert found["recipe"] == "unified-clean"
    assert f"note: {model} does not say what it was trained on" in notes
    found, notes = ask(capsys, model, "--recipe", "unified-v2")
    assert found["recipe"] == "unified-v2"
    assert "note:" not in notes


def test_a_model_of_another_version_says_what_to_export_again(
    gguf: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    """A key that files had under another name: nothing else in the file moves."""
    model = tmp_path / "earlier.gguf"
    model.write_bytes(gguf.read_bytes().replace(b"immune.asking_sha256", b"immune.prompt_sha256"))
    arguments = ("--model", model, "--task", "risk", "--incident", json.dumps(incident()))
    for more in ((), ("--recipe", EDGE), ("--request",)):
        said = refused(generate.main, *arguments, *more)
        assert said == (
            f"{model}: another version of immune wrote it (without immune.asking_sha256): "
            "export the model again with `python -m immune_train.export`"
        )


@pytest.mark.parametrize("command", [merge.main, recall.main])
def test_settings_of_another_version_are_said_to_be_so(
    command: Callable[[list[str]], int], tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "config.yaml").write_text("model_name_or_path: a\nlora_rank: 8  # config.yaml\n")
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "merged_16bit").mkdir()
    said = refused(command, "--run", tmp_path)
    assert said.startswith(
        f"the run in {tmp_path} was made by another version of immune or TRL (lo"
    )
    assert said.endswith("train again with another --output")


def test_records_of_another_recipe_are_noted(
    gguf: Path,
    training_out: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for recipe in (EDGE, "unified-clean"):
        folder = tmp_path / recipe
        folder.mkdir()
        emitted = training_out(recipe) / "sft" / recipe
        shutil.copy(emitted / "manifest.json", folder)
        first = (emitted / "eval.jsonl").read_text(encoding="utf-8").splitlines()[0]
        (folder / "eval.jsonl").write_text(f"{first}\n", encoding="utf-8")
        arguments = ("--model", gguf, "--eval", folder / "eval.jsonl", "--max-tokens", 2)
        assert generate.main([str(argument) for argument in arguments]) == 0
        noted = f"has the prompts of the recipe {recipe}, but the model is for {EDGE}"
        assert (noted in capsys.readouterr().err) == (recipe != EDGE)


def test_the_value_changes_with_whatever_decides_a_prompt() -> None:
    ours = prompting.load(recipes.load(EDGE))
    assert ours.sha256 == prompting.load(recipes.load(EDGE)).sha256
    task = ours.prompts["risk"]
    spaced = tuple((role, f"{text} ") for role, text in task.templates)
    others = [
        replace(ours, prompts={**ours.prompts, "risk": replace(task, templates=spaced)}),
        replace(ours, dag_limit=ours.dag_limit + 1),
        replace(ours, dag_unit="words"),
        replace(ours, dag_marker="…"),
        replace(ours, neutralise=False),
        replace(ours, room={**ours.room, "risk": 1}),
        replace(ours, layout="documented"),
        prompting.load(recipes.load("unified-clean")),
        prompting.load(recipes.load("unified-v2")),
    ]
    assert len({ours.sha256, *(other.sha256 for other in others)}) == len(others) + 1
