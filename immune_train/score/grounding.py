"""What an answer names that its evidence lacks: two texts in, addresses, ports and domains out."""

from __future__ import annotations

from immune_data.contract import names

# Those of `sql/audit/ungrounded.sql`, which finds the same in the same texts.
_KINDS = ("address", "port", "domain")


def named(answer: str) -> dict[str, set[str]]:
    """What an answer names, by kind."""
    return {kind: names.found(kind, answer.lower()) for kind in _KINDS}


def ungrounded(answer: str, shown: str) -> dict[str, list[str]]:
    """The addresses, ports and domains of an answer that its evidence does not hold, by kind."""
    shown = shown.lower()
    lacking = {}
    for kind, values in named(answer).items():
        if values:
            held = names.numbers(shown) if kind == "port" else names.found(kind, shown)
            lacking[kind] = sorted(values - held)
    return {kind: values for kind, values in lacking.items() if values}
