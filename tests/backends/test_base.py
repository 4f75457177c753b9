"""The base model: what is taken for one, from where, at which commit, and what is not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_server import TOKEN, HubServer, take_for_the_hub

from immune_data.common.errors import ImmuneError
from immune_train import configs, merge
from immune_train.artifacts import run
from immune_train.backends import base
from immune_train.sft import __main__ as sft
from immune_train.sft import trainer

REPO = "acme/tiny"
CLEAN = "unified-clean"


@pytest.fixture
def hub(tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A Hub with the model on it, and what was downloaded from it in a cache of its own."""
    with HubServer() as server:
        take_for_the_hub(server, monkeypatch, tmp_path)
        from huggingface_hub import HfApi

        api = HfApi(endpoint=server.url, token=TOKEN)
        api.create_repo(REPO, repo_type="model")
        api.upload_folder(repo_id=REPO, folder_path=tiny_model, repo_type="model")
        yield server


@pytest.fixture
def dry(training_out: Callable[[str], Path], tmp_path: Path) -> Callable[..., list[str]]:
    """`dry(model)`: the arguments of a dry run."""

    def arguments(model: object, *more: str) -> list[str]:
        folders = ["--data", str(training_out(CLEAN)), "--output", str(tmp_path / "run")]
        return ["--config", "tiny", "--model", str(model), *folders, "--dry-run", *more]

    return arguments


# Of a base on a Hub, peft asks the real one how large its vocabulary is; here nobody answers.
@pytest.mark.filterwarnings(
    "ignore:Unable to fetch remote file due to the following error:UserWarning",
    "ignore:Could not find a config file in acme/tiny - will assume:UserWarning",
)
def test_a_model_of_the_hub_is_read_at_one_commit_said_where_it_is_the_caches(
    hub: HubServer,
    training_out: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    refused: Callable[..., str],
) -> None:
    """In training, which writes it down, and in merging, although `main` has gone on since."""
    from huggingface_hub import HfApi

    [*_, (commit, _)] = hub.repos[REPO].commits
    output = tmp_path / "run"
    found = ["--config", "tiny", "--model", REPO, "--data", str(training_out(CLEAN))]
    found += ["--output", str(output), "num_train_epochs=1", "records_train=3", "merge=false"]
    found += ["records_eval=1", "lora_r=4"]
    assert sft.main(found) == 0
    assert "cache" not in capsys.readouterr().err
    kept = configs.load(str(output / "config.yaml"))
    assert kept.model_revision == commit
    assert f"model_revision: {commit}  # main, default" in (output / "config.yaml").read_text()
    api = HfApi(endpoint=hub.url, token=TOKEN)
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id=REPO)
    assert merge.main(["--run", str(output)]) == 0
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    shutil.rmtree(output)
    note = f"HF_HUB_OFFLINE is set: the model {REPO}@main is taken from the cache, at commit "
    assert sft.main([*found, "--dry-run"]) == 0
    assert note + commit in capsys.readouterr().err.splitlines()
    said = refused(sft.main, *found, "--model", "acme/other")
    assert said.startswith("there is no folder acme/other, and HF_HUB_OFFLINE is set")


def test_an_adapter_on_the_hub_is_not_a_base(
    hub: HubServer, dry: Callable[..., list[str]], refused: Callable[..., str]
) -> None:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.url, token=TOKEN)
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="adapter_config.json", repo_id=REPO)
    assert "contains an adapter, whose training would be dropped" in refused(sft.main, *dry(REPO))


def test_what_is_not_a_base(
    tiny_model: Path, dry: Callable[..., list[str]], tmp_path: Path, refused: Callable[..., str]
) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (model / "adapter_config.json").write_text("{}")
    assert "contains an adapter" in refused(sft.main, *dry(model))
    (tmp_path / "earlier" / run.MERGED).mkdir(parents=True)
    said = refused(sft.main, *dry(tmp_path / "earlier"))
    assert said.endswith(f"its merged model is {tmp_path / 'earlier' / run.MERGED}")
    said = refused(sft.main, *dry(model / "config.json"))
    assert said.startswith(f"the model {model / 'config.json'} is a file: name a folder")
    for name in (tmp_path / "absent", "data/models/absent", "./absent"):
        said = refused(sft.main, *dry(name))
        assert said.startswith(f"the model {name} cannot be loaded: there is no such folder")
    (tmp_path / "empty").mkdir()
    assert "cannot be loaded" in refused(sft.main, *dry(tmp_path / "empty"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("model.safetensors", lambda content: content[:-1]),
        ("model.safetensors", lambda content: content[:100]),
        ("model.safetensors", lambda content: b""),
        ("model.safetensors", lambda content: b"version https://git-lfs.github.com/spec/v1\n"),
        ("tokenizer.json", lambda content: content[: len(content) // 2]),
        ("tokenizer.json", lambda content: b"[]"),
        ("tokenizer_config.json", lambda content: b"\xff"),
        ("config.json", lambda content: b"{"),
        ("config.json", lambda content: b"[]"),
        ("config.json", lambda content: b"{}"),
        ("config.json", lambda content: content.replace(b'"qwen2"', b'"qwen99"')),
        ("config.json", lambda content: content.replace(b"64", b'"many"')),
    ],
)
def test_a_damaged_model_is_a_sentence_before_it_is_loaded(
    name: str,
    spoil: Callable[[bytes], bytes],
    tiny_model: Path,
    dry: Callable[..., list[str]],
    tmp_path: Path,
    refused: Callable[..., str],
) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (model / name).write_bytes(spoil((model / name).read_bytes()))
    assert str(model) in refused(sft.main, *dry(model))


def test_weights_that_are_not_there_or_of_another_size_are_a_sentence(
    tiny_model: Path, dry: Callable[..., list[str]], tmp_path: Path, refused: Callable[..., str]
) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    arguments = [one for one in dry(model) if one != "--dry-run"]
    (model / "model.safetensors").unlink()
    assert str(model) in refused(sft.main, *arguments)
    shutil.copy(tiny_model / "model.safetensors", model)
    content = (model / "config.json").read_text()
    smaller = content.replace('"intermediate_size": 64', '"intermediate_size": 32')
    (model / "config.json").write_text(smaller)
    for found in (arguments, dry(model)):
        said = refused(sft.main, *found)
        assert f"{model} is damaged: model.layers.0.mlp" in said
        assert "has shape (" in said


def test_a_weight_that_is_in_no_file_is_not_made_up(
    tiny_model: Path, dry: Callable[..., list[str]], tmp_path: Path, refused: Callable[..., str]
) -> None:
    """A library would give it random numbers, and train on."""
    from safetensors.torch import load_file, save_file

    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    weights = load_file(model / "model.safetensors")
    del weights["model.layers.0.self_attn.q_proj.weight"]
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    said = refused(sft.main, *dry(model))
    assert "model.layers.0.self_attn.q_proj.weight is missing" in said
    assert "its config.json requires (32, 32)" in said


def test_nobody_is_told_of_a_run(
    training_out: Callable[[str], Path],
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = []
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", lambda *a, **k: told.append(a))
    given = configs.load("tiny", [f"model_name_or_path={tiny_model}"])
    from training import as_rows, model_of_few_words, small_tokenizer

    rows = as_rows([30, 40])
    trainer.make(given, model_of_few_words(), small_tokenizer(None), rows, rows, tmp_path / "c")
    assert told == []


def test_a_base_is_left_as_it_is_where_it_is_a_folder(tiny_model: Path) -> None:
    given = configs.load("tiny", [f"model_name_or_path={tiny_model}"])
    assert base.resolve(given, pytest.fail) is given
    with pytest.raises(ImmuneError, match="no such folder"):
        base.resolve(configs.load("tiny", ["model_name_or_path=a/b/c"]), pytest.fail)
