"""What follows training: a trained adapter in; curves, merged model, GGUF files and run.json out.

Each is made unless it already exists for this adapter, so that an interrupted run resumes where it
stopped. Neither the dataset nor a trainer is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from immune_data.common import cli, files, processes
from immune_train.artifacts import run
from immune_train.artifacts.summary import Merged, Summary, Trained
from immune_train.configs import Config
from immune_train.data.labels import Row

_CONVERSATIONS = 8  # conversations over which the merged model is compared with the adapter


def write_adapter(folder: Path, checkpoint: Path, tokenizer: Any) -> None:
    """Copy a checkpoint's adapter to the run, with the tokenizer that it was trained with."""
    with files.staging(folder) as hidden:
        adapter = hidden / run.ADAPTER
        adapter.mkdir()
        for name in run.ADAPTER_FILES:
            (adapter / name).write_bytes((checkpoint / name).read_bytes())
        tokenizer.save_pretrained(adapter)
        files.move(adapter, folder / run.ADAPTER)


def write_trained(folder: Path, summary: Summary, rows: Sequence[Row]) -> None:
    """Write `trained.json`: the result of training, and the rows that the merge is compared on."""
    shortest = sorted(rows, key=lambda row: len(row.input_ids))[:_CONVERSATIONS]
    content = Trained(
        adapter=run.files(folder / run.ADAPTER),
        summary=summary,
        compared=[asdict(row) for row in shortest],
    )
    run.write_json(folder, run.TRAINED, content)


def finish(folder: Path, settings: Config) -> None:
    """Make what is missing from a trained run; `run.json` last.

    Raises:
        ImmuneError: something cannot be made.
    """
    content = run.trained(folder)
    assert content is not None, f"{folder} is not trained"
    summary = content.summary
    _draw(folder, f"{settings.name}, {summary.backend}")
    if settings.merge:
        merged = _merge(folder, settings, [Row(**row) for row in content.compared])
        summary = replace(summary, merged=merged)
    if settings.gguf:
        _export(folder, settings)
        summary = replace(summary, gguf=list(settings.gguf))
    run.write_json(folder, run.SUMMARY, summary)


def _draw(folder: Path, title: str) -> None:
    from immune_train.sft import curves

    if not all((folder / f"{run.CURVES}.{suffix}").is_file() for suffix in ("svg", "png")):
        curves.draw(folder, title)


def _merge(folder: Path, settings: Config, rows: Sequence[Row]) -> Merged | UnsetType:
    from immune_train import merge

    difference = merge.recorded_difference(folder / run.ADAPTER, folder / run.MERGED)
    if difference is None:
        # In a separate process, in which nothing has rewritten transformers and peft.
        difference = processes.apart(
            merge.write,
            settings.model_name_or_path,
            folder / run.ADAPTER,
            folder / run.MERGED,
            revision=settings.model_revision,
            rows=rows,
        )
    if not difference.tokens:  # merged by hand, without a comparison
        return UNSET
    print(f"{run.MERGED} compared with the adapter on its base: {difference}")
    return Merged(difference.largest, difference.same_greedy)


def _export(folder: Path, settings: Config) -> None:
    from immune_train.export import build, summary

    merged, output = folder / run.MERGED, folder / run.GGUF
    if not build.is_current(output, merged, settings.gguf):
        with cli.progress() as report:
            options = build.Options(quants=settings.gguf)
            summary.show(*build.export(merged, output, options, report))
