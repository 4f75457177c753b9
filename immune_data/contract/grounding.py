"""Whether an answer is grounded in the evidence shown (rule 14): both in, ungrounded names out.

This is the only definition for selection, scores and decoding; `sql/audit/ungrounded.sql` repeats
it in SQL. A name is grounded if the text shown contains the same one: a range of numbers does not
contain those between its ends, nor a network the addresses in it.
"""

from __future__ import annotations

from functools import lru_cache

from immune_data.contract import names


def names_in(text: str) -> dict[str, set[str]]:
    """The names in a text, by kind; a kind without names is left out."""
    text = text.lower()
    values_by_kind = ((kind, names.find(kind, text)) for kind in names.KINDS)
    return {kind: values for kind, values in values_by_kind if values}


def ungrounded(answer: str, shown: str) -> dict[str, list[str]]:
    """The names in an answer that are missing from the text shown, by kind, sorted."""
    shown = shown.lower()
    missing = (
        (kind, sorted(values - _shown(kind, shown))) for kind, values in names_in(answer).items()
    )
    return {kind: values for kind, values in missing if values}


@lru_cache(maxsize=64)
def _shown(kind: str, text: str) -> set[str]:
    """The names of a kind in a text shown, which several answers follow."""
    return names.find(kind, text)
