"""Who shares the work of a run: the address of a cluster's scheduler in, its workers out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from immune_data.common import cluster
from immune_data.common.errors import ImmuneError
from immune_data.emit import inputs
from immune_data.emit.build import Workers


def workers(
    executor: str | None, *, insecure: bool, report: Callable[[str], None]
) -> Workers | None:
    """Those of the Dask cluster at the address `executor`; None without one.

    Raises:
        ImmuneError: it is not an address that may be used.
    """
    if executor is None:
        if insecure:
            raise ImmuneError("--insecure needs an --executor: name one, or leave it out")
        return None
    scheduler = cluster.address(executor, insecure=insecure)
    return partial(cluster.workers, scheduler, inputs.program, report)
