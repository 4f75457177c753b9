"""Look into a store of what models were asked.

    python -m immune_data.ask list
    python -m immune_data.ask costs
    python -m immune_data.ask merge elsewhere/asked.sqlite --store data/asked.sqlite

In: a store. Out: its requests and what came of each, or what they cost by model and endpoint, as a
table or JSON. `merge` copies what other stores contain into it: it does not matter which store a
reply came from, and of two replies to one request the one with the smaller digest is used.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from immune_data.ask import sending
from immune_data.ask.store import Store
from immune_data.common import cli, streams
from immune_data.common.errors import ImmuneError
from immune_data.common.text import counted, one_line, visible

_SHOWN = 60  # characters of a text in a table

_LIST = """
with calls as (
    select request, repeat, attempt, endpoint, at, seconds, cost,
        coalesce(finish, 'unfinished') as outcome, prompt_tokens, answer_tokens, text
    from replies
    union all
    select request, repeat, attempt, endpoint, at, seconds, cost,
        reason as outcome, null as prompt_tokens, null as answer_tokens, detail as text
    from failures
)
select calls.request, calls.repeat, calls.attempt, requests.model, calls.endpoint, calls.at,
    calls.seconds, calls.cost, calls.outcome, calls.prompt_tokens, calls.answer_tokens, calls.text
from calls inner join requests on requests.sha256 = calls.request
where (?1 is null or requests.model = ?1) and (?2 is null or calls.request like ?2 || '%')
order by calls.at, calls.request, calls.repeat, calls.attempt
"""
_COSTS = """
with calls as (
    select request, endpoint, seconds, cost, prompt_tokens, cached_tokens, answer_tokens,
        1 as reply
    from replies
    union all
    select request, endpoint, seconds, cost, null, null, null, 0 as reply
    from failures
)
select requests.model, calls.endpoint, sum(calls.reply) as replies,
    sum(1 - calls.reply) as failures, coalesce(sum(calls.prompt_tokens), 0) as prompt_tokens,
    coalesce(sum(calls.cached_tokens), 0) as cached_tokens,
    coalesce(sum(calls.answer_tokens), 0) as answer_tokens,
    round(sum(calls.seconds), 1) as seconds, round(sum(calls.cost), 6) as cost
from calls inner join requests on requests.sha256 = calls.request
group by requests.model, calls.endpoint
order by requests.model, calls.endpoint
"""
_ROW = (
    *("request", "repeat", "attempt", "model", "endpoint", "at", "seconds", "cost", "outcome"),
    *("prompt_tokens", "answer_tokens", "text"),
)
_COST = (
    *("model", "endpoint", "replies", "failures", "prompt_tokens", "cached_tokens"),
    *("answer_tokens", "seconds", "cost"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    parser = cli.parser(
        "immune_data.ask",
        summary="Look into the store of what models were asked: list its replies and failures,\n"
        "say what they cost, or merge other stores into it.",
        example="python -m immune_data.ask costs --store data/asked.sqlite\n"
        "  python -m immune_data.ask merge shard-1.sqlite shard-2.sqlite",
    )
    parser.add_argument("what", choices=("list", "costs", "merge"), help="what to do")
    parser.add_argument(
        "stores", nargs="*", type=cli.file, metavar="FILE", help="for merge: stores to merge"
    )
    sending.add_store(parser)
    parser.add_argument("--model", help="for list: of this model only")
    parser.add_argument(
        "--request",
        metavar="SHA256",
        help="for list: of requests whose digest begins so, with their whole texts",
    )
    parser.add_argument("--json", action="store_true", help="print an array of objects")
    return cli.run(parser, _command, argv)


def _command(args: argparse.Namespace) -> None:
    if args.what != "merge" and args.stores:
        raise ImmuneError(f"{args.what} looks into one store: name it with --store")
    if args.what == "merge":
        if not args.stores:
            raise ImmuneError("merge needs the stores to merge: name their files")
        for file in args.stores:
            if file.exists() and args.store.exists() and file.samefile(args.store):
                raise ImmuneError(f"{file} is the store to merge into: name others")
            if not file.is_file():
                raise ImmuneError(f"there is no store {file}")
        with Store(args.store) as store:
            new = {str(file): store.merge(file) for file in args.stores}
        if args.json:
            print(json.dumps([{"store": file, "new_replies": n} for file, n in new.items()]))
        for file, number in () if args.json else new.items():
            replies = counted(number, "new reply", "new replies")
            print(one_line(f"{replies} of {file} in {args.store}"))
        return
    with Store(args.store, create=False) as store:
        values = (
            store.rows(_COSTS)
            if args.what == "costs"
            else store.rows(_LIST, [args.model, args.request])
        )
    names = _COST if args.what == "costs" else _ROW
    rows = [dict(zip(names, row, strict=True)) for row in values]
    with streams.for_reader() if args.what == "list" else nullcontext():
        if args.json:
            print(json.dumps(rows, indent=2, ensure_ascii=False))
        elif args.what == "costs":
            _show_costs(rows, args.store)
        else:
            _show_list(rows, args.store, whole=args.request is not None)


def _show_costs(rows: list[dict[str, Any]], file: Path) -> None:
    from immune_data.common.table import show

    columns = [*("model", "endpoint", "replies", "failures", "prompt", "cached", "answer")]
    show(
        f"what {file} contains, in tokens and money",
        [*columns, "seconds", "cost"],
        [list(row.values()) for row in rows],
    )


def _show_list(rows: list[dict[str, Any]], file: Path, *, whole: bool) -> None:
    if whole:
        for row in rows:
            print(f"{row['request']} {row['at']} {row['outcome']} by {one_line(row['endpoint'])}")
            print(f"{visible(row['text'])}\n")
        return
    from immune_data.common.table import show

    columns = ["request", "repeat", "attempt", "model", "at", "seconds", "outcome", "text"]
    show(
        f"replies and failures in {file}: {len(rows):,}",
        columns,
        [
            [
                row["request"][:12],
                *(row[name] for name in columns[1:4]),
                row["at"][:19],
                row["seconds"],
                row["outcome"],
                one_line(row["text"], _SHOWN),
            ]
            for row in rows
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
