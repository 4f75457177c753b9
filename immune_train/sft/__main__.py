"""Train one adapter for all three tasks: a config and a dataset in, a run's folder out."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from immune_data.common import cli, files
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.common.text import one_line

if TYPE_CHECKING:
    from immune_train.artifacts.summary import Summary
    from immune_train.configs import Config
    from immune_train.data.dataset import Dataset
    from immune_train.data.preflight import Preflight


DEFAULT = "unified-clean"


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
        help=f"a shipped config or the path of a .yaml file (default: {DEFAULT})",
    )
    made.add_argument("--train", type=cli.file, help="JSONL to train on, with --eval")
    made.add_argument("--eval", type=cli.file, help="JSONL to measure on, with --train")
    made.add_argument(
        "--dataset",
        type=cli.dataset,
        metavar="hf://datasets/ORG/NAME[@REV]|DIR",
        help="a published dataset, or a folder that holds an emitted or published one "
        "(default: what the recipe emitted to --data)",
    )
    made.add_argument("--data", type=cli.folder, help="folder of the artifacts (default: data)")
    made.add_argument("--recipe", help="the dataset's recipe (default: the config's)")
    made.add_argument("--model", help="base model: a folder or a model of the Hub")
    made.add_argument("--backend", choices=("auto", "unsloth", "trl"), help="see the config")
    made.add_argument(
        "--output", type=cli.folder, help="folder of the run (default: DATA/models/NAME)"
    )
    made.add_argument(
        "--resume",
        action="store_true",
        help="resume from the last checkpoint of the run in --output, with the settings that it "
        "was begun with",
    )
    made.add_argument(
        "--dry-run", action="store_true", help="say what would be trained on, and stop"
    )
    made.add_argument("settings", nargs="*", metavar="key=value", help="settings over the config's")
    return made


def command(arguments: argparse.Namespace) -> int:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    from immune_train import backends, configs
    from immune_train.artifacts import run
    from immune_train.configs import processes, refused
    from immune_train.export import quantise

    processes.check()
    given = {
        "model_name_or_path": arguments.model,
        "backend": arguments.backend,
        "data": arguments.data,
        "dataset": arguments.dataset,
        "recipe": arguments.recipe,
        "train": arguments.train,
        "eval": arguments.eval,
    }
    quoted = (
        f"{key}={json.dumps(str(value))}" for key, value in given.items() if value is not None
    )
    overrides = [*arguments.settings, *quoted]
    name = arguments.config or DEFAULT
    if arguments.resume:
        folder = arguments.output or Path(arguments.data or "data") / "models" / Path(name).stem
        name = _begun(folder, arguments.config)
    backend = backends.choose(_backend(name, overrides))
    settings = configs.load(name, overrides)
    refused.check(settings, configs.defaults(), backend)
    quantise.check_names(settings.gguf)
    output = arguments.output or Path(settings.data) / "models" / settings.name
    with _quiet_unless_first():
        if arguments.resume:
            run.look(output, settings, resume=True)
            if run.trained(output):
                return _finish(settings, output)
        dataset = _dataset(settings)
        settings = _pinned(settings)
        tokenizer = backends.tokenizer(settings)
        seen = _preflight(settings, backend, dataset, tokenizer)
        run.look(output, settings, resume=arguments.resume)
        if arguments.dry_run:
            print("nothing was trained: leave --dry-run out to train")
            return 0
        return _train(settings, backend, dataset, tokenizer, seen, output, resume=arguments.resume)


def _begun(folder: Path, config: str | None) -> str:
    """The config that the run in `folder` wrote down.

    Raises:
        ImmuneError: there is none to resume, or it is of another config than is named.
    """
    from immune_train import configs
    from immune_train.artifacts import run

    if not (folder / run.CONFIG).is_file():
        raise ImmuneError(f"{folder} contains no run to resume: leave --resume out")
    begun = str(folder / run.CONFIG)
    of = configs.load(begun).name
    if config and Path(config).stem not in (of, Path(run.CONFIG).stem):
        raise ImmuneError(
            f"{folder} holds a run of config {of}, not of {config}: leave --config out to resume "
            "with it, or name another --output"
        )
    return begun


def _backend(name: str, overrides: Sequence[str]) -> str:
    """The back end that is asked for; it is imported before what reads the other settings."""
    from immune_train import configs

    given, _ = configs.read(name)
    wanted = given.get("backend", "auto")
    for override in overrides:
        key, _, value = override.partition("=")
        wanted = value.strip(" \"'") if key == "backend" else wanted
    return str(wanted)


def _pinned(settings: Config) -> Config:
    """The settings with their base at the commit at which it is read."""
    from immune_train.backends import base

    with cli.progress() as report:
        return base.see(settings, report)


def _dataset(settings: Config) -> Dataset:
    from immune_train.data import dataset

    if settings.train:
        return dataset.from_files(Path(settings.train), Path(settings.eval))
    if settings.dataset:
        with cli.progress() as report:
            return dataset.from_hub(settings.dataset, settings.recipe, report)
    return dataset.from_folder(Path(settings.data) / "sft" / settings.recipe)


def _preflight(settings: Config, backend: str, dataset: Dataset, tokenizer: Any) -> Preflight:
    from immune_train.backends.outlines import outline
    from immune_train.data import plan, preflight
    from immune_train.data.labels import Renderer
    from immune_train.sft import rehearsal

    seen = preflight.look(settings, dataset, Renderer(tokenizer))
    steps = plan.make(settings, len(seen.train.rows), backend, outline(settings))
    seen = replace(seen, plan=steps)
    preflight.show(seen, settings)
    rehearsal.rehearse(settings, steps)
    return seen


def _train(
    settings: Config,
    backend: str,
    dataset: Dataset,
    tokenizer: Any,
    seen: Preflight,
    output: Path,
    *,
    resume: bool,
) -> int:
    from immune_train import backends
    from immune_train.artifacts import run
    from immune_train.configs import processes
    from immune_train.sft import finish

    first = processes.is_first()
    with files.locked(output) if first else nullcontext():
        if first and resume:
            run.go_on(output, settings, dataset.manifest_json)
        elif first:
            run.begin(output, settings, backend, dataset.manifest_json, dataset.incidents_json)
        stopped = None
        if not (resume and run.last_step(output)):
            stopped = _loop(settings, backend, tokenizer, seen, output, resume=resume)
            backends.release()
        last = run.last_step(output)
        if not first:
            return 128 + stopped if stopped else 0
        if last:
            state = run.state(last)
            kept = _kept(settings, state, last)
            summary = _summary(settings, backend, dataset, seen, state, kept)
            for warning in summary.warnings:
                print(one_line(f"warning: {warning}"))
            finish.keep(output, kept, tokenizer)
            finish.trained(output, summary, seen.eval.rows)
        if stopped or not last:
            saved = run.last_checkpoint(output)
            state = run.state(saved) if saved else {"global_step": 0, "max_steps": 0}
            how = (
                f"after step {state['global_step']:,} of {state['max_steps']:,}, which is saved: "
                f"resume with {_again(output)}"
            )
            if not stopped:
                raise CheckFailed(f"training ended {how}")
            print(f"stopped {how}", file=sys.stderr)
            return 128 + stopped
    return _finish(settings, output)


def _loop(
    settings: Config,
    backend: str,
    tokenizer: Any,
    seen: Preflight,
    output: Path,
    *,
    resume: bool,
) -> int | None:
    """Train, from the last checkpoint on if there is one; the signal that stopped it, if one did.

    Nothing of it stays in memory.
    """
    from immune_train import backends
    from immune_train.artifacts import run
    from immune_train.sft import progress, trainer

    checkpoint = run.last_checkpoint(output) if resume else None
    with _memory(settings):
        model = backends.load(backend, settings)
        callbacks = [progress.record(output), progress.show(), progress.at_the_end()]
        # What the libraries print is not the result of the command.
        with progress.Stop() as stop, redirect_stdout(sys.stderr), _finite(settings, output):
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
            made.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return stop.signal


def _kept(settings: Config, state: dict[str, Any], last: Path) -> Path:
    """The checkpoint whose adapter the run keeps: the best one that was saved, or the last."""
    best = state["best_model_checkpoint"]
    if settings.load_best_model_at_end and best:
        return last.with_name(Path(best).name)
    return last


def _summary(
    settings: Config,
    backend: str,
    dataset: Dataset,
    seen: Preflight,
    state: dict[str, Any],
    kept: Path,
) -> Summary:
    from msgspec import UNSET

    from immune_train.artifacts import run
    from immune_train.artifacts.summary import VERSION, Summary
    from immune_train.sft import progress, trainer

    assert seen.plan is not None, "it was made before training"
    step = int(kept.name.split("-")[1])
    counts = seen.train.counts()["by_task"]
    on_hub = settings.dataset and not Path(settings.dataset).is_dir()
    return Summary(
        schema_version=VERSION,
        name=settings.name,
        recipe=dataset.manifest.recipe if dataset.manifest else None,
        incidents_sha256=dataset.incidents_sha256,
        synthetic=dataset.synthetic,
        base_model=settings.model_name_or_path,
        backend=backend,
        hardware=run.hardware(),
        config=settings.in_force(),
        records={task: of_task["records"] for task, of_task in counts.items()},
        preflight=seen.as_json(),
        steps=state["global_step"],
        best_step=step,
        train_loss=trainer.train_loss(state),
        baseline=_losses(state, 0),
        eval=_losses(state, step),
        warnings=progress.warnings(state["log_history"], seen.plan.vocabulary),
        dataset=settings.dataset if on_hub else UNSET,
    )


def _losses(state: dict[str, Any], step: int) -> dict[str, float | None]:
    """The losses of the evaluation at a step, of all tasks and of each."""
    found = [log for log in state["log_history"] if log["step"] == step and "eval_loss" in log]
    losses = found[0] if found else {}
    by_task = {
        key.removeprefix("eval_").removesuffix("_loss"): value
        for key, value in losses.items()
        if key.startswith("eval_") and key.endswith("_loss") and key != "eval_loss"
    }
    return {"loss": losses.get("eval_loss"), **by_task}


def _finish(settings: Config, output: Path) -> int:
    """Make what follows training; what goes wrong there is not lost with it."""
    from immune_train.artifacts import run
    from immune_train.configs import processes
    from immune_train.sft import finish

    if not processes.is_first():
        return 0
    with files.locked(output):
        run.go_on(output, settings)
        saved = f"the adapter is trained and saved: resume with {_again(output)}"
        try:
            finish.finish(output, settings)
        except ImmuneError as error:
            raise type(error)(f"{error}; {saved}") from None
        except KeyboardInterrupt:
            print(saved, file=sys.stderr)
            raise
    print(f"wrote {output}")
    return 0


def _again(output: Path) -> str:
    command = ("python", "-m", "immune_train.sft", "--output", str(output), "--resume")
    return f"`{shlex.join(command)}`"


@contextmanager
def _finite(settings: Config, output: Path) -> Iterator[None]:
    """Say of numbers that are not finite what can be done about them."""
    from immune_train.artifacts import run
    from immune_train.sft import trainer

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
    from immune_train.configs import processes

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
