"""Training from end to end: a run's folder, going on after a stop, merging, several processes.

Runs are of a tiny random model on a handful of short records, on the CPU.
"""

from __future__ import annotations

import errno
import gc
import json
import math
import os
import shutil
import signal
import sys
import time
import weakref
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import killed_runs
import pytest
import warm
import yaml
from corpus import digests
from killed_runs import PRODUCTS
from training import as_rows, record, write

from immune_data.common import processes
from immune_data.common.digests import sha256
from immune_data.common.errors import ImmuneError
from immune_train import backends, configs, merge
from immune_train.artifacts import run
from immune_train.data import dataset
from immune_train.data.packing import best_fit_decreasing
from immune_train.sft import __main__ as sft
from immune_train.sft import progress

CLEAN = "unified-clean"

# Three steps an epoch; logs, evaluations and checkpoints fall on steps of their own. Dropout,
# shuffling and a schedule are there so that each would show if a resumed run forgot it.
SETTINGS = (
    *("records_train=6", "records_eval=3", "per_device_train_batch_size=2", "num_train_epochs=2"),
    *("lora_r=4", "lora_alpha=16", "lora_dropout=0.1", "lr_scheduler_type=cosine"),
    *("warmup_steps=2", "learning_rate=1e-2", "weight_decay=0.01", "order=shuffled"),
    *("logging_steps=3", "eval_steps=4", "save_steps=4", "load_best_model_at_end=true"),
)
STEPS = 6
ADAPTER = "adapter/adapter_model.safetensors"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_TOKENIZERS: dict[tuple[str, ...], Any] = {}

Shared = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _kept_tokenizers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter's tokenizer takes a second to load: it is loaded once, as all are alike."""
    from transformers import AutoTokenizer

    load = AutoTokenizer.from_pretrained

    def from_pretrained(name: Any, **how: Any) -> Any:
        if how:
            return load(name, **how)
        content = tuple(sha256(Path(name) / file) for file in TOKENIZER)
        if content not in _TOKENIZERS:
            _TOKENIZERS[content] = load(name)
        return _TOKENIZERS[content]

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", from_pretrained)


@pytest.fixture
def command(training_out: Callable[[str], Path], tiny_model: Path) -> Callable[..., list[str]]:
    """`command(output, *more)`: the arguments of a run."""
    return lambda output, *more: arguments(training_out(CLEAN), tiny_model, output, *more)


def arguments(data: Path, model: Path, output: Path, *more: str) -> list[str]:
    flags = [one for one in more if one.startswith("--")]
    settings = [one for one in more if not one.startswith("--")]
    folders = ["--data", str(data), "--model", str(model), "--output", str(output)]
    return ["--config", "tiny", *folders, *flags, *SETTINGS, *settings]


@pytest.fixture(scope="session")
def whole(
    training_out: Callable[[str], Path],
    tiny_model: Path,
    shared_folder: Shared,
    pytestconfig: pytest.Config,
) -> Path:
    """An uninterrupted run.

    The process in which it merges is a fork of one that has the libraries loaded; thorough, one
    that is started anew.
    """

    def make(folder: Path) -> None:
        import torch

        torch.set_num_threads(1)
        found = arguments(training_out(CLEAN), tiny_model, folder / "run")
        with (folder / "said").open("w") as said, pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys, "stdout", said)
            if not pytestconfig.getoption("--thorough"):
                patched.setattr(processes, "apart", warm.apart)
            assert sft.main(found) == 0

    return shared_folder("training-run", make) / "run"


def at_step(step: int, what: Callable[[], object]) -> Any:
    """A stand-in for what is shown, that does something once this step is done."""
    from transformers import TrainerCallback

    class AtStep(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == step:
                what()

    return AtStep()


# A run's folder


def test_a_run_leaves_all_that_it_says(whole: Path, training_out: Callable[[str], Path]) -> None:
    assert {path.name for path in whole.iterdir()} == {
        *("config.yaml", "dataset.json", "incidents.json", "environment.json", "metrics.jsonl"),
        *(
            "curves.svg",
            "curves.png",
            "checkpoints",
            "adapter",
            "trained.json",
            "merged_16bit",
            "run.json",
        ),
    }
    emitted = training_out(CLEAN) / "sft" / CLEAN
    assert (whole / "dataset.json").read_bytes() == (emitted / "manifest.json").read_bytes()
    assert (whole / "incidents.json").read_bytes() == (emitted / "incidents.json").read_bytes()
    environment = json.loads((whole / "environment.json").read_text())
    assert environment["backend"] == "trl"
    assert {"torch", "transformers", "peft", "trl"} <= set(environment["libraries"])
    assert (whole / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (whole / "curves.svg").read_text()
    written = (whole / "run.json").stat().st_mtime_ns
    others = [path for path in whole.rglob("*") if path.is_file() and path.name != "run.json"]
    assert all(path.stat().st_mtime_ns <= written for path in others)


def test_the_files_of_a_run_are_as_readable_as_the_umask_says(
    whole: Path, tiny_model: Path
) -> None:
    umask = os.umask(0o022)
    os.umask(umask)
    for path in (*whole.rglob("*"), *tiny_model.rglob("*")):
        if path.is_file():
            assert path.stat().st_mode & 0o777 == 0o666 & ~umask, path


def test_the_settings_of_a_run(
    whole: Path, tiny_model: Path, training_out: Callable[[str], Path]
) -> None:
    text = (whole / "config.yaml").read_text(encoding="utf-8")
    again = configs.load(str(whole / "config.yaml"))
    asked = [f"model_name_or_path={tiny_model}", f"data={training_out(CLEAN)}"]
    given = configs.load("tiny", [*SETTINGS, *asked])
    assert again.values == given.values
    assert (again.name, again.data) == ("tiny", str(training_out(CLEAN)))
    assert "learning_rate: 0.01  # command line" in text
    assert "seed: 42  # unified-v2.yaml" in text
    assert "max_length: 4096  # unified-v2.yaml" in text
    assert yaml.safe_load(text)["lora_r"] == 4


def test_the_losses_of_a_run(whole: Path) -> None:
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [3, 6]
    evaluated = [line for line in lines if "eval_loss" in line]
    assert [line["step"] for line in evaluated] == [0, 4, 6]
    assert lines[0] == evaluated[0]  # before anything is learned
    for line in evaluated:
        by_task = [line[f"eval_{task}_loss"] for task in ("summary", "cause", "risk")]
        assert all(0 < loss < 100 for loss in by_task)
        assert min(by_task) < line["eval_loss"] < max(by_task)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0]
    assert not any("runtime" in key or "per_second" in key for line in lines for key in line)


def test_the_summary_of_a_run(whole: Path) -> None:
    summary = json.loads((whole / "run.json").read_text())
    assert (summary["name"], summary["recipe"], summary["backend"]) == ("tiny", CLEAN, "trl")
    assert summary["incidents_sha256"] == sha256(whole / "incidents.json")
    assert summary["records"] == {"summary": 2, "cause": 2, "risk": 2}
    assert summary["steps"] == STEPS
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if "eval_loss" in line and line["step"]]
    best = min(trained, key=lambda line: line["eval_loss"])
    assert summary["best_step"] == best["step"]
    assert summary["eval"] == {
        "loss": best["eval_loss"],
        **{task: best[f"eval_{task}_loss"] for task in ("summary", "cause", "risk")},
    }
    assert summary["baseline"]["loss"] == lines[0]["eval_loss"] > best["eval_loss"]
    assert summary["preflight"]["train"]["records"] == 6
    assert summary["merged"]["same_greedy"] > 0.9


def test_the_settings_on_record_are_those_in_force(whole: Path) -> None:
    """What the trainer decides is on record as it was decided, and what is refused as it was."""
    recorded = json.loads((whole / "run.json").read_text())["config"]
    given = configs.load(str(whole / "config.yaml")).values
    resolved = {key for key in given if recorded[key] != given[key]}
    assert (recorded["data_seed"], recorded["use_cpu"], recorded["report_to"]) == (42, True, [])
    assert {"data_seed", "use_cpu", "report_to", "dataloader_pin_memory"} <= resolved
    for key in ("max_length", "per_device_train_batch_size", "packing", "eval_on_start", "lora_r"):
        assert recorded[key] == given[key]
    in_force = {"use_peft": True, "remove_unused_columns": False, "logging_nan_inf_filter": False}
    assert {key: recorded[key] for key in in_force} == in_force
    assert recorded.keys() == given.keys()


def test_what_a_run_says(whole: Path) -> None:
    said = (whole.parent / "said").read_text()
    assert "what tiny trains on" in said
    assert "merged_16bit compared with the adapter on its base: over " in said
    assert said.splitlines()[-1].startswith("wrote ")


def test_the_adapter_is_the_best_one(whole: Path) -> None:
    from safetensors.torch import load_file

    best = json.loads((whole / "run.json").read_text())["best_step"]
    kept = load_file(whole / ADAPTER)
    checkpoint = load_file(
        whole / "checkpoints" / f"checkpoint-{best}" / "adapter_model.safetensors"
    )
    assert set(kept) == set(checkpoint)
    assert all((kept[name] == checkpoint[name]).all() for name in kept)
    modules = {name.split(".")[-3] for name in kept}
    assert modules == set(configs.load("unified-v2").lora_target_modules)


@pytest.mark.usefixtures("quick")
def test_the_same_seed_gives_the_same_bytes(
    whole: Path, command: Callable[..., list[str]], tmp_path: Path
) -> None:
    assert sft.main(command(tmp_path / "run", "merge=false")) == 0
    first, second = digests(whole), digests(tmp_path / "run")
    for name in (ADAPTER, "metrics.jsonl", "curves.svg", "curves.png", "dataset.json"):
        assert first[name] == second[name], name
    assert not (tmp_path / "run" / "merged_16bit").exists()
    # Merged later, by itself, it is the same model.
    assert merge.main(["--run", str(tmp_path / "run")]) == 0
    merged = "merged_16bit/model.safetensors"
    assert digests(tmp_path / "run")[merged] == first[merged]


@pytest.mark.usefixtures("quick")
def test_a_run_from_its_own_config_with_packing(
    whole: Path, training_out: Callable[[str], Path], tmp_path: Path
) -> None:
    """Another layout of the same steps: other dropout, so the losses are near, not the same."""
    found = ["--config", str(whole / "config.yaml"), "--data", str(training_out(CLEAN))]
    found += ["--output", str(tmp_path / "run"), "packing=true", "merge=false"]
    assert sft.main(found) == 0
    before, after = (run.metrics(one) for one in (whole, tmp_path / "run"))
    assert [line["step"] for line in before] == [line["step"] for line in after]
    assert after[0]["eval_loss"] == pytest.approx(before[0]["eval_loss"], rel=1e-4)
    first, second = before[1]["loss"], after[1]["loss"]
    assert second == pytest.approx(first, rel=0.05)


# Stopping and resuming


def stop_by_signal() -> None:
    signal.raise_signal(signal.SIGINT)


def crash() -> None:
    raise RuntimeError("the lights went out")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("step", [2, 4])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    step: int,
    whole: Path,
    command: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(progress, "show", lambda: at_step(step, stop_by_signal))
        assert sft.main(command(output, "merge=false")) == 130
    said = capsys.readouterr().err
    assert f"stopped after step {step} of {STEPS}, which is saved" in said
    assert f"--output {output} --resume" in said
    assert run.last_checkpoint(output).name == f"checkpoint-{step}"
    assert not (output / "run.json").exists()
    assert not (output / "adapter").exists()
    # It knows what it was given, and from where its dataset was.
    assert sft.main(["--resume", "--output", str(output)]) == 0
    assert digests(output)[ADAPTER] == digests(whole)[ADAPTER]
    assert (output / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    assert digests(output)["curves.svg"] == digests(whole)["curves.svg"]
    one, other = (json.loads((folder / "run.json").read_text()) for folder in (output, whole))
    for key in ("name", "steps", "best_step", "eval", "baseline"):
        assert one[key] == other[key]
    assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-6)


@pytest.mark.usefixtures("quick")
def test_a_run_that_learned_nothing_ends_in_a_warning(
    command: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = command(tmp_path / "run", "merge=false", "max_steps=1", "learning_rate=1e-9")
    assert sft.main(found) == 0
    said = capsys.readouterr().out.splitlines()
    [warning] = [line for line in said if line.startswith("warning: the last loss, ")]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["warnings"] == [
        warning.removeprefix("warning: ")
    ]


def full_at(step: int, error: Exception) -> Callable[..., None]:
    """A stand-in for what a trainer saves, whose disk is full at this step."""
    from transformers import Trainer

    save = Trainer._save_optimizer_and_scheduler

    def full(trainer: Any, output_dir: str) -> None:
        if trainer.state.global_step == step:
            raise error
        save(trainer, output_dir)

    return full


def assert_full(said: str, output: Path, step: int, kept: int) -> None:
    assert said == (
        f"the disk of {output / 'checkpoints'} is full, so step {step} could not be saved: free "
        "some space, and resume with --resume"
    )
    assert not (output / "checkpoints" / f"checkpoint-{step}").exists()
    assert run.last_checkpoint(output).name == f"checkpoint-{kept}"


@pytest.mark.usefixtures("quick")
def test_a_run_that_died_goes_on_from_its_last_checkpoint(
    whole: Path,
    command: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[..., str],
) -> None:
    """Here of a full disk, at a checkpoint: the part of it that was written is taken away.

    Its last lines are of steps that are done again; a half-written one is left out, and so is an
    incomplete checkpoint.
    """
    from transformers import Trainer

    output = tmp_path / "run"
    with monkeypatch.context() as patched:
        full = full_at(STEPS, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        patched.setattr(Trainer, "_save_optimizer_and_scheduler", full)
        assert_full(refused(sft.main, *command(output, "merge=false")), output, STEPS, 4)
    assert run.metrics(output)[-1]["step"] > 4
    with (output / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    incomplete = output / "checkpoints" / "checkpoint-5"
    shutil.copytree(output / "checkpoints" / "checkpoint-4", incomplete)
    (incomplete / "trainer_state.json").unlink()
    assert run.last_checkpoint(output).name == "checkpoint-4"
    assert sft.main(command(output, "merge=false", "--resume")) == 0
    assert digests(output)[ADAPTER] == digests(whole)[ADAPTER]
    assert (output / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "error",
    [
        Exception("No space left on device (os error 28)"),  # safetensors and tokenizers
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
    ],
    ids=["rust", "torch"],
)
def test_a_full_disk_is_one_by_whatever_a_library_says(
    error: Exception,
    command: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[..., str],
) -> None:
    from transformers import Trainer

    output = tmp_path / "run"
    monkeypatch.setattr(Trainer, "_save_optimizer_and_scheduler", full_at(2, error))
    settings = ("save_steps=1", "eval_strategy=no", "load_best_model_at_end=false")
    assert_full(refused(sft.main, *command(output, *settings)), output, 2, 1)


@pytest.mark.usefixtures("quick")
def test_a_run_is_not_overwritten_nor_gone_on_with_as_another(
    whole: Path, command: Callable[..., list[str]], tmp_path: Path, refused: Callable[..., str]
) -> None:
    output = tmp_path / "run"
    output.mkdir()
    for name in ("config.yaml", "dataset.json", "trained.json", "run.json"):
        shutil.copy(whole / name, output / name)
    before = digests(output)
    assert "contains a finished run" in refused(sft.main, *command(output))
    assert "is finished" in refused(sft.main, *command(output, "--resume"))
    (output / "run.json").unlink()
    del before["run.json"]
    for more in ([], ["--dry-run"]):
        assert "resume it with --resume" in refused(sft.main, *command(output, *more))
    said = refused(sft.main, *command(output, "seed=7", "--resume"))
    assert f"the run in {output} was started with another seed" in said
    files = ["--train", str(write(tmp_path / "t", [record()]))]
    files += ["--eval", str(write(tmp_path / "e", [record(incident_id="b")]))]
    said = refused(sft.main, "--resume", *files, *command(output))
    assert f"the run in {output} was started with another eval" in said
    said = refused(sft.main, "--resume", "--output", output, "--config", "unified-v1")
    assert f"{output} contains a run of config tiny, not of unified-v1" in said
    (output / "dataset.json").write_text("{}")
    said = refused(sft.main, "--resume", "--output", output)
    assert f"the run in {output} was started with another dataset" in said
    shutil.copy(whole / "dataset.json", output)
    assert "contains no run to resume" in refused(
        sft.main, *command(tmp_path / "other", "--resume")
    )
    assert digests(output) == before
    assert not (tmp_path / "other").exists()
    (tmp_path / "other" / "adapter").mkdir(parents=True)
    assert "contains adapter, but no run" in refused(sft.main, *command(tmp_path / "other"))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("fails", ["load", "train"])
def test_a_failed_start_leaves_its_folder_usable(
    fails: str, command: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By other settings too: no step was saved, so that there is nothing to lose."""
    output = tmp_path / "run"
    with monkeypatch.context() as patched:
        if fails == "load":
            patched.setattr(backends, "load", lambda *_: crash())
        else:
            patched.setattr(progress, "show", lambda: at_step(2, crash))
        with pytest.raises(RuntimeError, match="the lights went out"):
            sft.main(command(output, "merge=false"))
    assert (output / "config.yaml").is_file()
    assert sft.main(command(output, "merge=false", "max_steps=2", "lora_r=2")) == 0
    assert configs.load(str(output / "config.yaml")).lora_r == 2
    assert json.loads((output / "run.json").read_text())["steps"] == 2


# What follows training


QUANTS, NO_QUANTS = "gguf=[q8_0]", "gguf=[]"


def resuming(output: Path, *settings: str) -> list[str]:
    return ["--resume", "--output", str(output), *settings]


@pytest.fixture(scope="session")
def trained_only(
    training_out: Callable[[str], Path], tiny_model: Path, shared_folder: Shared
) -> Path:
    """A run that was killed after its last step, when nothing had been made of it.

    It is short, and one record is what products are compared on.
    """

    def make(folder: Path) -> None:
        from immune_train.sft import finish

        short = (QUANTS, "num_train_epochs=1", "records_eval=1")
        found = arguments(training_out(CLEAN), tiny_model, folder / "run", *short)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(finish, "write_adapter", lambda *_: crash())
            with pytest.raises(RuntimeError, match="the lights went out"):
                sft.main(found)

    return shared_folder("trained-only", make) / "run"


@pytest.mark.usefixtures("quick", "in_this_process", "kept_vocabularies")
def test_a_run_killed_anywhere_after_training_goes_on_from_there(
    trained_only: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """Killed before a file is given its name; what was made then is not made again.

    What a killed process leaves is what lies on the disk: a copy of it, made at that moment, stands
    for the kill. With `--thorough` before each file, otherwise once between each two products, and
    where it was killed before the merged model was there, no GGUF file follows.
    """
    output = Path(shutil.copytree(trained_only, tmp_path / "whole" / "run"))
    found = resuming(output, QUANTS)
    every = request.config.getoption("--thorough")
    copies: dict[int, Path] = {}

    def keep(files: int, products: int) -> None:
        number = files if every else products
        shutil.rmtree(tmp_path / str(number), ignore_errors=True)
        copies[number] = Path(shutil.copytree(output, tmp_path / str(number) / "run"))

    with killed_runs.before_naming(output, keep):
        assert sft.main(found) == 0
    assert all((output / name).exists() for name in PRODUCTS)
    expected = results(output)
    without = Path(shutil.copytree(copies[max(copies)], tmp_path / "without" / "run"))
    assert sft.main(resuming(without, NO_QUANTS)) == 0
    expected_without = {
        name: result for name, result in results(without).items() if not name.startswith("gguf/")
    }
    seen = set()
    for copy in copies.values():
        if not (copy / run.MERGED).exists() and not every:
            seen.add(resumed_from(copy, resuming(copy, NO_QUANTS), expected_without))
        else:
            seen.add(resumed_from(copy, resuming(copy, QUANTS), expected))
    assert seen == set(range(len(PRODUCTS) + 1))  # each phase was one that a run was killed in


@pytest.mark.usefixtures("quick", "in_this_process")
def test_a_run_whose_process_is_killed_goes_on_from_there(
    trained_only: Path, tmp_path: Path
) -> None:
    """Before the merged model is given its name."""
    whole, output = (Path(shutil.copytree(trained_only, tmp_path / name)) for name in "ab")
    found = {folder: resuming(folder, "gguf=[]") for folder in (whole, output)}
    process = warm.start(tmp_path, killed_runs.kill, output, 3, found[output])
    process.join(120)
    assert process.exitcode == -signal.SIGKILL, (tmp_path / "stderr").read_text()
    assert not (output / "run.json").exists()
    assert sft.main(found[whole]) == 0
    assert resumed_from(output, found[output], results(whole)) == 3


def results(output: Path) -> dict[str, str]:
    """The digests of a run's files, whatever quants it was trained for."""
    found = digests(output)
    for name in ("trained.json", "run.json"):
        content = json.loads((output / name).read_bytes())
        content.get("summary", content)["config"].pop("gguf")
        found[name] = json.dumps(content)
    return found


def resumed_from(output: Path, found: list[str], expected: dict[str, str]) -> int:
    """How many products a killed run has, once it is resumed to its end without making them."""
    made = [output / name for name in PRODUCTS if (output / name).exists()]
    times = {path: path.stat().st_mtime_ns for path in files_of(made)}
    assert sft.main(found) == 0
    assert results(output) == expected
    again = {path for path, time in times.items() if path.stat().st_mtime_ns != time}
    # The adapter is until it is on record, and one of two pictures.
    allowed = {"curves.svg"} if output / "trained.json" in made else {"adapter"}
    assert {path.relative_to(output).parts[0] for path in again} <= allowed
    return len(made)


def files_of(paths: Any) -> list[Path]:
    return [
        file
        for path in paths
        for file in (path.rglob("*") if path.is_dir() else [path])
        if file.is_file() and ".unfinished" not in file.parts
    ]


@pytest.mark.usefixtures("quick", "in_this_process")
def test_a_trained_run_is_finished_without_its_dataset(
    trained_only: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[..., str],
) -> None:
    """And otherwise than it was begun, where what follows training is concerned."""
    from immune_train import recall
    from immune_train.export import build

    output = Path(shutil.copytree(trained_only, tmp_path / "run"))
    with monkeypatch.context() as patched:
        patched.setattr(build, "export", lambda *_: no_room())
        said = refused(sft.main, *resuming(output, QUANTS))
    assert said.startswith("the disk is full; the adapter is trained and saved: resume with `")
    assert f"--output {output} --resume`" in said
    assert "not finished" in refused(recall.main, "--run", output)
    assert not (output / "run.json").exists()
    assert sft.main(resuming(output, "--data", str(tmp_path / "nothing"), "gguf=[]")) == 0
    assert "gguf" not in json.loads((output / "run.json").read_text())
    assert configs.load(str(output / "config.yaml")).gguf == []


def no_room() -> None:
    raise ImmuneError("the disk is full")


@pytest.mark.usefixtures("quick", "in_this_process")
def test_another_adapter_than_the_trained_one_is_not_taken_for_it(
    trained_only: Path, tmp_path: Path
) -> None:
    """Neither is a merged model of another adapter."""
    output = Path(shutil.copytree(trained_only, tmp_path / "run"))
    found = resuming(output, "gguf=[]")
    assert sft.main(found) == 0
    whole = digests(output)
    for spoilt in (ADAPTER, "adapter/adapter_config.json", "merged_16bit/merge.json"):
        (output / "run.json").unlink()
        (output / spoilt).write_text("{}")
        assert sft.main(found) == 0
        assert digests(output) == whole


@pytest.mark.usefixtures("quick", "in_this_process")
def test_a_signal_at_the_last_step_ends_the_run_after_it(
    command: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(progress, "show", lambda: at_step(2, stop_by_signal))
        assert sft.main(command(output, "max_steps=2")) == 130
    assert "stopped after step 2 of 2" in capsys.readouterr().err
    assert (output / "adapter").is_dir()
    assert not (output / "merged_16bit").exists()
    assert sft.main(resuming(output)) == 0
    assert (output / "run.json").is_file()


@pytest.mark.parametrize(
    ("number", "more"),
    [(signal.SIGINT, []), (signal.SIGTERM, []), (signal.SIGTERM, ["enable_jit_checkpoint=true"])],
)
def test_a_signal_saves_and_says_how_to_go_on(
    number: int, more: list[str], command: Callable[..., list[str]], tmp_path: Path
) -> None:
    output = tmp_path / "run"
    found = command(output, "num_train_epochs=4000", "logging_steps=1", *more)
    process = warm.start(tmp_path, warm.train, found)
    try:
        wait_for_a_step(output, process)
        os.kill(process.pid, number)
        process.join(120)
    finally:
        process.kill()
    said = (tmp_path / "stderr").read_text()
    assert process.exitcode == 128 + number, said
    lines = said.splitlines()
    assert "stopping after this step; repeat to stop at once" in lines
    assert "Traceback" not in said
    step = run.last_checkpoint(output).name.removeprefix("checkpoint-")
    assert lines[-1].startswith(f"stopped after step {int(step):,} of 12,000, which is saved")
    assert f"--output {output} --resume" in lines[-1]
    assert not (output / "run.json").exists()


def test_a_signal_to_one_of_two_processes_stops_both_at_one_step(
    command: Callable[..., list[str]], tmp_path: Path
) -> None:
    import psutil

    output = tmp_path / "run"
    found = command(output, *STEPWISE, "num_train_epochs=4000", "per_device_train_batch_size=1")
    process = warm.start(tmp_path, warm.train_in_two, found)
    try:
        wait_for_a_step(output, process)
        [*_, last] = psutil.Process(process.pid).children()
        last.send_signal(signal.SIGINT)
        process.join(120)
    finally:
        process.kill()
    said = (tmp_path / "stderr").read_text()
    assert said.count("stopped after step") == 1, said
    assert 'Traceback (most recent call last):\n  File "immune' not in said
    assert run.last_checkpoint(output) is not None


def wait_for_a_step(output: Path, process: BaseProcess) -> None:
    deadline = time.monotonic() + 240
    while not run.metrics(output) and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)


# Numbers that are not finite


def assert_nothing_spoilt(output: Path) -> None:
    """Every JSON file is JSON, every weight a number, and nothing says that the run is done."""
    import msgspec
    from safetensors.torch import load_file

    for path in output.rglob("*.json"):
        msgspec.json.decode(path.read_bytes())
    for line in (output / "metrics.jsonl").read_text().splitlines():
        msgspec.json.decode(line)
    for path in output.rglob("*.safetensors"):
        assert all(weight.isfinite().all() for weight in load_file(path).values()), path
    assert not (output / "adapter").exists()
    assert not (output / "run.json").exists()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("settings", "what"),
    [
        (["learning_rate=1e20", "warmup_steps=0"], "the loss of step 2 is nan"),
        (["learning_rate=1e20", "warmup_steps=4", "save_steps=1", "eval_steps=1"], " is nan"),
        (
            ["learning_rate=1e20", "warmup_steps=0", "max_steps=1", "load_best_model_at_end=false"],
            "eval_loss after step 1 is nan",
        ),
    ],
)
def test_a_run_stops_at_the_first_number_that_is_not_finite(
    settings: list[str],
    what: str,
    command: Callable[..., list[str]],
    tmp_path: Path,
    refused: Callable[..., str],
) -> None:
    output = tmp_path / "run"
    said = refused(sft.main, *command(output, *settings, "merge=false"), code=1)
    assert what in said
    assert "lower learning_rate (1e+20)" in said
    kept = run.last_checkpoint(output)
    assert f"{kept} is the last good checkpoint" in said or kept is None
    assert_nothing_spoilt(output)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("step", "value"), [(1, math.nan), (1, math.inf), (2, math.nan), (3, math.inf)]
)
def test_a_gradient_that_is_not_finite_moves_no_weight(
    step: int,
    value: float,
    command: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[..., str],
) -> None:
    """Though the loss is: by one number of one weight's gradient."""
    from transformers import TrainerCallback

    class Spoil(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **kwargs):
            if state.global_step == step - 1:
                weight = next(one for one in model.parameters() if one.requires_grad)
                weight.register_hook(lambda gradient: gradient.index_fill(0, zero, value))

    import torch

    zero = torch.tensor([0])
    output = tmp_path / "run"
    monkeypatch.setattr(progress, "show", Spoil)
    every_two = ("eval_steps=2", "save_steps=2", "merge=false")
    said = refused(sft.main, *command(output, *every_two), code=1)
    assert said.startswith(f"the gradient of step {step} is ")
    kept = run.last_checkpoint(output)
    assert (kept and kept.name) == ("checkpoint-2" if step > 2 else None)
    assert_nothing_spoilt(output)


# Merging


def test_the_merged_model_is_the_adapter_on_its_base(whole: Path, tiny_model: Path) -> None:
    """By plain transformers and peft; in float32 to 1e-4, and in 16 bits as near as those are."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(whole / "merged_16bit")
    ids = tokenizer("10:15 - horizontal port scan, then a beacon", return_tensors="pt").input_ids
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    with torch.no_grad():
        alone = base(ids).logits
        expected = PeftModel.from_pretrained(base, whole / "adapter").eval()(ids).logits
        exact = merge.merged(str(tiny_model), whole / "adapter").eval()(ids).logits
        saved = AutoModelForCausalLM.from_pretrained(whole / "merged_16bit")
        assert saved.dtype == torch.bfloat16
        rounded = saved.float().eval()(ids).logits
    assert (expected - alone).abs().max() > 1  # it has learned something
    assert (expected - exact).abs().max() < 1e-4
    assert (expected - rounded).abs().max() < 0.3
    assert saved.config.use_cache


@pytest.mark.parametrize("stabilised", [True, False])
def test_the_adapters_scale(
    stabilised: bool, whole: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """W + alpha / sqrt(r) B A under RSLoRA, and alpha / r without, by hand."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    shutil.copytree(whole / "adapter", tmp_path / "adapter")
    settings = tmp_path / "adapter" / "adapter_config.json"
    content = json.loads(settings.read_text())
    assert (content["r"], content["lora_alpha"], content["use_rslora"]) == (4, 16, True)
    settings.write_text(json.dumps({**content, "use_rslora": stabilised}))
    scale = 16 / math.sqrt(4) if stabilised else 16 / 4
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).state_dict()
    merged = merge.merged(str(tiny_model), tmp_path / "adapter").state_dict()
    adapter = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    names = [name.removesuffix(".lora_A.weight") for name in adapter if "lora_A" in name]
    assert len(names) == 7
    for name in names:
        weight = name.removeprefix("base_model.model.") + ".weight"
        change = scale * adapter[f"{name}.lora_B.weight"] @ adapter[f"{name}.lora_A.weight"]
        assert change.abs().max() > 1e-3
        assert torch.allclose(merged[weight], base[weight] + change, atol=1e-6)
    assert torch.equal(merged["model.norm.weight"], base["model.norm.weight"])


def test_merging_what_is_not_there(
    whole: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    assert "contains no run" in refused(merge.main, "--run", tmp_path)
    shutil.copy(whole / "config.yaml", tmp_path)
    assert "contains no adapter" in refused(merge.main, "--run", tmp_path)


def test_merging_holds_one_model_at_a_time(
    whole: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And on a GPU that has no room for that one, the CPU compares; the figures are the same."""
    import torch
    from transformers import AutoModelForCausalLM

    loaded: list[Any] = []
    load, move = AutoModelForCausalLM.from_pretrained, torch.nn.Module.to

    def from_pretrained(*arguments: Any, **named: Any) -> Any:
        gc.collect()
        assert [one for one in loaded if one() is not None] == []
        model = load(*arguments, **named)
        loaded.append(weakref.ref(model))
        return model

    def to(model: Any, *arguments: Any, **named: Any) -> Any:
        if arguments[:1] == ("cuda",):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return move(model, *arguments, **named)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", from_pretrained)
    rows = as_rows([33, 20])
    found = merge.write(str(tiny_model), whole / "adapter", tmp_path / "merged", rows=rows)
    assert len(loaded) == 3
    assert found.tokens == sum(row.end - row.answer for row in rows)
    assert 0 < found.largest < 0.3
    monkeypatch.setattr(merge, "_devices", lambda: ["cuda", "cpu"])
    monkeypatch.setattr(torch.nn.Module, "to", to)
    arguments = (str(tiny_model), whole / "adapter", tmp_path / "merged", rows)
    assert merge.difference(*arguments) == found


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] can't allocate memory")]
)
def test_a_merge_without_memory_says_what_it_needs(
    error: Exception, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(merge, "merged", full)
    with pytest.raises(ImmuneError, match="bytes per parameter of acme/base"):
        merge.write("acme/base", whole / "adapter", tmp_path / "merged")
    assert not list(tmp_path.iterdir())


def test_a_merge_whose_process_is_killed_is_a_sentence() -> None:
    with pytest.raises(ImmuneError, match="ended before its work"):
        processes.apart(os._exit, 9)


# Several processes


STEPWISE = ("lora_dropout=0.0", "logging_steps=1", "order=emitted", "merge=false")


def in_two_processes(arguments: list[str], folder: Path) -> str:
    """Train so; what was printed, also to `folder`."""
    process = warm.start(folder, warm.train_in_two, arguments)
    process.join(300)
    assert process.exitcode == 0, (folder / "stderr").read_text()
    return (folder / "stdout").read_text()


def assert_same_losses(one: Path, two: Path, steps: list[int]) -> None:
    first, second = run.metrics(one), run.metrics(two)
    assert [line["step"] for line in first] == [line["step"] for line in second] == steps
    for line, other in zip(first, second, strict=True):
        losses = {key: value for key, value in line.items() if key.endswith("loss")}
        assert {key: other[key] for key in losses} == pytest.approx(losses, rel=1e-5)


def test_two_processes_are_one_with_twice_the_batch(
    command: Callable[..., list[str]], tmp_path: Path
) -> None:
    settings = [*STEPWISE, "records_train=3", "max_steps=3", "eval_steps=3", "save_steps=3"]
    settings += ["order=shuffled"]  # no record is dropped or repeated at the end of an epoch
    one, two = tmp_path / "one", tmp_path / "two"
    assert sft.main(command(one, *settings)) == 0
    said = in_two_processes(command(two, *settings, "per_device_train_batch_size=1"), tmp_path)
    assert said.count("what tiny trains on") == 1
    assert " steps of 2 conversations: " in said
    assert "2 processes share the work: each takes 1 of the 2 conversations of a step" in said
    assert_same_losses(one, two, [0, 1, 2, 3, 3])
    assert (two / "run.json").is_file()


def test_two_processes_may_need_different_numbers_of_packs(
    command: Callable[..., list[str]], training_out: Callable[[str], Path], tmp_path: Path
) -> None:
    """Each of a step and of an evaluation: none waits for a pack that the other does not have."""
    records = dataset.from_folder(training_out(CLEAN) / "sft" / CLEAN)
    lengths = [record.tokens for record in dataset.shortest(records.train, 8)]
    longest = max(lengths + [record.tokens for record in dataset.shortest(records.eval, 3)])
    pairs = [lengths[at : at + 2] for at in range(0, 8, 2)]  # what each process has of a step

    def packs(capacity: int) -> list[int]:
        return [len(best_fit_decreasing(pair, capacity)) for pair in pairs]

    capacity = next(
        capacity
        for capacity in range(longest, 4 * longest)
        if (found := packs(capacity))[::2] != found[1::2]
    )
    settings = [*STEPWISE, "packing=true", "gradient_accumulation_steps=2", "records_train=8"]
    settings += ["records_eval=3", "max_steps=2", "eval_steps=2", "save_steps=2"]
    settings += [f"max_length={capacity}", "per_device_eval_batch_size=1"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert sft.main(command(one, *settings, "per_device_train_batch_size=2")) == 0
    in_two_processes(command(two, *settings, "per_device_train_batch_size=1"), tmp_path)
    assert_same_losses(one, two, [0, 1, 2, 2])


@pytest.mark.parametrize(
    ("visible", "world", "seen"),
    [("2,3", None, "2"), (None, None, "0"), ("", None, ""), ("2,3", "2", "2,3")],
)
def test_one_process_takes_one_device(
    visible: str | None, world: str | None, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("CUDA_VISIBLE_DEVICES", visible), ("WORLD_SIZE", world)):
        monkeypatch.setenv(name, value or "")
        if value is None:
            monkeypatch.delenv(name)
    assert backends.choose("trl") == "trl"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == seen


# What can go wrong


@pytest.mark.usefixtures("quick")
def test_too_little_memory_is_a_sentence(
    command: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[..., str],
) -> None:
    import torch

    from immune_train import backends

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. GPU 0 has 8.")

    monkeypatch.setattr(backends, "load", full)
    said = refused(sft.main, *command(tmp_path / "run"))
    assert "too little memory (Tried to allocate 9 GiB): lower per_device_train_batch_size" in said
    said = refused(sft.main, *command(tmp_path / "other", "per_device_train_batch_size=1"))
    assert "lower max_length" in said


@pytest.mark.usefixtures("quick")
def test_a_documented_config_says_what_it_needs(
    training_out: Callable[[str], Path],
    tiny_model: Path,
    tmp_path: Path,
    refused: Callable[..., str],
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is CUDA")
    found = ["--config", CLEAN, "--data", str(training_out(CLEAN)), "--model", str(tiny_model)]
    said = refused(sft.main, *found, "--output", tmp_path / "run", "--backend", "trl")
    assert "CUDA" in said
    assert "--config tiny" in said
