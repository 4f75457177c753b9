"""Work for the workers of a Dask cluster: an address in, a `Pool` out.

A call travels to a worker by way of the scheduler, with all it needs, and what it makes comes back:
no folder is shared. Both cross the network as bytes that only the two ends look into. A worker
whose program is not ours refuses its first call.
"""

from __future__ import annotations

import ipaddress
import logging
import pickle
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit

from immune_data.common.errors import ImmuneError
from immune_data.common.processes import outcome

if TYPE_CHECKING:
    from distributed import Client

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items in flight beyond one per thread of the cluster, so that none waits for the next one.
MARGIN = 4

# Seconds: for a scheduler to answer, between two looks at the cluster, and to say goodbye.
_ANSWER = 10
_LOOK = 1.0
_GOODBYE = 2

# Dask's own settings, of this end alone: calls hold texts, and what was sent is not to be kept.
_SETTINGS = {
    "distributed.admin.large-graph-warning-threshold": "1GB",
    "distributed.admin.low-level-log-length": 0,
}

# The scheme that Dask knows each of ours by.
_SCHEMES = {"dask": "tcp", "tcp": "tcp", "tls": "tls"}
_CERTIFICATES = {
    "tls_ca_file": "DASK_DISTRIBUTED__COMM__TLS__CA_FILE",
    "tls_client_cert": "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT",
}


def address(text: str, *, insecure: bool = False) -> str:
    """The address of a scheduler as Dask writes it.

    Raises:
        ImmuneError: it is none, or unencrypted and not on this machine, unless `insecure`.
    """
    try:
        found = urlsplit(text)
        host, port = found.hostname, found.port
    except ValueError:
        found, host, port = urlsplit(""), None, None
    scheme = _SCHEMES.get(found.scheme)
    if not (scheme and host and port) or text != f"{found.scheme}://{found.netloc}" or "@" in text:
        raise ImmuneError(
            f"{text[:100]} is not the address of a Dask scheduler: give tls://HOST:PORT, or "
            "dask://HOST:PORT for one on this machine"
        )
    if scheme != "tls" and not insecure and not _is_loopback(host):
        raise ImmuneError(
            f"{text} is neither encrypted nor on this machine, and whoever reaches a scheduler "
            "runs what they like: use tls:// with certificates, or --insecure in a network that "
            "nobody else reaches"
        )
    return f"{scheme}://{found.netloc}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def workers(
    scheduler: str, program: Callable[[], str], report: Callable[[str], None]
) -> Iterator[_Cluster]:
    """The workers of a scheduler, whose address is one of `address`.

    `program` says, wherever it is called, what runs there; it must say the same on all workers.

    Raises:
        ImmuneError: Dask is missing, no scheduler answers, or other workers than ours do.
    """
    try:
        import dask
        import distributed
    except ImportError:
        raise ImmuneError(
            "--executor needs Dask: pip install 'immune-sft[cluster]', here and on the cluster"
        ) from None
    _silence()
    with dask.config.set(_SETTINGS):
        client = _connected(distributed, scheduler)
        cluster = _Cluster(client, scheduler, program, report)
        try:
            cluster.await_workers()
            cluster.check_workers()
            yield cluster
        finally:
            cluster.end()


def _silence() -> None:
    """Of what goes wrong one sentence is said, and it is ours."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module="distributed")


def _connected(distributed: Any, scheduler: str) -> Client:
    security = None
    if scheduler.startswith("tls:"):
        security = distributed.Security(require_encryption=True)
        for name, variable in _CERTIFICATES.items():
            if getattr(security, name) is None:
                raise ImmuneError(
                    f"{scheduler} needs certificates: name them in Dask's configuration, as in "
                    f"{variable}=FILE"
                )
    try:
        return distributed.Client(
            scheduler, security=security, timeout=_ANSWER, set_as_default=False, name="immune"
        )
    except (OSError, ValueError) as error:
        raise ImmuneError(
            f"no Dask scheduler answers at {scheduler} ({_reason(error)}): start one, and give "
            "tls:// if it has certificates"
        ) from None


def _reason(error: BaseException) -> str:
    """What an error is at bottom."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__


class _Other(Exception):
    """Another program than the sender's is on a worker: where, and which."""


def _run(call: bytes) -> bytes:
    """On a worker: what became of a call, as `processes.outcome` tells it."""
    ours, program, rest = pickle.loads(call)
    theirs = pickle.loads(program)()
    if theirs != ours:
        return pickle.dumps((False, _Other(platform.node(), theirs)))
    return pickle.dumps(outcome(*pickle.loads(rest)), pickle.HIGHEST_PROTOCOL)


def _nothing() -> None:
    """What a worker is asked for that has only to show what runs there."""


class _Cluster:
    """The workers of a cluster as a `Pool`."""

    def __init__(
        self,
        client: Client,
        scheduler: str,
        program: Callable[[], str],
        report: Callable[[str], None],
    ) -> None:
        self._client = client
        self._executor = client.get_executor(pure=False)
        self._scheduler = scheduler
        self._connection = client.scheduler_comm
        self._program = program
        self._report = report
        self._threads = 0
        self._looked = 0.0

    @property
    def ahead(self) -> int:
        """As many items as the cluster has threads now, and a few more."""
        if time.monotonic() - self._looked > _LOOK:
            self.look()
        return self._threads + MARGIN

    def look(self) -> None:
        """Count the threads again; workers come and go."""
        self._check_connection()
        try:
            threads = sum(self._client.nthreads().values())
        except (OSError, CancelledError):
            raise self._gone() from None
        if not threads and (self._threads or not self._looked):
            self._report(f"waiting for a worker of {self._scheduler}")
        self._threads, self._looked = threads, time.monotonic()

    def await_workers(self) -> None:
        """Wait until there is one: a batch system starts them when it has room."""
        self.look()
        while not self._threads:
            time.sleep(_LOOK)
            self.look()

    def check_workers(self) -> None:
        """Refuse workers that run another program. Those that come later refuse their calls."""
        ask = partial(_run, self._call(_nothing))
        try:
            answers = self._client.run(ask, on_error="return")
        except (OSError, CancelledError):
            raise self._gone() from None
        for answer in answers.values():
            if isinstance(answer, bytes):
                self.opened(answer)
            elif not isinstance(answer, OSError):  # that one is gone: others will do
                raise self._unable(answer)

    def submit(self, function: Callable[[Item], Result], item: Item, /) -> _Pending[Result]:
        self._check_connection()
        return _Pending(self, self._executor.submit(_run, self._call(function, item)))

    def _call(self, function: Callable[..., Any], *arguments: Any) -> bytes:
        program, rest = (
            pickle.dumps(part, pickle.HIGHEST_PROTOCOL)
            for part in (self._program, (function, *arguments))
        )
        return pickle.dumps((self._program(), program, rest), pickle.HIGHEST_PROTOCOL)

    def answer(self, future: Future[bytes]) -> bytes:
        """What a worker answered to a call, once it has.

        Raises:
            ImmuneError: none did.
        """
        while not wait([future], _LOOK).done:
            self.look()
        try:
            return future.result()
        except CancelledError:
            raise self._gone() from None
        except Exception as error:
            raise self._unable(error) from None

    def opened(self, answer: bytes) -> Any:
        """What a call made, of a worker's answer."""
        done, made = pickle.loads(answer)
        if done:
            return made
        if isinstance(made, _Other):
            where, theirs = made.args
            raise ImmuneError(
                f"the worker on {where} runs {theirs}, and this machine {self._program()}: "
                f"install the same on both, and start the workers of {self._scheduler} again"
            )
        raise made

    def _unable(self, error: BaseException) -> ImmuneError:
        """What to say of a call that Dask could not have run."""
        from distributed import KilledWorker

        if isinstance(error, KilledWorker):
            return ImmuneError(
                f"{error.allowed_failures + 1} workers of {self._scheduler} died one after the "
                "other of the same call, as when memory runs out: give them more of it"
            )
        return ImmuneError(
            f"{self._scheduler} cannot run our calls ({_reason(error)}): install "
            f"{self._program()} for the scheduler and all workers, and start them again"
        )

    def _check_connection(self) -> None:
        """A scheduler that was gone has forgotten our calls, though one is back in its place."""
        if self._client.scheduler_comm is not self._connection or self._connection.closed():
            raise self._gone()

    def _gone(self) -> ImmuneError:
        return ImmuneError(
            f"the scheduler {self._scheduler} is gone: start it and run again; nothing was changed"
        )

    def end(self) -> None:
        """Take back the calls that nobody waits for any more, and part."""
        with suppress(Exception):
            self._executor.shutdown(wait=False)
        with suppress(Exception):
            self._client.close(timeout=_GOODBYE)


@dataclass(frozen=True)
class _Pending(Generic[Result]):
    """The result of a call to a worker."""

    _cluster: _Cluster
    _future: Future[bytes]

    def result(self) -> Result:
        return self._cluster.opened(self._cluster.answer(self._future))
