"""What a model has memorised: a run in, the share of its train answers that it repeats out.

A tiny model that was trained until it memorised its few records must repeat them; otherwise labels,
merging or prompts are wrong. A real model that repeats many of its records was trained too long.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from immune_data.common import cli, table
from immune_data.common.errors import ImmuneError
from immune_data.common.text import are, counted

if TYPE_CHECKING:
    from immune_train.data.labels import Row


@dataclass(frozen=True)
class Recall:
    """How much of one record's answer the model repeats with greedy decoding.

    `repeated` is the number of tokens before the first one that differs.
    """

    task: str
    incident_id: str
    tokens: int
    repeated: int
    whole: bool


def recall(model: Any, rows: Sequence[Row]) -> list[Recall]:
    """How much of each row's answer greedy decoding repeats.

    One forward pass over the whole conversation is enough: greedy decoding repeats the answer as
    long as each token is the likeliest after those before it.
    """
    import torch

    recalls = []
    for row in rows:
        answer = torch.tensor(row.input_ids[row.answer : row.end])
        ids = torch.tensor([row.input_ids], device=model.device)
        places = torch.arange(row.answer - 1, row.end - 1, device=model.device)
        with torch.no_grad():
            likeliest = model(input_ids=ids, logits_to_keep=places).logits[0].argmax(-1).cpu()
        same = int((likeliest == answer).cumprod(0).sum())
        whole = same == len(answer)
        recalls.append(Recall(row.task, row.incident_id, len(answer), same, whole))
    return recalls


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "immune_train.recall",
        summary="Ask a run's merged model about records that it was trained on, and show how much "
        "of their answers it repeats word for word.",
        example="python -m immune_train.recall --run data/models/tiny",
    )
    parser.add_argument("--run", type=cli.folder, required=True, help="folder of the run")
    parser.add_argument("--data", type=cli.folder, default=Path("data"), help="the artifact folder")
    parser.add_argument(
        "--dataset", type=cli.dataset, help="the dataset, if it is elsewhere (see sft)"
    )
    parser.add_argument(
        "--records", type=cli.positive, default=24, help="the shortest records (default: 24)"
    )
    return parser


def command(arguments: argparse.Namespace) -> None:
    from immune_train import backends, merge
    from immune_train.artifacts import run
    from immune_train.data import dataset
    from immune_train.data.labels import Renderer

    folder = arguments.run
    if not (folder / run.SUMMARY).is_file():
        raise ImmuneError(run.unfinished_message(folder))
    if not (folder / run.MERGED).is_dir():
        raise ImmuneError(
            f"{folder} contains no {run.MERGED}: make it with "
            f"`python -m immune_train.merge --run {folder}`"
        )
    backends.choose("trl")
    from transformers import AutoTokenizer

    settings = run.settings(folder)
    with cli.progress() as report:
        records = (
            dataset.from_hub(arguments.dataset, settings.recipe, report)
            if arguments.dataset
            else dataset.from_folder(arguments.data / "sft" / settings.recipe)
        )
        train_records = dataset.shortest(records.train, settings.records_train)
        renderer = Renderer(AutoTokenizer.from_pretrained(folder / run.MERGED))
        rows = [*renderer.rows(dataset.shortest(train_records, arguments.records))]
        report(f"asking for {counted(len(rows), 'answer')}")
        recalls = recall(merge.load(folder / run.MERGED).eval(), rows)
    table.show(
        f"what {folder} repeats of its train answers",
        ["task", "incident", "answer tokens", "repeated from the start", "whole"],
        [
            [item.task, item.incident_id, item.tokens, item.repeated, "yes" if item.whole else "no"]
            for item in recalls
        ],
        whole=["incident"],
    )
    whole = sum(item.whole for item in recalls)
    print(f"{whole} of {counted(len(recalls), 'answer')} {are(whole)} repeated whole")


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
