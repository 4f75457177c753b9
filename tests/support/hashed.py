"""Sides by hash (rule 15), by code that shares nothing with the package."""

from __future__ import annotations

from hashlib import sha256
from itertools import count, islice

KEY, SHARE = "immune", 0.1  # of the shipped recipes


def side(
    incident_id: str,
    source_ip: str | None,
    timewindow: str | None,
    key: str = KEY,
    share: float = SHARE,
) -> str:
    """The side of an incident, whatever becomes of it."""
    parts = [key]
    parts += [incident_id if part is None else part for part in (source_ip, timewindow)]
    digits = sha256("\n".join(parts).encode()).hexdigest()[:13]
    return "eval" if int(digits, 16) < share * 16**13 else "train"


def windows(of: str, number: int) -> list[dict[str, str]]:
    """As many source addresses and time windows on a side of the shipped recipes."""
    found = ({"source_ip": f"10.1.{i // 250}.{i % 250}", "timewindow": str(i)} for i in count())
    return list(islice((one for one in found if side("", **one) == of), number))
