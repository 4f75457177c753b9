"""Which incidents to write: the command's options in, the row of `settings` for SQL out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True)
class Selection:
    """The limits on the incidents to write; by default there are none."""

    since: datetime | None = None
    sample: int | None = None
    seed: int = 0
    per_capture: int | None = None
    per_host: int | None = None
    tiers: tuple[int, ...] = ()

    @property
    def narrows(self) -> bool:
        return any((self.since, self.sample, self.per_capture, self.per_host, self.tiers))

    def settings(self) -> dict[str, Any]:
        """The row of `settings`."""
        since = None
        if self.since is not None:
            offset = self.since.utcoffset() or timedelta()
            elapsed = self.since.replace(tzinfo=None) - _EPOCH - offset
            since = elapsed // timedelta(microseconds=1)
        return {
            "since": since,
            "sample": self.sample,
            "seed": self.seed,
            "per_capture": self.per_capture,
            "per_host": self.per_host,
            "tiers": self.tiers,
        }
