"""Dask clusters on loopback that tests share work with.

python clusters.py        a scheduler with a worker, which says its address and can be killed
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
from distributed import LocalCluster, Security

# A cluster of tests does not watch itself: each of its processes, and that of the tests, which its
# scheduler is in, would spend a twentieth of a processor on it as long as it lives.
_CALM = {
    "distributed.admin.system-monitor.disk": False,
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.tick.interval": "1s",
    "distributed.worker.memory.monitor-interval": "10s",
    "distributed.worker.profile.enabled": False,
}

# How Dask's configuration and its environment variables call what a client needs.
_CLIENT = {
    "ca-file": "tls_ca_file",
    "client.cert": "tls_client_cert",
    "client.key": "tls_client_key",
}


def certificates(folder: Path, security: Security) -> dict[str, str]:
    """What Dask's configuration says of a client's certificates, which are written to a folder."""
    found = {}
    for key, attribute in _CLIENT.items():
        file = folder / f"{attribute}.pem"
        file.write_text(getattr(security, attribute))
        found[f"distributed.comm.tls.{key}"] = str(file)
    return found


def variables(configuration: dict[str, str]) -> dict[str, str]:
    """The same as environment variables."""
    return {
        f"DASK_{key.upper().replace('.', '__').replace('-', '_')}": value
        for key, value in configuration.items()
    }


@contextmanager
def encrypted(security: Security, **settings: Any) -> Iterator[LocalCluster]:
    """Two processes behind a scheduler that talks to holders of certificates alone."""
    with (
        dask.config.set(_CALM),
        LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            protocol="tls://",
            host="127.0.0.1",
            security=security,
            dashboard_address="127.0.0.1:0",  # any port: another cluster may have the usual one
            **settings,
        ) as cluster,
    ):
        yield cluster


def working(cluster: LocalCluster) -> list[Any]:
    """The workers that have calls to run now."""
    return [worker for worker in list(cluster.scheduler.workers.values()) if worker.processing]


def main() -> None:
    with (
        dask.config.set({**_CALM, "distributed.worker.memory.spill": False}),
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            protocol="tcp://",
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # any port: another cluster may have the usual one
        ) as cluster,
    ):
        print(cluster.scheduler_address, flush=True)
        while os.getppid() != 1:
            time.sleep(0.2)


if __name__ == "__main__":
    main()
