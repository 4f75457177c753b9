"""The incidents that are evaluated: their category, events and group, and none that was learned.

In: the records, the tables they were emitted from, verdicts, and what runs say they were trained
on. Out: what is known of each incident, or the refusal to measure on what was learned.
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
MANY = 500  # events, from which on an incident is of the upper tier
ALL = "all"

_SOURCE_IP = re.compile(r"^Source IP: *([^|\n]*[^|\s])", re.MULTILINE)
_WINDOW = re.compile(r"\bTime ?window: *([^|\n]*[^|\s])")

Window = tuple[str, str]


@dataclass(frozen=True)
class Facts:
    """What is known of an incident; `group` is named after the group's first incident."""

    group: str
    category: str | None
    events: int | None

    @property
    def tier(self) -> str | None:
        if self.events is None:
            return None
        return f"{MANY} events and more" if self.events >= MANY else f"below {MANY} events"


@dataclass(frozen=True)
class Said:
    """What tables or a verdict say of an incident."""

    category: str | None = None
    events: int | None = None
    window: Window | None = None


class Groups:
    """Incidents that belong together, by whatever they share, directly or through others."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def join(self, first: str, second: str) -> None:
        one, other = sorted((self._top(first), self._top(second)))
        self._above[other] = one

    def _top(self, key: str) -> str:
        while (above := self._above.setdefault(key, key)) != key:
            self._above[key] = self._above[above]
            key = above
        return key

    def join_windows(self, windows: Mapping[str, Window]) -> None:
        """Join the incidents of one source IP and time window."""
        for incident, window in windows.items():
            self.join(_incident(incident), f"window {window[0]}\n{window[1]}")

    def join_listed(self, incidents: Iterable[listed.Incident]) -> None:
        """Join the incidents that a dataset's list says are of one group."""
        for one in incidents:
            self.join(_incident(one.incident_id), _incident(one.group))

    def of(self, incidents: Iterable[str]) -> dict[str, str]:
        """Each incident's group, by its top, which is the same for all members."""
        return {incident: self._top(_incident(incident)) for incident in incidents}


def _incident(name: str) -> str:
    return f"incident {name}"


def window_shown(shown: Sequence[str]) -> Window | None:
    """The source IP and time window that a prompt names."""
    for message in shown:
        address, window = _SOURCE_IP.search(message), _WINDOW.search(message)
        if address and window:
            return address[1], window[1]
    return None


def read_list(path: Path) -> list[listed.Incident]:
    """The list of incidents that a run or a dataset has.

    Raises:
        ImmuneError: there is none, or it cannot be read.
    """
    try:
        return listed.read(path.read_bytes())
    except FileNotFoundError:
        raise ImmuneError(
            f"{path} is missing, so that nobody knows what the run was trained on: emit the "
            "dataset and train again with this version"
        ) from None
    except (OSError, msgspec.MsgspecError):
        raise ImmuneError(f"{path} cannot be read as a list of incidents") from None


def refuse_learned(
    evaluated: Sequence[str],
    trained: Mapping[str, Iterable[str]],
    groups: Groups,
) -> None:
    """Refuse to measure on what was learned; `trained` are the incidents that each run was given.

    Raises:
        CheckFailed: an evaluated incident, or another of its group, was trained on.
    """
    for run, incidents in trained.items():
        learned = set(incidents)
        of_learned = {group: incident for incident, group in groups.of(sorted(learned)).items()}
        same = [one for one in evaluated if one in learned]
        kin = [
            one
            for one, group in groups.of(evaluated).items()
            if group in of_learned and one not in learned
        ]
        if same:
            raise CheckFailed(
                f"{len(same):,} of {counted(len(evaluated), 'evaluated incident')} "
                f"{are(len(same), 'was', 'were')} trained on in {run} "
                f"(first: {same[0]}), so that its answers show what it learned by heart: evaluate "
                "on incidents that it has not seen"
            )
        if kin:
            [group] = groups.of(kin[:1]).values()
            raise CheckFailed(
                f"{len(kin):,} of {len(evaluated):,} evaluated incidents are of a group that was "
                f"trained on in {run} (first: {kin[0]}, of one source IP and time window or one "
                f"evidence with {of_learned[group]}): evaluate on groups that it has not seen"
            )


def facts(
    shown: Mapping[str, Sequence[str]], said: Sequence[Mapping[str, Said]], groups: Groups
) -> dict[str, Facts]:
    """What is known of each incident; `said` are sources of facts, the best first."""
    of = groups.of(shown)
    first: dict[str, str] = {}
    for incident in sorted(shown):
        first.setdefault(of[incident], incident)
    found = {}
    for incident, messages in shown.items():
        known = [source[incident] for source in said if incident in source]
        category = next((one.category for one in known if one.category), None)
        events = next((one.events for one in known if one.events is not None), None)
        if events is None:
            events = event_count(messages)
        found[incident] = Facts(first[of[incident]], category, events)
    return found


def tables(data: Path) -> dict[str, Said]:
    """What the tables in a folder of artifacts say of incidents; nothing where there are none.

    Raises:
        ImmuneError: there are some, and they cannot be read.
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
        row["incident_id"]: Said(
            row["category"],
            row["event_count"],
            (row["source_ip"], row["timewindow"])
            if row["source_ip"] is not None and row["timewindow"] is not None
            else None,
        )
        for row in rows
    }


def parts(incidents: Sequence[str], facts: Mapping[str, Facts]) -> Iterator[tuple[str, list[int]]]:
    """All incidents, those of a category, of a tier, and of both, by their places in a list."""
    yield ALL, list(range(len(incidents)))
    categories = [*CATEGORIES, *sorted({one.category for one in facts.values() if one.category})]
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
