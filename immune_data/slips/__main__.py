"""From Slips' alerts to incidents.

In: files of alerts, plain or gzipped, or folders of Slips' output, in any dialects. Out:
`incidents.json`, which the other commands read, and next to it `incidents.events.parquet`, one row
per event, and `incidents.rejects.jsonl`, the lines that could not be used. The same alerts give the
same bytes, whatever their order.

Run `python -m immune_data.slips FILE_OR_FOLDER… --output incidents.json`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from immune_data.common import cli
from immune_data.common.errors import ImmuneError
from immune_data.contract.dag import CONDENSED, FORMS
from immune_data.slips.categories import CATEGORIES
from immune_data.slips.selection import Selection


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    parser = cli.parser(
        "immune_data.slips",
        summary="Make incidents from the alerts that Slips wrote.",
        example="python -m immune_data.slips output/ --output incidents.json --category Malware",
    )
    parser.add_argument(
        "alerts",
        nargs="+",
        type=Path,
        metavar="FILE_OR_FOLDER",
        help="a file of alerts, plain or gzipped, or a folder to search for alerts.json",
    )
    parser.add_argument(
        "--output",
        type=_json_file,
        default=Path("incidents.json"),
        help="file to write; events and rejects go next to it (default: incidents.json)",
    )
    parser.add_argument(
        "--form",
        choices=FORMS,
        default=CONDENSED,
        help="of the evidence: one line for every kind of event, or the lab's list by target "
        f"(default: {CONDENSED})",
    )
    category = parser.add_mutually_exclusive_group()
    category.add_argument("--category", choices=CATEGORIES, help="of every incident")
    category.add_argument(
        "--categories",
        type=cli.file,
        metavar="FILE",
        help='a TOML file with the category of each capture: "capture-7" = "Malware"; needs '
        "--capture-from",
    )
    parser.add_argument(
        "--capture-from",
        type=_capture_from,
        metavar="REGEX",
        help="finds the name of the capture in a file's path, as its group `capture`: "
        "'/(?P<capture>[^/]+)/[^/]+/alerts.json'",
    )
    parser.add_argument(
        "--since",
        type=_time,
        metavar="TIME",
        help="only incidents that Slips wrote at or after this time (2026-10-02 or "
        "2026-10-02T06:00+02:00; without an offset, UTC)",
    )
    parser.add_argument(
        "--sample",
        type=cli.positive,
        metavar="N",
        help="only N incidents, if possible equally many of each category and tier",
    )
    parser.add_argument("--seed", type=cli.seed, default=0, help="of --sample (default: 0)")
    parser.add_argument(
        "--per-capture", type=cli.positive, metavar="N", help="at most N incidents of a capture"
    )
    parser.add_argument(
        "--per-host", type=cli.positive, metavar="N", help="at most N incidents of a host"
    )
    parser.add_argument(
        "--tiers",
        type=_tiers,
        default=(),
        metavar="N,N,…",
        help="numbers of events that separate small incidents from larger ones: 10,100,1000",
    )
    parser.add_argument("--json", action="store_true", help="print the closing note as JSON")
    return cli.run(parser, _command, argv)


def _command(args: argparse.Namespace) -> int:
    from immune_data.slips import build, note

    if args.categories and not args.capture_from:
        raise ImmuneError("--categories needs --capture-from, which says whose category it is")
    output = build.build(
        args.alerts,
        args.output,
        form=args.form,
        category=args.category,
        categories=args.categories,
        capture_from=args.capture_from,
        selection=Selection(
            since=args.since,
            sample=args.sample,
            seed=args.seed,
            per_capture=args.per_capture,
            per_host=args.per_host,
            tiers=args.tiers,
        ),
    )
    note.show(output, as_json=args.json)
    return 0


def _json_file(text: str) -> Path:
    file = cli.file(text)
    if file.suffix != ".json":
        raise argparse.ArgumentTypeError(f"{text[:200]} does not end in .json")
    return file


def _capture_from(text: str) -> re.Pattern[str]:
    try:
        expression = re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(
            f"{text[:200]} is not a regular expression: {error}"
        ) from None
    if "capture" not in expression.groupindex:
        raise argparse.ArgumentTypeError(f"{text[:200]} has no group (?P<capture>…)")
    return expression


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text[:40]} is not a time: write it like 2026-10-02 or 2026-10-02T06:00+02:00"
        ) from None


def _tiers(text: str) -> tuple[int, ...]:
    limits = tuple(cli.positive(part) for part in text.split(","))
    if list(limits) != sorted(set(limits)):
        raise argparse.ArgumentTypeError(f"{text[:40]} is not increasing: write 10,100,1000")
    return limits


if __name__ == "__main__":
    sys.exit(main())
