"""Whether an answer rests on the evidence shown (rule 14): both in, the names it lacks out.

This is the one definition for selection, scores and decoding; `sql/audit/ungrounded.sql` says the
same in SQL. A name is grounded where what was shown holds the same one: a range of numbers does not
hold those between its ends, and a network not the addresses in it.
"""

from __future__ import annotations

from immune_data.contract import names


def named(text: str) -> dict[str, set[str]]:
    """What a text names, by kind, without the kinds of which it names nothing."""
    text = text.lower()
    found = ((kind, names.found(kind, text)) for kind in names.KINDS)
    return {kind: values for kind, values in found if values}


def ungrounded(answer: str, shown: str) -> dict[str, list[str]]:
    """The names in an answer that the text shown does not hold, by kind, sorted."""
    shown = shown.lower()
    lacking = (
        (kind, sorted(values - names.found(kind, shown))) for kind, values in named(answer).items()
    )
    return {kind: values for kind, values in lacking if values}
