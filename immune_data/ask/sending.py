"""From questions to stored replies, for every command that asks models.

First the plan is shown: what would be sent, to whom, and what it costs. Requests are sent when the
user agrees, or has agreed beforehand with --yes.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence

from immune_data.ask import asking, note, plan
from immune_data.ask.asking import Group, Report
from immune_data.ask.endpoints import Endpoint, Keys
from immune_data.ask.plan import Plan
from immune_data.ask.request import Question
from immune_data.ask.store import DEFAULT, Store
from immune_data.common import cli
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.common.text import are, counted, one_line

# Gives the questions to a model, each time it is called.
Groups = Callable[[str], Iterator[Group]]


def add_store(parser: argparse.ArgumentParser) -> None:
    """The option for the store, the same in every command."""
    parser.add_argument(
        "--store",
        type=cli.file,
        default=DEFAULT,
        metavar="FILE",
        help=f"what models were asked and answered (default: {DEFAULT})",
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command that asks models."""
    parser.add_argument(
        "--endpoints", type=cli.file, required=True, metavar="FILE", help="a TOML file of servers"
    )
    add_store(parser)
    parser.add_argument(
        "--shard",
        type=_shard,
        metavar="I/N",
        help="ask about one of N parts of the incidents and write only the store: afterwards"
        " merge the stores, and run without it",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show what would be sent, to whom, and what it costs; send nothing",
    )
    parser.add_argument(
        "--yes",
        action="store_true",
        help="send without asking first; required where there is no terminal",
    )
    parser.add_argument(
        "--budget",
        type=_money,
        metavar="SUM",
        help="stop before this run costs more, in the unit of the endpoints' prices",
    )


def check_budget(endpoints: Sequence[Endpoint], budget: float | None) -> None:
    """Check that the costs can be known.

    Raises:
        ImmuneError: there is a budget, and an endpoint without prices.
    """
    for endpoint in endpoints:
        if budget is not None and not endpoint.is_priced:
            raise ImmuneError(
                f"--budget needs to know what is spent: give {endpoint.name} a price_in and a "
                "price_out, 0 if it costs nothing"
            )


def opened(args: argparse.Namespace) -> Store:
    """The store that the options name; a dry run does not create one."""
    return Store(None if args.dry_run and not args.store.exists() else args.store)


def send(
    args: argparse.Namespace, groups: Groups, endpoints: Sequence[Endpoint], store: Store
) -> Report | None:
    """Show what is to be asked, and ask it once the user agrees; None for a dry run.

    Raises:
        ImmuneError: the user does not agree, a key is missing, or nobody answered anything.
    """
    planned = _planned(groups, endpoints, store)
    if args.dry_run or (planned.requests and not args.json):
        note.show_plan(planned, as_json=args.json)
    if args.dry_run:
        return None
    return _send(planned, groups, endpoints, store, yes=args.yes, budget=args.budget)


def close_shard(
    args: argparse.Namespace,
    report: Report,
    groups: Groups,
    endpoints: Sequence[Endpoint],
    store: Store,
) -> int:
    """Print what came of one part of the incidents; the number of questions still open."""
    questions = _questions(groups, endpoints)
    still_open = sum(store.is_open(question) for question in questions)
    note.show_shard(report, still_open, args.store, args.shard, as_json=args.json)
    return still_open


def _questions(groups: Groups, endpoints: Sequence[Endpoint]) -> Iterator[Question]:
    for model in plan.by_model(endpoints):
        for group in groups(model):
            yield from group


def _planned(groups: Groups, endpoints: Sequence[Endpoint], store: Store) -> Plan:
    with cli.progress() as say:
        say("counting the questions")
        return plan.plan(_questions(groups, endpoints), endpoints, store)


def _send(
    planned: Plan,
    groups: Groups,
    endpoints: Sequence[Endpoint],
    store: Store,
    *,
    yes: bool,
    budget: float | None,
) -> Report:
    models = {of_model.model for of_model in planned.models if of_model.requests}
    if not models:
        return Report()
    working = [endpoint for endpoint in endpoints if endpoint.model in models]
    keys = Keys(working)
    if not yes:
        _confirm(planned)
    with cli.progress() as say:
        say(f"asking {', '.join(sorted({endpoint.name for endpoint in working}))}")
        report = asking.run(
            {model: groups(model) for model in sorted(models)},
            working,
            keys,
            store,
            budget=budget,
            say=say,
        )
    for name, reason in report.out.items():
        print(one_line(f"gave up {name}: {reason}"), file=sys.stderr)
    if report.out and not report.answered:
        name, reason = next(iter(report.out.items()))
        raise ImmuneError(f"nobody answered; {name}: {reason}")
    return report


def _confirm(planned: Plan) -> None:
    requests, hosts = counted(planned.requests, "request"), " and ".join(planned.hosts)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ImmuneError(
            f"{requests} would be sent to {hosts}: look with --dry-run, and send with --yes"
        )
    print(one_line(f"Send {requests} to {hosts}? [y/N] "), end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ImmuneError("nothing was sent")


def refuse_unfinished(report: Report, still_open: int) -> None:
    """Check that no question is left open.

    Raises:
        CheckFailed: something is left for the next run.
    """
    if not still_open:
        return
    missing = f"{counted(still_open, 'answer')} {are(still_open)} still missing"
    if report.over_budget:
        raise CheckFailed(f"the budget is used up and {missing}: run again to resume")
    if report.held == still_open:
        raise CheckFailed(f"{missing}, which another run asks for: run again after it")
    raise CheckFailed(f"{missing} because of failures: run again")


def _shard(text: str) -> tuple[int, int]:
    number, slash, of = text.partition("/")
    if not slash:
        raise argparse.ArgumentTypeError(f"{text[:40]} is not a shard: write it like 1/3")
    shard = cli.positive(number), cli.positive(of)
    if shard[0] > shard[1]:
        raise argparse.ArgumentTypeError(f"there is no part {number} of {of}")
    return shard


def _money(text: str) -> float:
    try:
        sum_ = float(text)
    except ValueError:
        sum_ = -1.0
    if not math.isfinite(sum_) or sum_ < 0:
        raise argparse.ArgumentTypeError(f"{text[:40]} is not a sum of money")
    return sum_
