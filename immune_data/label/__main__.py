"""Have models answer questions about incidents, as a recipe asks, and write dataset files.

    python -m immune_data.label --incidents incidents.json --recipe unified-edge \\
        --endpoints endpoints.toml --output data/source

In: files of incidents, a recipe, and the servers to ask. Out: the two dataset files under the names
of the recipe's `[sources]`, which `emit` reads as they are, and `rejects.jsonl`, what gave no
answer. Every reply is stored before it is used, so that an interrupted run resumes where it
stopped, and the same replies give the same files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from immune_data import recipes
from immune_data.ask import sending
from immune_data.common import cli
from immune_data.common.errors import ImmuneError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    parser = cli.parser(
        "immune_data.label",
        summary="Have models answer incidents as a recipe asks, and write dataset files.\n\n"
        "Evidence is sent to the endpoints' hosts: --dry-run shows to which, how much of it, and\n"
        "what that costs.",
        example="python -m immune_data.label --incidents incidents.json --recipe unified-edge"
        " --endpoints endpoints.toml --output data/source",
    )
    parser.add_argument(
        "--incidents",
        type=cli.file,
        nargs="+",
        required=True,
        metavar="FILE",
        help="incidents, as in a dataset file or as `slips` writes them",
    )
    recipes.add_option(parser)
    parser.add_argument(
        "--output", type=cli.folder, metavar="DIR", help="folder to write the dataset files into"
    )
    parser.add_argument(
        "--temperature", type=cli.temperature, default=0.0, help="of the answers (default: 0)"
    )
    parser.add_argument(
        "--max-tokens",
        type=cli.positive,
        metavar="N",
        help="of an answer (default: twice what the longest that the recipe allows takes)",
    )
    sending.add_options(parser)
    parser.add_argument("--json", action="store_true", help="print the closing note as JSON")
    return cli.run(parser, _command, argv)


def _command(args: argparse.Namespace) -> None:
    if args.output is None and not (args.dry_run or args.shard):
        raise ImmuneError("--output is missing: name the folder to write the dataset files into")

    from immune_data.ask import endpoints, incidents
    from immune_data.label import dataset_files, note, questions

    recipe = recipes.load(args.recipe)
    servers = questions.of_recipe(endpoints.load(args.endpoints), recipe)
    sending.check_budget(servers, args.budget)
    if args.output is not None:
        dataset_files.check(args.output, recipe)
    labeller = questions.Labeller(recipe, temperature=args.temperature, max_tokens=args.max_tokens)
    source = incidents.read(args.incidents)
    shard = incidents.of_shard(source.incidents, args.shard)

    def groups(model: str) -> Iterator[list[questions.Question]]:
        return labeller.groups(shard, model)

    with sending.opened(args) as store:
        outcome = sending.send(args, groups, servers, store)
        if outcome is None:
            return
        if args.shard:
            still_open = sending.close_shard(args, outcome, groups, servers, store)
        else:
            models = [model for model in recipe.models if any(s.model == model for s in servers)]
            written = dataset_files.write(args.output, source, models, labeller, store)
            still_open = written.open
            note.show(outcome, written, args.output, as_json=args.json)
        sending.refuse_unfinished(outcome, still_open)


if __name__ == "__main__":
    sys.exit(main())
