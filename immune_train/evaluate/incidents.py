"""The evaluated incidents: their category, events and group, and that none was trained on.

In: the records, the tables they were emitted from, verdicts, and the lists of incidents that runs
were trained on. Out: the facts of each incident, or the refusal to evaluate on training data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.common.text import are, counted
from immune_data.contract import incidents as listed
from immune_train.score.metrics import event_count

CATEGORIES = ("Malware", "Normal")
MANY = 500  # events of an incident in the upper tier, at least
ALL = "all"

_SOURCE_IP = re.compile(r"^Source IP: *([^|\n]*[^|\s])", re.MULTILINE)
_WINDOW = re.compile(r"\bTime ?window: *([^|\n]*[^|\s])")

Window = tuple[str, str]


@dataclass(frozen=True)
class Facts:
    """The facts of an incident; `group` is named after the group's first incident."""

    group: str
    category: str | None
    events: int | None

    @property
    def tier(self) -> str | None:
        if self.events is None:
            return None
        return f"{MANY} events and more" if self.events >= MANY else f"below {MANY} events"


@dataclass(frozen=True)
class Details:
    """Details of an incident in tables or a verdict."""

    category: str | None = None
    events: int | None = None
    window: Window | None = None


class Groups:
    """Groups of incidents that are connected, directly or through others."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def join(self, first: str, second: str) -> None:
        root, child = sorted((self._top(first), self._top(second)))
        self._above[child] = root

    def _top(self, key: str) -> str:
        while (parent := self._above.setdefault(key, key)) != key:
            self._above[key] = self._above[parent]
            key = parent
        return key

    def join_windows(self, windows: Mapping[str, Window]) -> None:
        """Join incidents with the same source IP and time window."""
        for incident, window in windows.items():
            self.join(_incident(incident), f"window {window[0]}\n{window[1]}")

    def join_listed(self, incidents: Iterable[listed.Incident]) -> None:
        """Join incidents that are in one group in a dataset's list."""
        for incident in incidents:
            self.join(_incident(incident.incident_id), _incident(incident.group))

    def of(self, incidents: Iterable[str]) -> dict[str, str]:
        """Each incident's group, identified by its root, which all members share."""
        return {incident: self._top(_incident(incident)) for incident in incidents}


def _incident(name: str) -> str:
    return f"incident {name}"


def window_in(messages: Sequence[str]) -> Window | None:
    """The source IP and time window that a prompt names."""
    for message in messages:
        address, window = _SOURCE_IP.search(message), _WINDOW.search(message)
        if address and window:
            return address[1], window[1]
    return None


def read_list(path: Path) -> list[listed.Incident]:
    """The list of incidents of a run or a dataset.

    Raises:
        ImmuneError: it is missing or cannot be read.
    """
    try:
        return listed.read(path.read_bytes())
    except FileNotFoundError:
        raise ImmuneError(
            f"{path} is missing, so it is unknown what the run was trained on: emit the dataset "
            "and train again with this version"
        ) from None
    except (OSError, msgspec.MsgspecError):
        raise ImmuneError(f"{path} cannot be read as a list of incidents") from None


def refuse_trained_on(
    incident_ids: Sequence[str],
    runs: Mapping[str, Iterable[str]],
    groups: Groups,
) -> None:
    """Refuse to evaluate on training data; `runs` are the train incidents of each run.

    Raises:
        CheckFailed: an evaluated incident, or another of its group, was trained on.
    """
    for run, incidents in runs.items():
        seen = set(incidents)
        seen_groups = {group: incident for incident, group in groups.of(sorted(seen)).items()}
        overlap = [incident_id for incident_id in incident_ids if incident_id in seen]
        related = [
            incident_id
            for incident_id, group in groups.of(incident_ids).items()
            if group in seen_groups and incident_id not in seen
        ]
        if overlap:
            raise CheckFailed(
                f"{len(overlap):,} of {counted(len(incident_ids), 'evaluated incident')} "
                f"{are(len(overlap), 'was', 'were')} trained on in {run} "
                f"(first: {overlap[0]}), so its answers may be memorised: evaluate on incidents "
                "that it has not seen"
            )
        if related:
            [group] = groups.of(related[:1]).values()
            raise CheckFailed(
                f"{len(related):,} of {len(incident_ids):,} evaluated incidents are in a group "
                f"that was trained on in {run} (first: {related[0]}, which shares source IP and "
                f"time window or evidence with {seen_groups[group]}): evaluate on groups that it "
                "has not seen"
            )


def facts(
    prompts: Mapping[str, Sequence[str]], sources: Sequence[Mapping[str, Details]], groups: Groups
) -> dict[str, Facts]:
    """The facts of each incident; `sources` of them, the best first."""
    group_of = groups.of(prompts)
    names: dict[str, str] = {}
    for incident in sorted(prompts):
        names.setdefault(group_of[incident], incident)
    facts_by_id = {}
    for incident, messages in prompts.items():
        entries = [rows[incident] for rows in sources if incident in rows]
        category = next((entry.category for entry in entries if entry.category), None)
        events = next((entry.events for entry in entries if entry.events is not None), None)
        if events is None:
            events = event_count(messages)
        facts_by_id[incident] = Facts(names[group_of[incident]], category, events)
    return facts_by_id


def tables(data: Path) -> dict[str, Details]:
    """The incidents' details in the tables of an artifact folder; empty if it has no tables.

    Raises:
        ImmuneError: the tables cannot be read.
    """
    path = data / "tables" / "incidents.parquet"
    if not path.is_file():
        return {}
    import pyarrow
    from pyarrow import parquet

    columns = ["incident_id", "category", "event_count", "source_ip", "timewindow"]
    try:
        rows = parquet.read_table(path, columns=columns).to_pylist()
    except (OSError, pyarrow.ArrowException):
        raise ImmuneError(f"{path} cannot be read: emit the dataset again") from None
    return {
        row["incident_id"]: Details(
            row["category"],
            row["event_count"],
            (row["source_ip"], row["timewindow"])
            if row["source_ip"] is not None and row["timewindow"] is not None
            else None,
        )
        for row in rows
    }


def parts(incidents: Sequence[str], facts: Mapping[str, Facts]) -> Iterator[tuple[str, list[int]]]:
    """All incidents, those of a category, of a tier, and of both, by their indices in a list."""
    yield ALL, list(range(len(incidents)))
    categories = [*CATEGORIES, *sorted({fact.category for fact in facts.values() if fact.category})]
    tiers = (f"below {MANY} events", f"{MANY} events and more")
    for category in dict.fromkeys((*categories, None)):
        for tier in (None, *tiers):
            if category is None and tier is None:
                continue
            members = [
                i
                for i, incident in enumerate(incidents)
                if (category is None or facts[incident].category == category)
                and (tier is None or facts[incident].tier == tier)
            ]
            if members and len(members) <= len(incidents):
                yield ", ".join(filter(None, (category, tier))), members
