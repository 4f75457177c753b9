"""What follows training: a trained adapter in; curves, merged model, GGUF files and run.json out.

Each is made unless it is there and was made of the adapter at hand, so that a run that ended on
the way goes on where it was. Neither the dataset nor a trainer is needed any more.
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

_COMPARED = 8  # conversations over which the merged model is compared with the adapter


def keep(folder: Path, checkpoint: Path, tokenizer: Any) -> None:
    """Take the adapter of a checkpoint as the run's, with the tokenizer that it was trained by."""
    with files.staging(folder) as hidden:
        made = hidden / run.ADAPTER
        made.mkdir()
        for name in run.ADAPTER_FILES:
            (made / name).write_bytes((checkpoint / name).read_bytes())
        tokenizer.save_pretrained(made)
        files.move(made, folder / run.ADAPTER)


def trained(folder: Path, summary: Summary, rows: Sequence[Row]) -> None:
    """Write down that the run is trained: what training gave, and what the merge is compared on."""
    compared = sorted(rows, key=lambda row: len(row.input_ids))[:_COMPARED]
    content = Trained(
        adapter=run.files(folder / run.ADAPTER),
        summary=summary,
        compared=[asdict(row) for row in compared],
    )
    run.write_json(folder, run.TRAINED, content)


def finish(folder: Path, settings: Config) -> None:
    """Make what is missing of a run that is trained; `run.json` last.

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

    found = merge.of(folder / run.ADAPTER, folder / run.MERGED)
    if found is None:
        # In a process of its own, where nothing has rewritten transformers and peft.
        found = processes.apart(
            merge.write,
            settings.model_name_or_path,
            folder / run.ADAPTER,
            folder / run.MERGED,
            revision=settings.model_revision,
            rows=rows,
        )
    if not found.tokens:  # merged again by hand, and not compared
        return UNSET
    print(f"{run.MERGED} against the adapter on its base: {found}")
    return Merged(found.largest, found.same_greedy)


def _export(folder: Path, settings: Config) -> None:
    from immune_train.export import build, summary

    merged, output = folder / run.MERGED, folder / run.GGUF
    if not build.is_of(output, merged, settings.gguf):
        with cli.progress() as report:
            wanted = build.Wanted(quants=settings.gguf)
            summary.show(*build.export(merged, output, wanted, report))
