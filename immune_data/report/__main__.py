"""Write one HTML page that shows an emitted dataset to people who have to judge it.

    python -m immune_data.report --recipe unified-v2

In: an emitted recipe, its manifest and its relations. Out: `report/<recipe>.html`, which needs
neither a network nor a script, and its figures as SVG and PNG in `report/<recipe>/figures/`. The
same dataset gives the same bytes. Everything from a dataset is escaped text on the page.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from immune_data import recipes
from immune_data.common import cli, files
from immune_data.common.errors import ImmuneError

if TYPE_CHECKING:
    from immune_data.common.drawing import Drawing


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "immune_data.report",
        summary="Write one HTML page that shows an emitted dataset, and its figures.",
        example="python -m immune_data.report --recipe unified-v2",
    )
    cli.add_data(parser)
    recipes.add_option(parser)
    parser.add_argument(
        "--output",
        type=cli.file,
        metavar="FILE",
        help="the page's path (default: report/<recipe>.html in the --data folder); "
        "the figures go into a folder of the same name next to it",
    )
    parser.renamed(to="--output")
    return cli.run(parser, _command, argv)


def _command(arguments: argparse.Namespace) -> None:
    recipe = recipes.load(arguments.recipe)
    path = arguments.output or arguments.data / "report" / f"{recipe.name}.html"
    files.target(path)
    if path.suffix not in (".html", ".htm"):
        raise ImmuneError(f"{path} should have a name that ends in .html")
    from immune_data.report import figures
    from immune_data.report.facts import gather
    from immune_data.report.page import render

    with cli.progress() as report:
        facts = gather(arguments.data, recipe, report)
        report("drawing figures")
        drawn = figures.drawn(facts)
        page = render(facts, drawn)
    write(path, page, drawn)
    print(f"wrote {path} and {len(drawn)} figures in {path.with_suffix('') / 'figures'}")


def write(path: Path, page: str, figures: Sequence[Drawing]) -> None:
    """Write the page and, next to it, the figures; each file is written whole or not at all.

    Raises:
        ImmuneError: the folder cannot be written.
    """
    folder = path.with_suffix("")
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImmuneError(f"cannot write {path}: {error.strerror}") from None
    with files.staging(folder) as hidden, files.replacing(path) as new:
        new.write_text(page, encoding="utf-8")
        for figure in figures:
            (hidden / f"{figure.name}.svg").write_text(figure.svg, encoding="utf-8")
            (hidden / f"{figure.name}.png").write_bytes(figure.png)
        for file in sorted(hidden.iterdir()):
            files.move(file, folder / "figures" / file.name)


if __name__ == "__main__":
    sys.exit(main())
