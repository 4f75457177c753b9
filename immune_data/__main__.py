"""`python -m immune_data VERB …`, the same as `python -m immune_data.VERB …`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from immune_data.common import cli

VERBS = {
    "sample": "write the synthetic sample corpus",
    "slips": "incidents of the alerts that Slips wrote",
    "label": "have models answer incidents, as dataset files",
    "judge": "have a model judge answers, blind and in balanced orders",
    "ask": "what models were asked: list it, what it cost, merge stores",
    "emit": "the whole way from source files to SFT JSONL",
    "audit": "ask a dataset for its faults, by SQL",
    "why": "one incident's way through every step",
    "sql": "a query over tables and relations",
    "report": "one HTML page that shows the dataset",
    "publish": "the dataset on the Hugging Face Hub",
}


def main(argv: Sequence[str] | None = None) -> int:
    return cli.verbs("immune_data", VERBS, argv)


if __name__ == "__main__":
    sys.exit(main())
