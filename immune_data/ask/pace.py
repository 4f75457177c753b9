"""How fast an endpoint may be asked: successes and failures in, whether to ask now out.

The limit of requests in flight is halved when the server is busy or broken, at most once for
requests that were in flight together, and grows by one for each round of successes. After a failure
the endpoint is left alone for as long as it asks, or for a pause that doubles, with jitter.
"""

from __future__ import annotations

import random

GIVEN_UP = 20  # failures in a row
_NO_RESPONSE = 5  # failures in a row, where the server has never responded

_FIRST, _LONGEST = 0.25, 60.0  # seconds of pause after the first failure, and at most


class Pace:
    """The pace of one endpoint; times are seconds of any one clock."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._slowed_at = float("-inf")
        self._in_a_row = 0
        self._has_responded = False
        self.in_flight = 0
        self.not_before = float("-inf")

    @property
    def limit(self) -> int:
        """The requests that may be in flight."""
        return max(1, int(self._limit))

    @property
    def is_hopeless(self) -> bool:
        return self._in_a_row >= (GIVEN_UP if self._has_responded else _NO_RESPONSE)

    def has_room(self, now: float) -> bool:
        return self.in_flight < self.limit and now >= self.not_before

    def responded(self) -> None:
        """The server has responded, if only with an error."""
        self._has_responded = True

    def succeeded(self) -> None:
        self._in_a_row = 0
        self._limit = min(float(self._most), self._limit + 1 / self._limit)

    def failed(self, began: float, now: float, retry_after: float | None) -> None:
        """A request that `began` then has failed `now`."""
        if began >= self._slowed_at:
            self._limit = max(1.0, self._limit / 2)
            self._slowed_at = now
            self._in_a_row += 1
        pause = min(_LONGEST, _FIRST * 2 ** max(0, self._in_a_row - 1))
        wait = pause * random.uniform(0.5, 1.0) if retry_after is None else retry_after
        self.not_before = max(self.not_before, now + wait)

    def refused(self) -> None:
        """A request was refused for what it is, which says nothing about the next one."""
        self._in_a_row += 1
