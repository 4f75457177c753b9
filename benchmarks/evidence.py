"""Tokens saved by condensing evidence, and a check that no event is lost.

    python benchmarks/evidence.py --data data

In: the tables of an emitted dataset. Out, for each dataset's evidence: the tokens of the lines that
Slips wrote and of the condensed text, and how many texts exceed the limit with the configured
number of values. The exit code is 1 if a line or an event is lost.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter

import polars as pl

from immune_data import recipes
from immune_data.common import cli, table
from immune_data.contract import evidence
from immune_data.contract.tokens import count

_BULLET = re.compile(
    r"• [0-9:-]+ - (?:Event|([0-9]+) events?) (?:\[([A-Z]+)\] |to .*\[([A-Z]+)\]$)"
)
_OTHER = re.compile(r"(?!•|  - |Threat Level: )")


def _events(text: str) -> Counter[str]:
    """Events by severity, in either form, by an expression independent of the code."""
    events: Counter[str] = Counter()
    for bullet in filter(None, map(_BULLET.match, text.split("\n"))):
        events[bullet[2] or bullet[3]] += int(bullet[1] or 1)
    return events


def _others(text: str) -> list[str]:
    return [line for line in text.split("\n") if _OTHER.match(line)]


def command(arguments: argparse.Namespace) -> int:
    recipe = recipes.load(arguments.recipe)
    dags = pl.read_parquet(arguments.data / "tables" / "dags.parquet")
    rows, num_lost = [], 0
    for (dataset,), group in dags.sort("dataset").group_by("dataset", maintain_order=True):
        texts = group["text"].to_list()
        condensed = [evidence.condense(text, recipe.dag.values) for text in texts]
        num_lost += sum(
            _events(source) != _events(result) or _others(source) != _others(result)
            for source, result in zip(texts, condensed, strict=True)
        )
        tokens = pl.Series(map(count, condensed))
        too_long = [text for text in condensed if count(text) > recipe.dag.limit]
        refused = sum(count(evidence.condense(text, 1)) > recipe.dag.limit for text in too_long)
        for form, counts in (("lines", group["tokens"]), ("condensed", tokens)):
            rows.append(
                [
                    *(dataset, form, len(counts), f"{counts.mean():,.0f}"),
                    *(f"{counts.quantile(0.9, 'nearest'):,.0f}", f"{counts.max():,}"),
                    "" if form == "lines" else len(too_long) - refused,
                    "" if form == "lines" else refused,
                ]
            )
    columns = ["dataset", "form", "texts", "mean", "90%", "largest", "fewer values", "refused"]
    table.show("tokens of evidence", columns, rows)
    print(f"{num_lost:,} of {len(dags):,} texts lost an event or a line")
    return 1 if num_lost else 0


if __name__ == "__main__":
    parser = cli.parser(
        "benchmarks.evidence",
        summary=__doc__.splitlines()[0],
        example="python benchmarks/evidence.py --data data",
    )
    cli.add_data(parser)
    parser.add_argument("--recipe", default="unified-clean", help="default: unified-clean")
    sys.exit(cli.run(parser, command, None))
