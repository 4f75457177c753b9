"""What condensing evidence saves, and that it loses no event.

    python benchmarks/evidence.py --data data

In: the tables of an emitted dataset. Out, for each dataset's evidence: the tokens of the lines that
Slips wrote and of the condensed text, and how many texts do not fit the limit with as many values
as asked for. It ends with exit code 1 if a line is unaccounted for or an event is lost.
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
    """Events by severity, of either form, by an expression that the code does not share."""
    found: Counter[str] = Counter()
    for bullet in filter(None, map(_BULLET.match, text.split("\n"))):
        found[bullet[2] or bullet[3]] += int(bullet[1] or 1)
    return found


def _others(text: str) -> list[str]:
    return [line for line in text.split("\n") if _OTHER.match(line)]


def command(arguments: argparse.Namespace) -> int:
    recipe = recipes.load(arguments.recipe)
    dags = pl.read_parquet(arguments.data / "tables" / "dags.parquet")
    measured, lost = [], 0
    for (dataset,), group in dags.sort("dataset").group_by("dataset", maintain_order=True):
        texts = group["text"].to_list()
        condensed = [evidence.condense(text, recipe.dag.values) for text in texts]
        lost += sum(
            _events(before) != _events(after) or _others(before) != _others(after)
            for before, after in zip(texts, condensed, strict=True)
        )
        tokens = pl.Series(map(count, condensed))
        over = [text for text in condensed if count(text) > recipe.dag.limit]
        refused = sum(count(evidence.condense(text, 1)) > recipe.dag.limit for text in over)
        for form, of in (("lines", group["tokens"]), ("condensed", tokens)):
            measured.append(
                [
                    *(dataset, form, len(of), f"{of.mean():,.0f}"),
                    *(f"{of.quantile(0.9, 'nearest'):,.0f}", f"{of.max():,}"),
                    "" if form == "lines" else len(over) - refused,
                    "" if form == "lines" else refused,
                ]
            )
    columns = ["dataset", "form", "texts", "mean", "90%", "largest", "fewer values", "refused"]
    table.show("tokens of evidence", columns, measured)
    print(f"{lost:,} of {len(dags):,} texts lost an event or a line")
    return 1 if lost else 0


if __name__ == "__main__":
    made = cli.parser(
        "benchmarks.evidence",
        summary=__doc__.splitlines()[0],
        example="python benchmarks/evidence.py --data data",
    )
    cli.add_data(made)
    made.add_argument("--recipe", default="unified-clean", help="default: unified-clean")
    sys.exit(cli.run(made, command, None))
