"""Publish a trained model as one model repository of the Hugging Face Hub.

    python -m immune_train.publish --repo-id ORG/NAME --run data/models/unified-clean \\
        --license apache-2.0 --dry-run

In: a run's folder, with what `export` made of its model. Out: `publish/NAME` in it, which is
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

from immune_data.common import cli
from immune_data.common.errors import ImmuneError


def parser() -> argparse.ArgumentParser:
    made = cli.parser(
        "immune_train.publish",
        summary="Publish a run's adapter, merged model and GGUF files, with a card of what is on "
        "record, on the Hugging Face Hub. The token is the one of `hf auth login`, or HF_TOKEN.",
        example="python -m immune_train.publish --repo-id ORG/NAME --run data/models/unified-clean "
        "--license apache-2.0 --dry-run",
    )
    made.add_argument("--repo-id", required=True, metavar="ORG/NAME", help="the repository")
    made.add_argument(
        "--run", type=Path, required=True, metavar="DIR", help="folder of the finished run"
    )
    made.add_argument(
        "--gguf", type=Path, metavar="DIR", help="folder of its GGUF files (default: gguf, in it)"
    )
    made.add_argument(
        "--license",
        required=True,
        metavar="ID",
        help="licence of the model as the Hub spells it (apache-2.0, mit, other, …): what its "
        "base and its dataset allow is its owner's to say",
    )
    made.add_argument(
        "--dataset",
        metavar="ORG/NAME",
        help="where the dataset is published, if the run was given its files",
    )
    made.add_argument("--revision", metavar="TAG", help="tag of this version, such as v1.0")
    made.add_argument(
        "--private", action="store_true", help="make the repository private, if it is made now"
    )
    made.add_argument(
        "--synthetic",
        action="store_true",
        help="publish a model that was trained on made-up data; the card's first line says so",
    )
    made.add_argument(
        "--dry-run", action="store_true", help="write the folder and print the card, no more"
    )
    made.add_argument(
        "--to", type=Path, metavar="DIR", help="folder to write (default: publish/NAME in the run)"
    )
    made.add_argument("--json", action="store_true", help="print what was done as JSON")
    return made


def command(arguments: argparse.Namespace) -> None:
    from immune_data.common import hub
    from immune_data.publish.__main__ import say
    from immune_data.publish.publication import say_synthetic
    from immune_train.publish import publication

    hub.check_names(arguments.repo_id, arguments.revision)
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", arguments.license):
        raise ImmuneError(
            "--license should be an id as the Hub spells it, such as apache-2.0, mit or other"
        )
    if arguments.dataset and not re.fullmatch(r"[\w.-]+/[\w.-]+", arguments.dataset):
        raise ImmuneError("--dataset should be ORG/NAME, the id of a dataset of the Hub")
    terms = publication.Terms(arguments.repo_id, arguments.license, arguments.dataset)
    if not arguments.run.is_dir():
        raise ImmuneError(f"{arguments.run} does not exist: name the folder of a run")
    folder = arguments.to or arguments.run / "publish" / arguments.repo_id.partition("/")[2]
    with cli.progress() as report:
        report("checking the run")
        run = publication.read(arguments.run, arguments.gguf)
        say_synthetic(f"the dataset of {arguments.run}", run.synthetic, said=arguments.synthetic)
        publication.write(run, terms, folder, report)
        published = None
        if not arguments.dry_run:
            published = hub.publish(
                folder,
                arguments.repo_id,
                private=arguments.private,
                tag=arguments.revision,
                report=report,
                kind="model",
            )
    names = sorted(publication.files(folder))
    if arguments.json:
        content = {
            "folder": str(folder),
            "files": len(names),
            "bytes": sum((folder / name).stat().st_size for name in names),
            "published": asdict(published) if published else None,
            "tag": arguments.revision,
        }
        print(json.dumps(content, indent=2))
    elif published is None:
        print((folder / publication.CARD).read_text(encoding="utf-8"))
        print(f"wrote {folder}; nothing was uploaded")
    else:
        say(published, arguments.revision)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
