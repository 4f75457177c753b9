"""Publish emitted datasets as one dataset repository on the Hugging Face Hub.

    python -m immune_data.publish --repo-id ORG/NAME --license cc-by-4.0 --dry-run

In: the datasets that `emit` wrote for one or more recipes. Out: the folder `publish/NAME`, which is
exactly what the repository contains then. A dry run uploads nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from immune_data import recipes
from immune_data.common import cli, files, publishing
from immune_data.common.errors import ImmuneError


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "immune_data.publish",
        summary="Audit emitted datasets and publish them, with everything they were made from, on "
        "the Hugging Face Hub. The token is that of `hf auth login`, or HF_TOKEN.",
        example="python -m immune_data.publish --repo-id ORG/NAME --recipe unified-clean "
        "--license cc-by-4.0 --dry-run",
    )
    cli.add_data(parser)
    publishing.add_options(
        parser,
        license="licence of the data as the Hub spells it (cc-by-4.0, apache-2.0, other, …): "
        "the owner of the data decides it",
        synthetic="publish synthetic data, such as the sample corpus; the card's first line says "
        "so",
        to="folder to write (default: publish/NAME in the output folder)",
    )
    parser.add_argument(
        "--recipe",
        nargs="+",
        action="extend",
        metavar="R",
        help="emitted recipes, one config each, the first one the default "
        f"(default: {recipes.DEFAULT})",
    )
    parser.add_argument(
        "--accept",
        nargs="+",
        action="extend",
        default=[],
        metavar="CHECK",
        help="publish in spite of the errors of these checks, which the card then lists",
    )
    return cli.run(parser, _command, argv)


def _command(arguments: argparse.Namespace) -> None:
    from immune_data.common.hub import upload
    from immune_data.publish import datasets
    from immune_data.publish.publication import write

    publishing.check_options(
        arguments.repo_id,
        arguments.revision,
        arguments.license,
        licenses="cc-by-4.0, apache-2.0 or other",
    )
    by_name: dict[str, recipes.Recipe] = {}
    for recipe in map(recipes.load, arguments.recipe or [recipes.DEFAULT]):
        if by_name.setdefault(recipe.name, recipe) != recipe:
            raise ImmuneError(
                f"two recipes are called {recipe.name}, {by_name[recipe.name].file} and "
                f"{recipe.file}: rename one of them, and emit it"
            )
    accepted = tuple(dict.fromkeys(arguments.accept))
    terms = datasets.Terms(arguments.repo_id, arguments.license, accepted)
    folder = arguments.output or arguments.data / "publish" / arguments.repo_id.partition("/")[2]
    if not arguments.data.is_dir():
        raise ImmuneError(f"{arguments.data} does not exist: emit a recipe first")
    with cli.progress() as report:
        with files.locked(arguments.data):
            audited = datasets.audited(
                arguments.data,
                list(by_name.values()),
                accepted,
                report,
                synthetic=arguments.synthetic,
            )
            write(arguments.data, audited, terms, folder, report)
        published = None
        if not arguments.dry_run:
            published = upload.publish(
                folder,
                arguments.repo_id,
                private=arguments.private,
                tag=arguments.revision,
                report=report,
            )
    publishing.say(folder, published, arguments.revision, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
