"""Train one adapter for all three tasks: a config and a dataset in, a run's folder out."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from immune_data import cli, parallel, staging
from immune_data.errors import CheckFailed, ImmuneError

if TYPE_CHECKING:
    from immune_train.config import Config
    from immune_train.dataset import Dataset
    from immune_train.preflight import Preflight

_COMPARED = 8  # conversations over which the merged model is compared with the adapter


def parser() -> argparse.ArgumentParser:
    made = cli.parser(
        "immune_train.sft",
        summary="Fine-tune one LoRA adapter on the summaries, cause analyses and risk assessments "
        "of an emitted dataset, and merge it into its base.",
        example="python -m immune_train.sft --config tiny --dry-run\n"
        "  python -m immune_train.sft --config unified-clean --output data/models/unified-clean "
        "learning_rate=1e-5\n"
        "  torchrun --nproc-per-node 2 -m immune_train.sft --config unified-clean --backend trl",
    )
    made.add_argument(
        "--config",
        default="unified-clean",
        help="a shipped config or the path of a .yaml file (default: unified-clean)",
    )
    made.add_argument("--train", type=Path, help="JSONL to train on, with --eval")
    made.add_argument("--eval", type=Path, help="JSONL to measure on, with --train")
    made.add_argument(
        "--dataset",
        help="ORG/NAME[:CONFIG][@REV] on the Hub, or a folder that holds an emitted or published "
        "dataset (default: what the config's recipe emitted to --data)",
    )
    made.add_argument(
        "--data", type=Path, default=Path("data"), help="folder of the artifacts (default: data)"
    )
    made.add_argument("--model", help="base model: a folder or a model of the Hub")
    made.add_argument("--backend", choices=("auto", "unsloth", "trl"), help="see the config")
    made.add_argument("--output", type=Path, help="folder of the run (default: DATA/models/CONFIG)")
    made.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    made.add_argument(
        "--dry-run", action="store_true", help="say what would be trained on, and stop"
    )
    made.add_argument("settings", nargs="*", metavar="key=value", help="settings over the config's")
    return made


def command(arguments: argparse.Namespace) -> int:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    if (arguments.train is None) != (arguments.eval is None):
        raise ImmuneError("--train and --eval go together: give both files")
    if arguments.train and arguments.dataset:
        raise ImmuneError("--dataset and --train are two datasets: give one of them")
    from immune_train import backends, config, processes, refused

    processes.check()
    overrides = list(arguments.settings)
    overrides += [f"model_name_or_path={arguments.model}"] if arguments.model else []
    overrides += [f"backend={arguments.backend}"] if arguments.backend else []
    backend = backends.choose(_backend(arguments.config, overrides))
    settings = config.load(arguments.config, overrides)
    refused.check(settings, config.defaults(), backend)
    with _quiet_unless_first():
        dataset = _dataset(arguments, settings)
        tokenizer = backends.tokenizer(settings)
        seen = _preflight(settings, backend, dataset, tokenizer)
        if arguments.dry_run:
            print("nothing was trained: leave --dry-run out to train")
            return 0
        output = arguments.output or arguments.data / "models" / settings.name
        return _train(settings, backend, dataset, tokenizer, seen, output, arguments)


def _backend(name: str, overrides: Sequence[str]) -> str:
    """The back end that is asked for; it is imported before what reads the other settings."""
    from immune_train import config

    given, _ = config.read(name)
    wanted = given.get("backend", "auto")
    for override in overrides:
        key, _, value = override.partition("=")
        wanted = value if key == "backend" else wanted
    return str(wanted)


def _dataset(arguments: argparse.Namespace, settings: Config) -> Dataset:
    from immune_train import dataset

    if arguments.train:
        return dataset.from_files(arguments.train, arguments.eval)
    if arguments.dataset:
        with cli.progress() as report:
            return dataset.from_hub(arguments.dataset, settings.recipe, report)
    return dataset.from_folder(arguments.data / "sft" / settings.recipe)


def _preflight(settings: Config, backend: str, dataset: Dataset, tokenizer: Any) -> Preflight:
    from immune_train import plan, preflight
    from immune_train.labels import Renderer

    seen = preflight.look(settings, dataset, Renderer(tokenizer))
    seen = replace(seen, plan=plan.make(settings, len(seen.train.rows), backend))
    preflight.show(seen, settings)
    return seen


def _train(
    settings: Config,
    backend: str,
    dataset: Dataset,
    tokenizer: Any,
    seen: Preflight,
    output: Path,
    arguments: argparse.Namespace,
) -> int:
    from immune_train import backends, curves, processes, progress, run, trainer

    first = processes.is_first()
    with staging.locked(output) if first else nullcontext(), _memory(settings):
        if first:
            run.begin(output, settings, dataset, backend, resume=arguments.resume)
        checkpoint = run.last_checkpoint(output) if arguments.resume else None
        model = backends.load(backend, settings)
        callbacks = [progress.record(output), progress.show(), progress.at_the_end()]
        # What the libraries print is no result of the command.
        with progress.Stop() as stop, redirect_stdout(sys.stderr):
            made = trainer.make(
                settings,
                model,
                tokenizer,
                seen.train.rows,
                seen.eval.rows,
                output / run.CHECKPOINTS,
                [*callbacks, stop.callback()],
                eval_on_start=settings.eval_on_start and checkpoint is None,
            )
            with _finite(settings, output):
                trained = made.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if made.state.global_step < made.state.max_steps:
            again = f"python -m immune_train.sft --config {arguments.config} --output {output}"
            how = (
                f"after step {made.state.global_step:,} of {made.state.max_steps:,}, which is "
                f"saved: go on with `{again} --resume` and the settings you gave"
            )
            if stop.signal is None:
                raise CheckFailed(f"training ended {how}")
            if first:
                print(f"stopped {how}", file=sys.stderr)
            return 128 + stop.signal
        if not first:
            return 0
        _save_adapter(made, tokenizer, output)
        curves.draw(output, f"{settings.name}, {backend}")
        result = _summary(settings, backend, dataset, seen, made, trained)
        del made, model
        backends.release()
        if arguments.dataset and not Path(arguments.dataset).is_dir():
            result["dataset"] = arguments.dataset
        result |= _merge(settings, seen, output)
        result |= _gguf(settings, output, arguments)
        run.write_json(output, run.SUMMARY, result)
        print(f"wrote {output}")
    return 0


def _save_adapter(made: Any, tokenizer: Any, output: Path) -> None:
    from immune_train import run

    with staging.staging(output) as hidden:
        made.model.save_pretrained(hidden / run.ADAPTER)
        tokenizer.save_pretrained(hidden / run.ADAPTER)
        staging.move(hidden / run.ADAPTER, output / run.ADAPTER)


def _summary(
    settings: Config, backend: str, dataset: Dataset, seen: Preflight, made: Any, trained: Any
) -> dict[str, Any]:
    from immune_train import run

    state = made.state
    kept_best = settings.load_best_model_at_end and state.best_global_step
    best = state.best_global_step if kept_best else state.global_step
    counts = seen.train.counts()["by_task"]
    return {
        "name": settings.name,
        "recipe": (dataset.manifest or {}).get("recipe"),
        "synthetic": dataset.synthetic,
        "base_model": settings.model_name_or_path,
        "backend": backend,
        "hardware": run.hardware(),
        "config": settings.in_force(),
        "records": {task: of_task["records"] for task, of_task in counts.items()},
        "preflight": seen.as_json(),
        "steps": state.global_step,
        "best_step": best,
        "train_loss": trained.training_loss,
        "baseline": _losses(state, 0),
        "eval": _losses(state, best),
    }


def _losses(state: Any, step: int) -> dict[str, float | None]:
    """The losses of the evaluation at a step, of all tasks and of each."""
    found = [log for log in state.log_history if log["step"] == step and "eval_loss" in log]
    losses = found[0] if found else {}
    by_task = {
        key.removeprefix("eval_").removesuffix("_loss"): value
        for key, value in losses.items()
        if key.startswith("eval_") and key.endswith("_loss") and key != "eval_loss"
    }
    return {"loss": losses.get("eval_loss"), **by_task}


def _merge(settings: Config, seen: Preflight, output: Path) -> dict[str, Any]:
    if not settings.merge:
        return {}
    from immune_train import merge, run

    base, adapter = settings.model_name_or_path, output / run.ADAPTER
    revision = settings.model_revision
    rows = sorted(seen.eval.rows, key=lambda row: len(row.input_ids))[:_COMPARED]
    # In a process of its own, where nothing has rewritten transformers and peft.
    found = parallel.apart(
        merge.write, base, adapter, output / run.MERGED, revision=revision, rows=rows
    )
    print(f"merged_16bit against the adapter on its base: {found}")
    return {"merged": {"largest_difference": found.largest, "same_greedy": found.same_greedy}}


def _gguf(settings: Config, output: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    if not settings.gguf:
        return {}
    from immune_train import export, run

    if not settings.merge:
        raise ImmuneError("gguf files are made of the merged model: leave merge=true")
    export.command(
        export.parser().parse_args(
            [
                *("--model", str(output / run.MERGED)),
                *("--output", str(output / run.GGUF)),
                *("--quant", *settings.gguf),
            ]
        )
    )
    return {"gguf": list(settings.gguf)}


@contextmanager
def _finite(settings: Config, output: Path) -> Iterator[None]:
    """Say of numbers that are not finite what can be done about them."""
    from immune_train import run, trainer

    try:
        yield
    except trainer.NotFinite as error:
        kept = run.last_checkpoint(output)
        raise CheckFailed(
            f"{error}, so training was stopped: lower learning_rate "
            f"({settings.learning_rate:g}), or see whether the base model's weights are whole; "
            + (f"{kept} is the last good checkpoint" if kept else "no checkpoint was saved before")
        ) from None


@contextmanager
def _memory(settings: Config) -> Iterator[None]:
    """Turn a device's lack of memory into one sentence."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        lower = (
            "per_device_train_batch_size (and raise gradient_accumulation_steps as much)"
            if settings.per_device_train_batch_size > 1
            else "max_length"
        )
        wanted = re.search(r"Tried to allocate [\d.]+ \w+", str(error))
        raise ImmuneError(
            f"the device has too little memory{f' ({wanted[0]})' if wanted else ''}: lower {lower}"
            f"{'' if settings.gradient_checkpointing else ', or set gradient_checkpointing=true'}"
            f"{'' if settings.load_in_4bit else ', or set load_in_4bit=true'}"
        ) from None


@contextmanager
def _quiet_unless_first() -> Iterator[None]:
    """Of several processes only the first one says anything."""
    from immune_train import processes

    if processes.is_first():
        yield
        return
    before = sys.stdout
    with Path(os.devnull).open("w") as nowhere:
        sys.stdout = nowhere
        try:
            yield
        finally:
            sys.stdout = before


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
