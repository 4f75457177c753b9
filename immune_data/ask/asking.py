"""Ask many questions of many endpoints at once: groups of questions in, their answers in the store.

The questions of a group share the beginning of their prompts, and one endpoint gets them one after
another, so that the beginning is in its cache. All endpoints of a model take groups from one queue,
each at its own pace. A question that failed goes back into the queue, for whichever endpoint is
free first; one that has failed too often is left to the next run.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from immune_data.ask import plan
from immune_data.ask.client import Client
from immune_data.ask.endpoints import Endpoint, Keys
from immune_data.ask.pace import Pace
from immune_data.ask.replies import Failure, Reply
from immune_data.ask.request import Key, Question
from immune_data.ask.store import Store
from immune_data.common import signals
from immune_data.common.text import counted

Group = Sequence[Question]

TRIES = 8  # of one question, in one run
_LONGEST_WAIT = 600.0  # seconds that an endpoint may ask us to wait within a run
_AGAIN = 1.0  # seconds: within these, a second signal counts as the first one repeated
_DRAIN = 30.0  # seconds that requests in flight get when the run is asked to end


@dataclass
class Report:
    """How a run went."""

    sent: int = 0
    answered: int = 0
    cost: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)
    out: dict[str, str] = field(default_factory=dict)  # endpoints that were given up: the reason
    held: int = 0  # questions that another run is asking
    over_budget: bool = False


def run(
    groups: Mapping[str, Iterator[Group]],
    endpoints: Sequence[Endpoint],
    keys: Keys,
    store: Store,
    *,
    budget: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """Ask all questions, given by model, that the store does not answer yet.

    Raises:
        KeyboardInterrupt: the process was asked to end; all replies received are in the store.
    """
    asking = _Asking(groups, endpoints, store, budget, say)
    with _Ending(asking.stop) as ending:
        asyncio.run(asking.all(keys))
    ending.pass_on()
    return asking.report


@dataclass
class _Server:
    """An endpoint at work."""

    endpoint: Endpoint
    client: Client
    pace: Pace
    is_out: bool = False


class _Queue:
    """The groups of one model: those that came back first, then new ones."""

    def __init__(self, new: Iterator[Group]) -> None:
        self._new = new
        self._is_at_end = False
        self.back: deque[Group] = deque()

    @property
    def may_hold_more(self) -> bool:
        return bool(self.back) or not self._is_at_end

    def next(self) -> Group | None:
        if self.back:
            return self.back.popleft()
        group = next(self._new, None)
        self._is_at_end = group is None
        return group


class _Asking:
    def __init__(
        self,
        groups: Mapping[str, Iterator[Group]],
        endpoints: Sequence[Endpoint],
        store: Store,
        budget: float | None,
        say: Callable[[str], None],
    ) -> None:
        self.report = Report()
        self._endpoints = endpoints
        self._store = store
        self._budget = budget
        self._reserved = 0.0
        self._queues = {model: _Queue(new) for model, new in groups.items()}
        self._tries: Counter[Key] = Counter()
        self._held: list[Question] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[_Server] = []
        self._progress = _Progress(say)
        self._is_asked_to_end = False
        self._wake: Callable[[], object] = lambda: None

    def stop(self) -> None:
        """Send nothing more; may be called by a signal handler."""
        self._is_asked_to_end = True
        self._wake()

    async def all(self, keys: Keys) -> None:
        loop, ending = asyncio.get_running_loop(), asyncio.Event()
        self._wake = lambda: loop.call_soon_threadsafe(ending.set)
        self._servers = [
            _Server(endpoint, Client(endpoint, keys), Pace(endpoint.max_concurrency))
            for endpoint in self._endpoints
        ]
        waiting = asyncio.create_task(ending.wait())
        try:
            await self._until_done(waiting)
            while self._requeue_held():
                await self._until_done(waiting)
        finally:
            self._wake = lambda: None
            waiting.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for server in self._servers:
                await server.client.close()

    async def _until_done(self, waiting: asyncio.Task[bool]) -> None:
        while not self._is_asked_to_end:
            self._start()
            pause = self._pause()
            if not self._tasks and pause is None:
                return
            await asyncio.wait(
                {*self._tasks, waiting}, timeout=pause, return_when=asyncio.FIRST_COMPLETED
            )
            self._collect()
        if self._tasks:
            print(
                f"finishing {counted(len(self._tasks), 'request')} in flight; repeat to end now",
                file=sys.stderr,
            )
            await asyncio.wait(self._tasks, timeout=_DRAIN)
            self._collect()

    def _collect(self) -> None:
        """Remove the tasks that are done, and raise their exceptions."""
        for task in [task for task in self._tasks if task.done()]:
            self._tasks.remove(task)
            task.result()

    def _start(self) -> None:
        """Give groups to the endpoints that are free, one each in turn."""
        started = True
        while started and not self._is_over:
            started = False
            now = time.monotonic()
            for server in self._servers:
                if server.is_out or not server.pace.has_room(now):
                    continue
                queue = self._queues.get(server.endpoint.model)
                if queue is None or (group := self._next(queue)) is None:
                    continue
                server.pace.in_flight += 1
                self._tasks.add(asyncio.create_task(self._serve(server, group)))
                started = True

    @property
    def _is_over(self) -> bool:
        """Whether nothing more may be sent."""
        return self._is_asked_to_end or self.report.over_budget

    def _next(self, queue: _Queue) -> Group | None:
        """The next questions of a queue to ask, claimed; those that others ask are put aside."""
        while (group := queue.next()) is not None:
            if not any(self._store.is_open(question) for question in group):
                self._progress.done(len(group))
                continue
            mine, others = self._store.claim(group)
            self._held += others
            if mine:
                self._progress.done(len(group) - len(mine) - len(others))
                return mine
        return None

    def _pause(self) -> float | None:
        """How long until an endpoint with work may be asked again; None if there is none."""
        if self._is_over:
            return None
        now = time.monotonic()
        pauses = [
            max(0.0, server.pace.not_before - now)
            for server in self._servers
            if not server.is_out
            and server.pace.not_before > now
            and self._queues[server.endpoint.model].may_hold_more
        ]
        return min(pauses) + 0.001 if pauses else None

    def _requeue_held(self) -> bool:
        """Queue what other runs were asking and have not answered; whether there is any."""
        if self._is_over:
            return False
        held, self._held = self._held, []
        for question in held:
            if not self._store.is_open(question):
                self._progress.done(1)
            elif self._store.is_claimed(question):
                self._held.append(question)
            else:
                self._queues[question.request.model].back.append([question])
        self.report.held = len(self._held)
        return any(
            self._queues[server.endpoint.model].back
            for server in self._servers
            if not server.is_out
        )

    # One group

    async def _serve(self, server: _Server, group: Group) -> None:
        left = deque(group)
        try:
            while left and not self._is_over and not server.is_out:
                if await self._ask(server, left[0]):
                    left.popleft()
                    continue
                question = left[0]
                if self._tries[question.key] >= TRIES:
                    left.popleft()  # for the next run
                break
        finally:
            server.pace.in_flight -= 1
            self._store.release(group)
            if left:
                self._queues[server.endpoint.model].back.append(tuple(left))

    async def _ask(self, server: _Server, question: Question) -> bool:
        """Ask a question until it is closed; False if it should be asked elsewhere or later."""
        while self._store.is_open(question):
            worst = plan.worst(question.request, server.endpoint)
            over = self.report.cost + self._reserved + worst - (self._budget or 0.0)
            if self._budget is not None and over > 0:
                self.report.over_budget = True
                return False
            self._reserved += worst
            began = time.monotonic()
            try:
                outcome = await server.client.ask(question.request)
            finally:
                self._reserved -= worst
            now = time.monotonic()
            cost = _cost(outcome, server.endpoint, worst)
            self.report.sent += 1
            self.report.cost += cost or 0.0
            self._store.keep(
                question,
                outcome,
                endpoint=server.endpoint.name,
                seconds=now - began,
                cost=cost,
            )
            if not isinstance(outcome, Failure) or outcome.reason != "unreachable":
                server.pace.responded()
            if isinstance(outcome, Failure):
                return self._failed(server, question, outcome, began, now)
            server.pace.succeeded()
            if problem := outcome.problem or question.problem(outcome.text):
                self.report.failures[problem] += 1
            else:
                self.report.answered += 1
            if self._is_over:
                break
        if self._store.is_open(question):
            return False
        self._progress.done(1)
        return True

    def _failed(
        self, server: _Server, question: Question, failure: Failure, began: float, now: float
    ) -> bool:
        """Count a failure, and give the endpoint up if it is of no more use; False, as not done."""
        self.report.failures[failure.reason] += 1
        self._tries[question.key] += 1
        if failure.is_refusal:
            self._tries[question.key] = TRIES
            server.pace.refused()
        else:
            server.pace.failed(began, now, failure.retry_after)
        reason = f"{failure.reason}{f' ({failure.status})' if failure.status else ''}"
        if failure.detail:
            reason += f": {failure.detail[:200]}"
        if failure.is_final:
            self._give_up(server, reason)
        elif server.pace.is_hopeless:
            self._give_up(server, f"it failed again and again, last with {reason}")
        elif failure.retry_after is not None and failure.retry_after > _LONGEST_WAIT:
            self._give_up(server, f"it asks us to wait for {failure.retry_after:,.0f} s")
        return False

    def _give_up(self, server: _Server, reason: str) -> None:
        if not server.is_out:
            server.is_out = True
            self.report.out[server.endpoint.name] = reason


def _cost(outcome: Reply | Failure, endpoint: Endpoint, worst: float) -> float | None:
    """What was billed: by the server's count if there is one, else the most that it can be."""
    if not endpoint.is_priced:
        return None
    if isinstance(outcome, Failure):
        return worst if outcome.may_cost else 0.0
    if outcome.usage.prompt is None or outcome.usage.answer is None:
        return worst
    return endpoint.cost(outcome.usage.prompt, outcome.usage.answer)


class _Progress:
    """Reports from time to time how many questions are done."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._every = 0.5 if sys.stderr.isatty() else 15.0
        self._last = time.monotonic()
        self._done = 0

    def done(self, number: int) -> None:
        self._done += number
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            self._say(f"{counted(self._done, 'question')} answered")


class _Ending:
    """In its context, Ctrl-C, SIGTERM and a closed terminal stop the asking at a good moment.

    The first signal waits for the requests in flight; the second one ends at once.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self.received: int | None = None
        self._at = 0.0
        self._stop = stop
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Ending:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if callable(signal.getsignal(number)):  # not what nohup has put there
                try:
                    self._before[number] = signal.signal(number, self._receive)
                except ValueError:  # in a thread
                    break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def pass_on(self) -> None:
        """End as the earlier handler of the signal would have done."""
        if self.received is not None:
            self._before[self.received](self.received, None)
            raise signals.EndRequested(self.received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received, self._at = number, now
        elif now - self._at > _AGAIN:
            raise signals.EndRequested(self.received)
        self._stop()
