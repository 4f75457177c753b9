"""Have a model judge answers by a rubric, blind and in balanced orders, as a file of verdicts.

    python -m immune_data.judge --incidents data/source/risk_dataset_v2.json \\
        data/source/summarization_dataset_v4.json --judges summary \\
        --endpoints endpoints.toml --output summary_verdicts.json

In: incidents with their answers, or files of answers by name, a rubric, and the servers of one
judge. Out: a file of verdicts that `emit` and `immune_train.evaluate` read; next to it, what gave
no verdict; and what the calls say of the judge: the worth of places and lengths, and its noise.
Every reply is stored before it is used, so that an interrupted run resumes where it stopped, and
the same replies give the same files.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from immune_data import recipes
from immune_data.ask import sending
from immune_data.common import cli
from immune_data.common.errors import ImmuneError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    parser = cli.parser(
        "immune_data.judge",
        summary="Have a model judge answers by a rubric, and write its verdicts.\n\n"
        "Evidence and answers are sent to the endpoints' hosts: --dry-run shows to which, how\n"
        "much of them, and what that costs.",
        example="python -m immune_data.judge --incidents risk_dataset_v2.json"
        " --judges cause_risk --endpoints endpoints.toml --output verdicts.json",
    )
    parser.add_argument(
        "answers",
        nargs="*",
        metavar="NAME=FILE",
        help="answers that `generate --eval` wrote, or emitted records, to judge instead of the"
        " dataset's",
    )
    parser.add_argument(
        "--incidents",
        type=cli.file,
        nargs="+",
        required=True,
        metavar="FILE",
        help="incidents, with or without the answers to judge, as in a dataset file",
    )
    parser.add_argument(
        "--judges", choices=("summary", "cause_risk"), required=True, help="which answers"
    )
    parser.add_argument(
        "--rubric",
        type=cli.folder,
        metavar="DIR",
        help="folder with a rubric of your own, summary.txt or cause_risk.txt",
    )
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="MODEL",
        help="judge the answers of these models of the dataset (default: all, or none if there are"
        " files of answers)",
    )
    parser.add_argument(
        "--mode",
        choices=("all", "pairs", "single"),
        default="all",
        help="what a call shows: all answers, every two in both orders, or one (default: all)",
    )
    parser.add_argument(
        "--orders",
        choices=("balanced", "seeded"),
        help="for mode all: every answer in every place equally often, or one order (default:"
        " balanced)",
    )
    parser.add_argument(
        "--repeats",
        type=cli.positive,
        default=1,
        metavar="N",
        help="how often to ask all of it (default: 1)",
    )
    parser.add_argument(
        "--seed", type=cli.seed, default=42, help="for the orders and for ties (default: 42)"
    )
    parser.add_argument(
        "--again",
        type=cli.file,
        metavar="FILE",
        help="judge again what this file of verdicts judges, and show how far they agree",
    )
    parser.add_argument(
        "--judge", metavar="MODEL", help="the model that judges, if the endpoints have several"
    )
    recipes.add_option(parser)
    parser.add_argument("--output", type=cli.file, metavar="FILE", help="file of verdicts to write")
    parser.add_argument(
        "--temperature", type=cli.temperature, default=0.0, help="of the judge (default: 0)"
    )
    parser.add_argument(
        "--max-tokens",
        type=cli.positive,
        default=2048,
        metavar="N",
        help="of a reply, with its reasoning if the server counts it in (default: 2048)",
    )
    sending.add_options(parser)
    parser.add_argument("--json", action="store_true", help="print the closing note as JSON")
    return cli.run(parser, _command, argv)


def _command(args: argparse.Namespace) -> None:
    if args.output is None and not (args.dry_run or args.shard):
        raise ImmuneError("--output is missing: name the file of verdicts to write")
    if args.orders and args.mode != "all":
        raise ImmuneError(f"--orders is for mode all: mode {args.mode} has its own")

    from immune_data.ask import endpoints, incidents
    from immune_data.judge import (
        again,
        answers,
        note,
        questions,
        report,
        rubric,
        verdict_file,
        verdicts,
    )

    recipe = recipes.load(args.recipe)
    servers = questions.of_judge(endpoints.load(args.endpoints), args.judge)
    sending.check_budget(servers, args.budget)
    if args.output is not None:
        verdict_file.check(args.output)
    by_name = answers.named(args.answers)
    models = answers.of_dataset(recipe, args.models, by_name)
    loaded = rubric.load(args.judges, args.rubric)
    earlier = None if args.again is None else again.read(args.again, args.judges, recipe)
    asking = questions.Asking(
        mode=args.mode,
        orders=args.orders or "balanced",
        repeats=args.repeats,
        first=0 if args.again is None else verdict_file.rounds_in(args.again),
        seed=args.seed,
        temperature=args.temperature,
        max_tokens=args.max_tokens,
    )
    judge = questions.Judge(recipe, loaded, asking, servers[0].model)
    source = answers.read(args.incidents, loaded.tasks, recipe, models, by_name)
    cases, rejects = source.cases, source.rejects
    if earlier is not None:
        cases = earlier.again(cases)
        judged_again = {case.incident.incident_id for case in cases}
        rejects = [reject for reject in rejects if reject.incident_id in judged_again]
    questions.check(cases, args.mode)
    in_shard = {
        incident.incident_id
        for incident in incidents.of_shard([case.incident for case in cases], args.shard)
    }
    cases = [case for case in cases if case.incident.incident_id in in_shard]

    def groups(model: str) -> Iterator[list[questions.Question]]:
        return judge.groups(cases)

    with sending.opened(args) as store:
        outcome = sending.send(args, groups, servers, store)
        if outcome is None:
            return
        if args.shard:
            still_open = sending.close_shard(args, outcome, groups, servers, store)
        else:
            judged = verdicts.gather(cases, judge, store)
            still_open = judged.open
            verdict_file.write(
                args.output,
                judged,
                judge,
                candidates=[*models, *by_name],
                synthetic=source.synthetic,
                rejects=rejects,
            )
            note.show(
                outcome,
                judged,
                report.make(cases, judged, loaded.tasks, earlier),
                dict(Counter(reject.reason for reject in rejects)),
                args.output,
                as_json=args.json,
            )
        sending.refuse_unfinished(outcome, still_open)


if __name__ == "__main__":
    sys.exit(main())
