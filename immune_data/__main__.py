"""`python -m immune_data VERB …`, the same as `python -m immune_data.VERB …`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from immune_data.common import cli, streams
from immune_data.common.text import one_line

VERBS = {
    "sample": "write the synthetic sample corpus",
    "emit": "the whole way from source files to SFT JSONL",
    "audit": "ask a dataset for its faults, by SQL",
    "why": "one incident's way through every step",
    "sql": "a query over tables and relations",
    "report": "one HTML page that shows the dataset",
    "publish": "the dataset on the Hugging Face Hub",
}


def main(argv: Sequence[str] | None = None) -> int:
    verb, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if verb in VERBS:
        return cli.module(f"immune_data.{verb}").main(rest)
    with streams.patient():
        return _without_verb(verb)


def _without_verb(verb: str) -> int:
    usage = "\n".join(f"  {name:<10}{what}" for name, what in VERBS.items())
    if verb in ("-h", "--help"):
        print(f"usage: python -m immune_data VERB …\n\n{usage}\n\nVERB --help says more.")
        return 0
    print(f"error: no verb {one_line(verb)}: use one of {', '.join(VERBS)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
