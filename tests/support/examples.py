"""On how many examples a law is tried: a quarter in `make test`, all in `make campaigns`.

What says no number has 25 in `make test` and 100 in `make campaigns`.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings

SHORT, CAMPAIGN = "short", "campaign"

settings.register_profile(
    SHORT,
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.register_profile(CAMPAIGN, settings.get_profile(SHORT), max_examples=100)


def examples(number: int, **more: Any) -> settings:
    """Settings of a test that a campaign tries on so many."""
    whole = settings.get_current_profile_name() == CAMPAIGN
    return settings(max_examples=number if whole else max(2, number // 4), **more)
