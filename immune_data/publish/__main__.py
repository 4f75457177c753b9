"""Publish emitted datasets as one dataset repository of the Hugging Face Hub.

    python -m immune_data.publish --repo-id ORG/NAME --license cc-by-4.0 --dry-run

In: what `emit` made of one or more recipes. Out: `publish/NAME` under the output folder, which is
exactly what the repository then holds; nothing is uploaded by a dry run.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from immune_data import recipes
from immune_data.common import cli, files
from immune_data.common.errors import ImmuneError

if TYPE_CHECKING:
    from immune_data.common.hub import Published


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "immune_data.publish",
        summary="Audit emitted datasets and publish them, with all they were made from, on the "
        "Hugging Face Hub. The token is the one of `hf auth login`, or HF_TOKEN.",
        example="python -m immune_data.publish --repo-id ORG/NAME --recipe unified-clean "
        "--license cc-by-4.0 --dry-run",
    )
    cli.add_out(parser)
    parser.add_argument("--repo-id", required=True, metavar="ORG/NAME", help="the repository")
    parser.add_argument(
        "--recipe",
        nargs="+",
        action="extend",
        metavar="R",
        help="emitted recipes, one config each, the first one the default "
        f"(default: {recipes.DEFAULT})",
    )
    parser.add_argument(
        "--license",
        required=True,
        metavar="ID",
        help="licence of the data as the Hub spells it (cc-by-4.0, apache-2.0, other, …): "
        "its owner's to say",
    )
    parser.add_argument("--revision", metavar="TAG", help="tag of this version, such as v1.0")
    parser.add_argument(
        "--private", action="store_true", help="make the repository private, if it is made now"
    )
    parser.add_argument(
        "--accept",
        nargs="+",
        action="extend",
        default=[],
        metavar="CHECK",
        help="checks whose errors are published all the same, named on the card",
    )
    parser.add_argument(
        "--synthetic",
        action="store_true",
        help="publish data that was made up, such as the sample corpus; the card's first line "
        "says so",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="write the folder and print the card, no more"
    )
    parser.add_argument(
        "--to", type=Path, help="folder to write (default: publish/NAME in the output folder)"
    )
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    return cli.run(parser, _command, argv)


def _command(arguments: argparse.Namespace) -> None:
    from immune_data.common import hub
    from immune_data.publish import publication

    hub.check_names(arguments.repo_id, arguments.revision)
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", arguments.license):
        raise ImmuneError(
            "--license should be an id as the Hub spells it, such as cc-by-4.0, apache-2.0 or other"
        )
    chosen: dict[str, recipes.Recipe] = {}
    for recipe in map(recipes.load, arguments.recipe or [recipes.DEFAULT]):
        if chosen.setdefault(recipe.name, recipe) != recipe:
            raise ImmuneError(
                f"two recipes are called {recipe.name}, {chosen[recipe.name].file} and "
                f"{recipe.file}: rename one of them, and emit it"
            )
    accepted = tuple(dict.fromkeys(arguments.accept))
    terms = publication.Terms(arguments.repo_id, arguments.license, accepted)
    folder = arguments.to or arguments.out / "publish" / arguments.repo_id.partition("/")[2]
    if not arguments.out.is_dir():
        raise ImmuneError(f"{arguments.out} does not exist: emit a recipe first")
    with cli.progress() as report:
        with files.locked(arguments.out):
            datasets = publication.audited(
                arguments.out,
                list(chosen.values()),
                accepted,
                report,
                synthetic=arguments.synthetic,
            )
            publication.write(arguments.out, datasets, terms, folder, report)
        published = None
        if not arguments.dry_run:
            published = hub.publish(
                folder,
                arguments.repo_id,
                private=arguments.private,
                tag=arguments.revision,
                report=report,
            )
    card = (folder / publication.CARD).read_text(encoding="utf-8")
    if arguments.json:
        names = sorted(publication.files(folder))
        content = {
            "folder": str(folder),
            "files": len(names),
            "bytes": sum((folder / name).stat().st_size for name in names),
            "published": asdict(published) if published else None,
            "tag": arguments.revision,
        }
        print(json.dumps(content, indent=2))
    elif published is None:
        print(card)
        print(f"wrote {folder}; nothing was uploaded")
    else:
        say(published, arguments.revision)


def say(published: Published, tag: str | None) -> None:
    """Print where a folder was published, and under which tag."""
    if published.committed:
        print(f"published {published.url} at commit {published.commit}")
    else:
        print(
            f"{published.url} holds these very files at commit {published.commit}: no commit made"
        )
    if tag:
        print(f"tag {tag}: {'set' if published.tagged else 'there already'}")
    if published.private:
        print("the repository is private; its settings on the Hub make it public")


if __name__ == "__main__":
    sys.exit(main())
