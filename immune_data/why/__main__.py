"""Tell one incident's way through every step: its id in, its story out.

    python -m immune_data.why 01080c37 --recipe unified-v2

In: `immune.duckdb` of an output folder, and an incident's id or the beginning of one. Out: where
it was read, the judges' scores, each gate's value against its limit, the choice, the split and the
final conversations, in which text that carries loss is marked. The queries are in `sql/why/`; the
story of an incident that was lost on the way ends there.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from immune_data import recipes
from immune_data.common import cli, streams
from immune_data.why.page import Page
from immune_data.why.story import find, tell


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "immune_data.why",
        summary="Tell one incident's way from the source files to its conversations.",
        example="python -m immune_data.why 01080c37 --recipe unified-v2",
    )
    parser.add_argument("incident", help="an incident's id, or the beginning of one")
    cli.add_data(parser)
    recipes.add_option(parser)
    parser.add_argument("--full", action="store_true", help="do not shorten messages")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return cli.run(parser, _command, argv)


def _command(arguments: argparse.Namespace) -> None:
    recipe = recipes.load(arguments.recipe)
    from immune_data.select.database import reading

    with reading(arguments.data, recipe) as connection:
        story = tell(connection, find(connection, arguments.incident))
    if arguments.json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(story)).decode())
    else:
        for line in Page(arguments.full, _colourful()).lines(recipe.name, story):
            print(line, file=streams.styled(sys.stdout))


def _colourful() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


if __name__ == "__main__":
    sys.exit(main())
