"""One cell of `quality.py`: a prepared recipe, a seed and a base in; their model's results out.

The model is trained by the command `immune_train.sft` and evaluated as it is deployed: base and
adapter merged, in 16 bits. Out, for every held-out record: the loss of its reference answer and the
model's own greedy answer. The run's folder is kept in `runs/`, without weights, so that
`immune_train.evaluate --trained` can read it.

A cell may belong to a variant of a recipe, `RECIPE@VARIANT`: trained with other settings, on some
tasks only, or not at all.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import quality_held

from immune_data.common import digests, files
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.contract.record import Record
from immune_data.contract.vocabulary import END, END_OF_TEXT
from immune_data.prompts import TASKS
from immune_train.data.dataset import read_records

FOLDER, RUNS = "cells", "runs"
VARIANT = "@"  # between a recipe and the name of a variant

_ENDS = (END, END_OF_TEXT)

# Tokens of a batch of questions, including answers; a batch that does not fit a GPU is halved.
_AT_ONCE = {"cuda": 1 << 20, "cpu": 1 << 14}

# Settings for every recipe, so that those with known faults can be compared: each run reports what
# they cut and leak, and others are not affected. Merging is not needed here.
_ALWAYS = ("allow_leak=true", "overflow=truncate", "merge=false")


@dataclass(frozen=True)
class Setting:
    """The settings that all cells of a table share."""

    model: str
    config: str
    settings: tuple[str, ...]
    limit: int  # tokens of an answer, after which it counts as never ending
    tasks: tuple[str, ...] = TASKS  # of the records that are trained on and measured
    is_trained: bool = True  # False: the untrained base is measured


class Measurement(msgspec.Struct, frozen=True):
    """The results of one held-out record."""

    incident_id: str
    task: str
    loss: float  # the sum over the tokens of the reference answer
    tokens: int
    answer: str
    finish: str  # `stop`, or `length` if the answer had not ended at the limit


class Cell(msgspec.Struct, frozen=True):
    """`cells/RECIPE-SEED.json`: a result, and the sha256 of all its inputs."""

    recipe: str
    seed: int
    depends: dict[str, Any]
    hardware: str
    records: int
    train_tokens: int  # of an epoch, as trained on
    supervised_tokens: int
    steps: int
    best_step: int
    seconds: float  # of the whole of `immune_train.sft`, loading included, without a merge
    measured_seconds: float
    measured: list[Measurement]


def path(output: Path, recipe: str, seed: int) -> Path:
    return output / FOLDER / f"{recipe}-{seed}.json"


def recipe_of(name: str) -> str:
    """The recipe of a cell that may be a variant's."""
    return name.partition(VARIANT)[0]


def run_folder(output: Path, recipe: str, seed: int) -> Path:
    return output / RUNS / f"{recipe}-{seed}"


def read(output: Path, recipe: str, seed: int) -> Cell | None:
    """An existing cell; None if there is none that can be read."""
    try:
        return msgspec.json.decode(path(output, recipe, seed).read_bytes(), type=Cell)
    except (OSError, msgspec.MsgspecError):
        return None


def file_dependencies(output: Path, recipe: str) -> dict[str, str]:
    """A cell's dependencies in the output folder."""
    folder = output / quality_held.FOLDER / recipe_of(recipe)
    names = (*quality_held.SPLITS, quality_held.RECORDS)
    return {name: digests.sha256(folder / name) for name in names}


def setting_dependencies(setting: Setting) -> dict[str, Any]:
    """A cell's dependencies that all cells of a table share."""
    from immune_train import configs

    dependencies = {
        "model": _weights(setting.model),
        "config": {setting.config: digests.digest(configs.read(setting.config)[0])},
        "settings": list(setting.settings),
        "limit": setting.limit,
    }
    # Included only if they are not the default, so that older cells stay valid.
    if setting.tasks != TASKS:
        dependencies["tasks"] = list(setting.tasks)
    if not setting.is_trained:
        dependencies["trained"] = False
    return dependencies


def _weights(model: str) -> str:
    """The identity of a base: the files in its folder, or its name on the Hub."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    names = sorted(
        path.name for path in folder.iterdir() if path.suffix in (".json", ".safetensors")
    )
    return digests.digest({name: digests.sha256(folder / name) for name in names})


def make(output: Path, recipe: str, seed: int, setting: Setting, depends: dict[str, Any]) -> Cell:
    """Train and evaluate, and write the cell atomically.

    Raises:
        ImmuneError: training is refused or fails.
    """
    records = [record for record in held_records(output, recipe) if record.task in setting.tasks]
    folder = run_folder(output, recipe, seed)
    shutil.rmtree(folder, ignore_errors=True)
    began = time.monotonic()
    if setting.is_trained:
        _train(output / quality_held.FOLDER / recipe_of(recipe), folder, recipe, seed, setting)
    seconds = time.monotonic() - began if setting.is_trained else 0.0
    measuring = time.monotonic()
    model, tokenizer = _merged_model(folder) if setting.is_trained else _base(setting.model)
    cell = Cell(
        recipe=recipe,
        seed=seed,
        depends=depends,
        seconds=round(seconds, 1),
        measured=_measure(model, tokenizer, records, setting.limit),
        measured_seconds=round(time.monotonic() - measuring, 1),
        **(_of_run(folder) if setting.is_trained else _UNTRAINED),
    )
    with files.replacing(path(output, recipe, seed)) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(cell), indent=1))
    _drop_weights(folder)
    return cell


# The training fields of an untrained base's cell.
_UNTRAINED: dict[str, Any] = {
    "hardware": "",
    **dict.fromkeys(("records", "train_tokens", "supervised_tokens", "steps", "best_step"), 0),
}


def _of_run(folder: Path) -> dict[str, Any]:
    """The training fields of a cell."""
    from immune_train.artifacts import run, summary

    run_summary = summary.read(folder / run.SUMMARY)
    counts = run_summary.preflight["train"]
    return {
        "hardware": run_summary.hardware or "",
        "records": counts["records"],
        "train_tokens": counts["tokens"],
        "supervised_tokens": counts["supervised_tokens"],
        "steps": run_summary.steps or 0,
        "best_step": run_summary.best_step or 0,
    }


def _drop_weights(folder: Path) -> None:
    """Remove the large files of a run."""
    from immune_train.artifacts import run

    for name in (run.ADAPTER, run.CHECKPOINTS):
        shutil.rmtree(folder / name, ignore_errors=True)


def held_records(output: Path, recipe: str) -> list[Record]:
    """The held-out records of a recipe."""
    return read_records(output / quality_held.FOLDER / recipe_of(recipe) / quality_held.RECORDS)


def _train(dataset: Path, folder: Path, recipe: str, seed: int, setting: Setting) -> None:
    from immune_train.sft import __main__ as sft

    with tempfile.TemporaryDirectory() as folder_of_parts:
        arguments = [
            *("--config", setting.config, "--model", setting.model, "--backend", "trl"),
            *_records(dataset, Path(folder_of_parts), setting.tasks),
            *("--recipe", recipe_of(recipe), "--output", str(folder)),
            *_ALWAYS,
            *setting.settings,
            f"seed={seed}",
        ]
        if code := sft.command(sft.parser().parse_args(arguments)):
            raise CheckFailed(f"training {recipe} with seed {seed} was stopped (exit code {code})")


def _records(dataset: Path, target: Path, tasks: Sequence[str]) -> Iterator[str]:
    """The arguments that name the dataset; for some tasks only, new files in `target`."""
    if tuple(tasks) == TASKS:
        yield from ("--dataset", str(dataset))
        return
    for option, name in zip(("--train", "--eval"), quality_held.SPLITS, strict=True):
        lines = (dataset / name).read_bytes().splitlines(keepends=True)
        selected = [line for line in lines if msgspec.json.decode(line)["task"] in tasks]
        (target / name).write_bytes(b"".join(selected))
        yield from (option, str(target / name))


def _merged_model(folder: Path) -> tuple[Any, Any]:
    """The merged model in a run's folder, on the CPU, and its tokenizer."""
    from transformers import AutoTokenizer

    from immune_train import configs, merge
    from immune_train.artifacts import run

    settings = configs.load(str(folder / run.CONFIG))
    model = merge.merged(
        settings.model_name_or_path, folder / run.ADAPTER, revision=settings.model_revision
    )
    return model, AutoTokenizer.from_pretrained(folder / run.ADAPTER)


def _base(name: str) -> tuple[Any, Any]:
    """An untrained base, on the CPU, and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(name), AutoTokenizer.from_pretrained(name)


def _measure(
    model: Any, tokenizer: Any, records: Sequence[Record], limit: int
) -> list[Measurement]:
    """The losses of the reference answers, and the model's own answers."""
    import torch

    from immune_train.data.labels import Renderer

    model = model.to(torch.bfloat16).eval()  # the type of a merged model
    model = model.to("cuda") if torch.cuda.is_available() else model.float()
    rows = list(Renderer(tokenizer).rows(records))
    losses = [_loss(model, row) for row in rows]
    answers = answer(model, [row.input_ids[: row.answer] for row in rows], limit)
    return [
        Measurement(
            incident_id=row.incident_id,
            task=row.task,
            loss=loss,
            tokens=row.supervised,
            answer=tokenizer.decode(ids),
            finish="stop" if ended else "length",
        )
        for row, loss, (ids, ended) in zip(rows, losses, answers, strict=True)
    ]


def _loss(model: Any, row: Any) -> float:
    """The loss of an answer, as a sum over its tokens."""
    import torch

    from immune_train.sft.trainer import answer_loss

    inputs = {"input_ids": [row.input_ids], "labels": [row.labels]}
    with torch.no_grad():
        tensors = {name: torch.tensor(ids, device=model.device) for name, ids in inputs.items()}
        return answer_loss(model, tensors, items=1).item()


def answer(
    model: Any, prompts: Sequence[list[int]], limit: int, at_once: int | None = None
) -> list[tuple[list[int], bool]]:
    """The greedy answer to each prompt, without its end, and whether it ended within `limit`."""
    at_once = at_once or _AT_ONCE[model.device.type]
    by_index: dict[int, tuple[list[int], bool]] = {}
    for batch in _batches([len(prompt) + limit for prompt in prompts], at_once):
        answers = _answer_batch(model, [prompts[i] for i in batch], limit)
        by_index |= dict(zip(batch, answers, strict=True))
    return [by_index[i] for i in range(len(prompts))]


def _batches(lengths: Sequence[int], at_once: int) -> Iterator[list[int]]:
    """The indices of lengths in batches of at most `at_once` tokens, including padding."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and lengths[batch[0]] * (len(batch) + 1) > at_once:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _answer_batch(model: Any, prompts: list[list[int]], limit: int) -> list[tuple[list[int], bool]]:
    import torch

    try:
        return _generate(model, prompts, limit)
    except torch.OutOfMemoryError:
        if len(prompts) == 1:
            raise ImmuneError("the device has too little memory for one question") from None
    torch.cuda.empty_cache()
    half = len(prompts) // 2
    halves = (prompts[:half], prompts[half:])
    return [item for part in halves for item in _answer_batch(model, part, limit)]


def _generate(model: Any, prompts: list[list[int]], limit: int) -> list[tuple[list[int], bool]]:
    import torch
    from transformers import GenerationConfig

    # Replaces the base's own, whose penalties and filters would apply to values not set here.
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=limit, eos_token_id=list(_ENDS), pad_token_id=END_OF_TEXT
    )
    longest = max(map(len, prompts))
    padding = [longest - len(prompt) for prompt in prompts]
    ids = [[END_OF_TEXT] * n + prompt for n, prompt in zip(padding, prompts, strict=True)]
    mask = [[0] * n + [1] * (longest - n) for n in padding]
    with torch.no_grad():
        output = model.generate(
            torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
        )
    return [_until_end(row) for row in output[:, longest:].tolist()]


def _until_end(ids: list[int]) -> tuple[list[int], bool]:
    end = next((i for i, token in enumerate(ids) if token in _ENDS), None)
    return (ids, False) if end is None else (ids[:end], True)
