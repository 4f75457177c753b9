"""Train one adapter for all three tasks: a config and a dataset in, a run folder out."""

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
    parser = cli.parser(
        "immune_train.sft",
        summary="Fine-tune one LoRA adapter on the summaries, cause analyses and risk assessments "
        "of an emitted dataset, and merge it into its base.",
        example="python -m immune_train.sft --config tiny --dry-run\n"
        "  python -m immune_train.sft --config unified-clean --output data/models/unified-clean "
        "learning_rate=1e-5\n"
        "  torchrun --nproc-per-node 2 -m immune_train.sft --config unified-clean --backend trl",
    )
    parser.add_argument(
        "--config",
        help=f"a shipped config or the path of a .yaml file (default: {DEFAULT})",
    )
    parser.add_argument("--train", type=cli.file, help="JSONL to train on, with --eval")
    parser.add_argument("--eval", type=cli.file, help="JSONL to evaluate on, with --train")
    parser.add_argument(
        "--dataset",
        type=cli.dataset,
        metavar="hf://datasets/ORG/NAME[@REV]|DIR",
        help="a published dataset, or a folder with an emitted or published one "
        "(default: what the recipe emitted to --data)",
    )
    parser.add_argument("--data", type=cli.folder, help="the artifact folder (default: data)")
    parser.add_argument("--recipe", help="the dataset's recipe (default: the config's)")
    parser.add_argument("--model", help="base model: a folder or a model of the Hub")
    parser.add_argument("--backend", choices=("auto", "unsloth", "trl"), help="see the config")
    parser.add_argument(
        "--output", type=cli.folder, help="folder of the run (default: DATA/models/NAME)"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="resume the run in --output from its last checkpoint, with the settings that it "
        "was started with",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be trained on, and stop"
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="override settings")
    return parser


def command(arguments: argparse.Namespace) -> int:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    from immune_train import backends, configs
    from immune_train.artifacts import run
    from immune_train.configs import processes, refused
    from immune_train.export import quantise

    processes.check()
    options = {
        "model_name_or_path": arguments.model,
        "backend": arguments.backend,
        "data": arguments.data,
        "dataset": arguments.dataset,
        "recipe": arguments.recipe,
        "train": arguments.train,
        "eval": arguments.eval,
    }
    assignments = (
        f"{key}={json.dumps(str(value))}" for key, value in options.items() if value is not None
    )
    overrides = [*arguments.settings, *assignments]
    name = arguments.config or DEFAULT
    if arguments.resume:
        folder = arguments.output or Path(arguments.data or "data") / "models" / Path(name).stem
        name = _saved_config(folder, arguments.config)
    backend = backends.choose(_backend(name, overrides))
    settings = configs.load(name, overrides)
    refused.check(settings, configs.defaults(), backend)
    quantise.check_names(settings.gguf)
    output = arguments.output or Path(settings.data) / "models" / settings.name
    with _quiet_unless_first():
        if arguments.resume:
            run.check_folder(output, settings, resume=True)
            if run.trained(output):
                return _finish(settings, output)
        dataset = _dataset(settings)
        settings = _with_pinned_base(settings)
        tokenizer = backends.tokenizer(settings)
        report = _preflight(settings, backend, dataset, tokenizer)
        run.check_folder(output, settings, resume=arguments.resume)
        if arguments.dry_run:
            print("nothing was trained: leave out --dry-run to train")
            return 0
        return _train(
            settings, backend, dataset, tokenizer, report, output, resume=arguments.resume
        )


def _saved_config(folder: Path, config: str | None) -> str:
    """The path of the config that the run in `folder` recorded.

    Raises:
        ImmuneError: there is no run to resume, or its config is not the one that is named.
    """
    from immune_train import configs
    from immune_train.artifacts import run

    if not (folder / run.CONFIG).is_file():
        raise ImmuneError(f"{folder} contains no run to resume: leave out --resume")
    path = str(folder / run.CONFIG)
    name = configs.load(path).name
    if config and Path(config).stem not in (name, Path(run.CONFIG).stem):
        raise ImmuneError(
            f"{folder} contains a run of config {name}, not of {config}: leave out --config to "
            "resume it, or name another --output"
        )
    return path


def _backend(name: str, overrides: Sequence[str]) -> str:
    """The back end in the settings; it must be imported before the module that reads the others."""
    from immune_train import configs

    settings, _ = configs.read(name)
    backend = settings.get("backend", "auto")
    for override in overrides:
        key, _, value = override.partition("=")
        backend = value.strip(" \"'") if key == "backend" else backend
    return str(backend)


def _with_pinned_base(settings: Config) -> Config:
    """The settings with their base fixed to one commit."""
    from immune_train.backends import base

    with cli.progress() as report:
        return base.resolve(settings, report)


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

    report = preflight.inspect(settings, dataset, Renderer(tokenizer))
    steps = plan.make(settings, len(report.train.rows), backend, outline(settings))
    report = replace(report, plan=steps)
    preflight.show(report, settings)
    rehearsal.rehearse(settings, steps)
    return report


def _train(
    settings: Config,
    backend: str,
    dataset: Dataset,
    tokenizer: Any,
    report: Preflight,
    output: Path,
    *,
    resume: bool,
) -> int:
    from immune_train import backends
    from immune_train.artifacts import run
    from immune_train.configs import processes
    from immune_train.sft import finish

    is_first = processes.is_first()
    with files.locked(output) if is_first else nullcontext():
        if is_first and resume:
            run.resume(output, settings, dataset.manifest_json)
        elif is_first:
            run.begin(output, settings, backend, dataset.manifest_json, dataset.incidents_json)
        signal = None
        if not (resume and run.last_step(output)):
            signal = _loop(settings, backend, tokenizer, report, output, resume=resume)
            backends.release()
        checkpoint = run.last_step(output)
        if not is_first:
            return 128 + signal if signal else 0
        if checkpoint:
            state = run.state(checkpoint)
            best = _best_checkpoint(settings, state, checkpoint)
            summary = _summary(settings, backend, dataset, report, state, best)
            for warning in summary.warnings:
                print(one_line(f"warning: {warning}"))
            finish.write_adapter(output, best, tokenizer)
            finish.write_trained(output, summary, report.eval.rows)
        if signal or not checkpoint:
            latest = run.last_checkpoint(output)
            state = run.state(latest) if latest else {"global_step": 0, "max_steps": 0}
            progress = (
                f"after step {state['global_step']:,} of {state['max_steps']:,}, which is saved: "
                f"resume with {_resume_command(output)}"
            )
            if not signal:
                raise CheckFailed(f"training ended {progress}")
            print(f"stopped {progress}", file=sys.stderr)
            return 128 + signal
    return _finish(settings, output)


def _loop(
    settings: Config,
    backend: str,
    tokenizer: Any,
    report: Preflight,
    output: Path,
    *,
    resume: bool,
) -> int | None:
    """Train, from the last checkpoint if there is one; the signal that stopped it, if any, out.

    Nothing of it stays in memory.
    """
    from immune_train import backends
    from immune_train.artifacts import run
    from immune_train.sft import progress, trainer

    checkpoint = run.last_checkpoint(output) if resume else None
    with _memory(settings):
        model = backends.load(backend, settings)
        callbacks = [progress.record(output), progress.show(), progress.last_step()]
        # The libraries' output is not the result of the command.
        with progress.Stop() as stop, redirect_stdout(sys.stderr), _finite(settings, output):
            loop = trainer.make(
                settings,
                model,
                tokenizer,
                report.train.rows,
                report.eval.rows,
                output / run.CHECKPOINTS,
                [*callbacks, stop.callback()],
                eval_on_start=settings.eval_on_start and checkpoint is None,
            )
            loop.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return stop.signal


def _best_checkpoint(settings: Config, state: dict[str, Any], checkpoint: Path) -> Path:
    """The checkpoint whose adapter the run keeps: the best one that was saved, or the last."""
    best = state["best_model_checkpoint"]
    if settings.load_best_model_at_end and best:
        return checkpoint.with_name(Path(best).name)
    return checkpoint


def _summary(
    settings: Config,
    backend: str,
    dataset: Dataset,
    report: Preflight,
    state: dict[str, Any],
    checkpoint: Path,
) -> Summary:
    from msgspec import UNSET

    from immune_train.artifacts import run
    from immune_train.artifacts.summary import VERSION, Summary
    from immune_train.sft import progress, trainer

    assert report.plan is not None, "the plan is made before training"
    step = int(checkpoint.name.split("-")[1])
    counts = report.train.counts()["by_task"]
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
        config=settings.effective(),
        records={task: numbers["records"] for task, numbers in counts.items()},
        preflight=report.as_json(),
        steps=state["global_step"],
        best_step=step,
        train_loss=trainer.train_loss(state),
        baseline=_losses(state, 0),
        eval=_losses(state, step),
        warnings=progress.warnings(state["log_history"], report.plan.vocabulary),
        dataset=settings.dataset if on_hub else UNSET,
    )


def _losses(state: dict[str, Any], step: int) -> dict[str, float | None]:
    """The losses of the evaluation at a step: over all tasks, and for each."""
    evaluations = [
        log for log in state["log_history"] if log["step"] == step and "eval_loss" in log
    ]
    losses = evaluations[0] if evaluations else {}
    by_task = {
        key.removeprefix("eval_").removesuffix("_loss"): value
        for key, value in losses.items()
        if key.startswith("eval_") and key.endswith("_loss") and key != "eval_loss"
    }
    return {"loss": losses.get("eval_loss"), **by_task}


def _finish(settings: Config, output: Path) -> int:
    """Make what follows training; a failure there does not lose the trained adapter."""
    from immune_train.artifacts import run
    from immune_train.configs import processes
    from immune_train.sft import finish

    if not processes.is_first():
        return 0
    with files.locked(output):
        run.resume(output, settings)
        message = f"the adapter is trained and saved: resume with {_resume_command(output)}"
        try:
            finish.finish(output, settings)
        except ImmuneError as error:
            raise type(error)(f"{error}; {message}") from None
        except KeyboardInterrupt:
            print(message, file=sys.stderr)
            raise
    print(f"wrote {output}")
    return 0


def _resume_command(output: Path) -> str:
    command = ("python", "-m", "immune_train.sft", "--output", str(output), "--resume")
    return f"`{shlex.join(command)}`"


@contextmanager
def _finite(settings: Config, output: Path) -> Iterator[None]:
    """Turn numbers that are not finite into a sentence that says what to do."""
    from immune_train.artifacts import run
    from immune_train.sft import trainer

    try:
        yield
    except trainer.NotFinite as error:
        checkpoint = run.last_checkpoint(output)
        raise CheckFailed(
            f"{error}, so training was stopped: lower learning_rate "
            f"({settings.learning_rate:g}), or check the base model's weights; "
            + (
                f"{checkpoint} is the last good checkpoint"
                if checkpoint
                else "no checkpoint was saved before"
            )
        ) from None


@contextmanager
def _memory(settings: Config) -> Iterator[None]:
    """Turn an out-of-memory error into one sentence."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        lower = (
            "per_device_train_batch_size (and raise gradient_accumulation_steps as much)"
            if settings.per_device_train_batch_size > 1
            else "max_length"
        )
        size = re.search(r"Tried to allocate [\d.]+ \w+", str(error))
        raise ImmuneError(
            f"the device has too little memory{f' ({size[0]})' if size else ''}: lower {lower}"
            f"{'' if settings.gradient_checkpointing else ', or set gradient_checkpointing=true'}"
            f"{'' if settings.load_in_4bit else ', or set load_in_4bit=true'}"
        ) from None


@contextmanager
def _quiet_unless_first() -> Iterator[None]:
    """Let only the first of several processes print anything."""
    from immune_train.configs import processes

    if processes.is_first():
        yield
        return
    stdout = sys.stdout
    with Path(os.devnull).open("w") as nowhere:
        sys.stdout = nowhere
        try:
            yield
        finally:
            sys.stdout = stdout


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
