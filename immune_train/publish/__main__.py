"""Publish a trained model as one model repository on the Hugging Face Hub.

    python -m immune_train.publish --repo-id ORG/NAME --run data/models/unified-clean \\
        --license apache-2.0 --dry-run

In: a run's folder, with what `export` made of its model. Out: `publish/NAME` in it, which is
exactly what the repository contains then. A dry run uploads nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from immune_data.common import cli, hub, publishing
from immune_data.common.errors import ImmuneError


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "immune_train.publish",
        summary="Publish a run's adapter, merged model and GGUF files, with a card from the run's "
        "records, on the Hugging Face Hub. The token is that of `hf auth login`, or HF_TOKEN.",
        example="python -m immune_train.publish --repo-id ORG/NAME --run data/models/unified-clean "
        "--license apache-2.0 --dry-run",
    )
    publishing.add_options(
        parser,
        license="licence of the model as the Hub spells it (apache-2.0, mit, other, …), which its "
        "base and its dataset have to allow",
        synthetic="publish a model trained on synthetic data; the card's first line says so",
        to="folder to write (default: publish/NAME in the run)",
    )
    parser.add_argument(
        "--run", type=cli.folder, required=True, metavar="DIR", help="folder of the finished run"
    )
    parser.add_argument(
        "--gguf",
        type=cli.folder,
        metavar="DIR",
        help="folder of its GGUF files (default: gguf, in it)",
    )
    parser.add_argument(
        "--dataset",
        metavar="hf://datasets/ORG/NAME[@REV]",
        help="where the dataset is published, if the run was trained on local files",
    )
    return parser


def command(arguments: argparse.Namespace) -> None:
    from immune_data.common.hub import upload
    from immune_train.publish.finished_run import Terms, read
    from immune_train.publish.publication import write

    publishing.check_options(
        arguments.repo_id,
        arguments.revision,
        arguments.license,
        licenses="apache-2.0, mit or other",
    )
    dataset = hub.address(arguments.dataset).repo_id if arguments.dataset else None
    terms = Terms(arguments.repo_id, arguments.license, dataset)
    if not arguments.run.is_dir():
        raise ImmuneError(f"{arguments.run} does not exist: name the folder of a run")
    folder = arguments.output or arguments.run / "publish" / arguments.repo_id.partition("/")[2]
    with cli.progress() as report:
        report("checking the run")
        run = read(arguments.run, arguments.gguf)
        publishing.check_synthetic(
            f"the dataset of {arguments.run}", run.synthetic, declared=arguments.synthetic
        )
        write(run, terms, folder, report)
        published = None
        if not arguments.dry_run:
            published = upload.publish(
                folder,
                arguments.repo_id,
                private=arguments.private,
                tag=arguments.revision,
                report=report,
                kind="model",
            )
    publishing.say(folder, published, arguments.revision, as_json=arguments.json)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
