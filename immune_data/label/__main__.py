"""Have models answer incidents, as a recipe asks, and write what they say as dataset files.

    python -m immune_data.label --incidents incidents.json --recipe unified-edge \\
        --endpoints endpoints.toml --output data/source

In: files of incidents, a recipe, and the servers to ask. Out: the two dataset files under the names
of the recipe's `[sources]`, which `emit` reads as they are, and `rejects.jsonl`, what gave no
answer. Every reply is stored before anything is made of it, so that a run that ends early resumes
where it was, and the same replies give the same files.
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
        "Evidence is sent to the endpoints' hosts: --dry-run says to which, how much of it, and\n"
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
    from immune_data.ask import note as asked_note
    from immune_data.ask.store import Store
    from immune_data.label import dataset_files, note, questions

    recipe = recipes.load(args.recipe)
    servers = questions.of_recipe(endpoints.load(args.endpoints), recipe)
    sending.check_budget(servers, args.budget)
    if args.output is not None:
        dataset_files.check(args.output, recipe)
    labeller = questions.Labeller(recipe, temperature=args.temperature, max_tokens=args.max_tokens)
    found = incidents.read(args.incidents)
    asked = incidents.of_shard(found.incidents, args.shard)

    def groups(model: str) -> Iterator[list[questions.Question]]:
        return labeller.groups(asked, model)

    is_new = args.dry_run and not args.store.exists()
    with Store(None if is_new else args.store) as store:
        made = sending.planned(groups, servers, store)
        if args.dry_run or (made.requests and not args.json):
            asked_note.show_plan(made, as_json=args.json)
        if args.dry_run:
            return
        report = sending.send(made, groups, servers, store, yes=args.yes, budget=args.budget)
        models = [model for model in recipe.models if any(one.model == model for one in servers)]
        if args.shard:
            left = sum(
                store.is_open(one) for model in models for group in groups(model) for one in group
            )
            asked_note.show_shard(report, left, args.store, args.shard, as_json=args.json)
        else:
            written = dataset_files.write(args.output, found, models, labeller, store)
            left = written.open
            note.show(report, written, args.output, as_json=args.json)
        sending.refuse_unfinished(report, left)


if __name__ == "__main__":
    sys.exit(main())
