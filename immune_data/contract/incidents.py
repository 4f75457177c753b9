"""`incidents.json`: the incidents of a dataset, for readers without its tables.

It is next to the records, and a training run keeps a copy, so that one can always find out what a
model was trained on and what it was evaluated on. An incident that is in both splits is in the list
twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

NAME = "incidents.json"


class Incident(msgspec.Struct, frozen=True):
    """An incident on one side of the split; `group` is named after the group's first incident.

    Incidents of one group share the source IP and time window, or the text of the evidence.
    """

    incident_id: str
    split: str
    group: str


def write(folder: Path, incidents: Iterable[Incident]) -> None:
    """Write the list into `folder`, one incident per line."""
    lines = ",\n".join(msgspec.json.encode(incident).decode() for incident in incidents)
    (folder / NAME).write_text(f"[\n{lines}\n]\n" if lines else "[]\n", encoding="utf-8")


def read(content: bytes) -> list[Incident]:
    """The incidents of a list's bytes.

    Raises:
        msgspec.MsgspecError: it is not a list of incidents.
    """
    return msgspec.json.decode(content, type=list[Incident])
