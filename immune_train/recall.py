"""What a trained model says by heart: a run in, the share of its train answers it repeats out.

A tiny model that was trained until it knows its few records must repeat them, or labels, merging
or prompts are wrong. A real model that repeats many of its own has been trained too long.
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
class Recalled:
    """How much of one record's answer the model repeats, asked as it was trained, greedily.

    `repeated` are the tokens up to the first that differs.
    """

    task: str
    incident_id: str
    tokens: int
    repeated: int
    whole: bool


def recall(model: Any, rows: Sequence[Row]) -> list[Recalled]:
    """What greedy decoding repeats of each row's answer.

    One reading of the whole conversation tells it: as long as every token of the answer is the
    likeliest after those before it, greedy decoding says it too.
    """
    import torch

    found = []
    for row in rows:
        answer = torch.tensor(row.input_ids[row.answer : row.end])
        ids = torch.tensor([row.input_ids], device=model.device)
        places = torch.arange(row.answer - 1, row.end - 1, device=model.device)
        with torch.no_grad():
            likeliest = model(input_ids=ids, logits_to_keep=places).logits[0].argmax(-1).cpu()
        same = int((likeliest == answer).cumprod(0).sum())
        whole = same == len(answer)
        found.append(Recalled(row.task, row.incident_id, len(answer), same, whole))
    return found


def parser() -> argparse.ArgumentParser:
    made = cli.parser(
        "immune_train.recall",
        summary="Ask a run's merged model for the answers it was trained on, and say how much of "
        "them it repeats word for word.",
        example="python -m immune_train.recall --run data/models/tiny",
    )
    made.add_argument("--run", type=cli.folder, required=True, help="folder of the run")
    made.add_argument(
        "--data", type=cli.folder, default=Path("data"), help="folder of the artifacts"
    )
    made.add_argument(
        "--dataset", type=cli.dataset, help="the dataset, if it lies elsewhere (see sft)"
    )
    made.add_argument(
        "--records", type=cli.positive, default=24, help="the shortest records (default: 24)"
    )
    return made


def command(arguments: argparse.Namespace) -> None:
    from immune_train import backends, merge
    from immune_train.artifacts import run
    from immune_train.data import dataset
    from immune_train.data.labels import Renderer

    folder = arguments.run
    if not (folder / run.SUMMARY).is_file():
        raise ImmuneError(run.unfinished(folder))
    if not (folder / run.MERGED).is_dir():
        raise ImmuneError(
            f"{folder} holds no {run.MERGED}: make it with "
            f"`python -m immune_train.merge --run {folder}`"
        )
    backends.choose("trl")
    from transformers import AutoTokenizer

    settings = run.settings(folder)
    with cli.progress() as report:
        found = (
            dataset.from_hub(arguments.dataset, settings.recipe, report)
            if arguments.dataset
            else dataset.from_folder(arguments.data / "sft" / settings.recipe)
        )
        trained = dataset.shortest(found.train, settings.records_train)
        renderer = Renderer(AutoTokenizer.from_pretrained(folder / run.MERGED))
        rows = [*renderer.rows(dataset.shortest(trained, arguments.records))]
        report(f"asking for {counted(len(rows), 'answer')}")
        repeated = recall(merge.load(folder / run.MERGED).eval(), rows)
    table.show(
        f"what {folder} repeats of its train answers",
        ["task", "incident", "answer tokens", "repeated from the start", "whole"],
        [
            [one.task, one.incident_id, one.tokens, one.repeated, "yes" if one.whole else "no"]
            for one in repeated
        ],
        whole=["incident"],
    )
    whole = sum(one.whole for one in repeated)
    print(f"{whole} of {counted(len(repeated), 'answer')} {are(whole)} repeated whole")


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
