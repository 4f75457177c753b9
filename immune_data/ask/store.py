"""The store: every reply and every failure, written before anything is made of it.

One SQLite file, readable by its owner alone, which is never published: it contains prompts and
replies as they were, endpoints and times. A request whose reply is in it is not sent again. `merge`
joins the stores of several machines.

A run claims the questions that it is about to ask, so that two runs on one store ask nothing twice
and never wait for each other. A claim is valid as long as its run lives: the run holds a lock on a
file next to the store, which is released when its process ends, however it ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from immune_data.ask.replies import Failure, Reply, Usage
from immune_data.ask.request import Key, Question
from immune_data.common import files
from immune_data.common.errors import ImmuneError

DEFAULT = Path("data/asked.sqlite")
MOST_REPLIES = 3  # to one key: if none of them can be used, there is no answer

_APPLICATION, _VERSION = 0x696D6D75, 1  # "immu"
_PATIENCE = 60.0  # seconds that a write waits for another run's, which takes milliseconds
_NO_LOCKS = ("locking protocol", "disk i/o error", "unable to open database file")

_SCHEMA = """
create table requests (
    sha256 text primary key,
    model text not null,
    body text not null
) without rowid;
create table replies (
    id text primary key,
    request text not null references requests,
    repeat integer not null,
    attempt integer not null,
    endpoint text not null,
    at text not null,
    seconds real not null,
    cost real,
    model text not null,
    text text not null,
    finish text,
    prompt_tokens integer,
    answer_tokens integer,
    cached_tokens integer
) without rowid;
create index replies_by_key on replies (request, repeat);
create table failures (
    id text primary key,
    request text not null references requests,
    repeat integer not null,
    attempt integer not null,
    endpoint text not null,
    at text not null,
    seconds real not null,
    cost real,
    reason text not null,
    detail text not null,
    status integer
) without rowid;
create index failures_by_key on failures (request, repeat);
create table claims (
    request text not null,
    repeat integer not null,
    run text not null,
    primary key (request, repeat)
) without rowid;
"""


@dataclass(frozen=True)
class Rejected:
    """A question without an answer; `is_open` says whether the next run will ask it again."""

    reason: str
    detail: str
    is_open: bool


class Store:
    """An open store; `with` closes it. Without a path it is in memory, for a dry run.

    `has_locks` says whether several runs may use it at once.

    Raises:
        ImmuneError: it cannot be opened, or is not a store.
    """

    def __init__(self, path: Path | None, *, create: bool = True) -> None:
        self.path = path or Path(":memory:")
        self.has_locks = True
        self._run: str | None = None
        self._lock: int | None = None
        if path is None:
            self._database = self._ready(sqlite3.connect(":memory:", isolation_level=None))
            return
        if path.is_dir():
            raise ImmuneError(f"{path} is a folder: name a file")
        if not path.exists():
            if not create:
                raise ImmuneError(f"there is no store {path}: name it with --store")
            self._create()
        elif not create and path.stat().st_size == 0:  # SQLite would take it for a new one
            raise ImmuneError(f"{path} is empty and not a store: name another with --store")
        if os.access(path, os.W_OK) and path.stat().st_mode & 0o077:
            with suppress(OSError):
                path.chmod(0o600)
        with self._errors_as_sentences():
            self._database = self._open()

    def _create(self) -> None:
        """Create an empty file that only its owner can read; SQLite's files next to it follow."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600))
        except OSError as error:
            raise ImmuneError(f"cannot write {self.path}: {error.strerror}") from None

    def _open(self) -> sqlite3.Connection:
        try:
            return self._ready(self._connected("rw"))
        except sqlite3.OperationalError as error:
            if not any(text in str(error).lower() for text in _NO_LOCKS):
                raise
        database = self._ready(self._connected("rw", vfs="unix-none"))
        self._without_locks()
        return database

    def _without_locks(self) -> None:
        if self.has_locks:
            print(
                f"the file system of {self.path} has no locks: make sure that no other run uses it",
                file=sys.stderr,
            )
        self.has_locks = False

    def _connected(self, mode: str, **options: str) -> sqlite3.Connection:
        query = "&".join(f"{name}={value}" for name, value in {"mode": mode, **options}.items())
        return sqlite3.connect(
            f"file:{quote(str(self.path.absolute()))}?{query}",
            uri=True,
            timeout=_PATIENCE,
            isolation_level=None,
        )

    def _ready(self, database: sqlite3.Connection) -> sqlite3.Connection:
        try:
            _write_ahead(database)
            with _transaction(database):
                (application,) = database.execute("pragma application_id").fetchone()
                (version,) = database.execute("pragma user_version").fetchone()
                (tables,) = database.execute("select count(*) from sqlite_schema").fetchone()
                if tables and application != _APPLICATION:
                    raise ImmuneError(f"{self.path} is another program's database: name another")
                if tables and version != _VERSION:
                    raise ImmuneError(
                        f"{self.path} was written by another version of immune (format {version}): "
                        "use that one, or name another store"
                    )
                if not tables:
                    for statement in _SCHEMA.split(";"):
                        database.execute(statement)
                    database.execute(f"pragma application_id = {_APPLICATION}")
                    database.execute(f"pragma user_version = {_VERSION}")
        except BaseException:
            database.close()
            raise
        return database

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        if self._run is not None:
            with suppress(sqlite3.Error):
                self._database.execute("delete from claims where run = ?", [self._run])
            self._run_file(self._run).unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
        with suppress(sqlite3.Error):
            self._database.close()

    # What is known

    def replies(self, key: Key) -> list[Reply]:
        """All replies to a key, the smallest digest first."""
        with self._errors_as_sentences():
            rows = self._database.execute(
                "select text, finish, model, prompt_tokens, answer_tokens, cached_tokens "
                "from replies where request = ? and repeat = ?",
                key,
            ).fetchall()
        replies = (
            Reply(text, finish, model, Usage(*usage)) for text, finish, model, *usage in rows
        )
        return sorted(replies, key=lambda reply: reply.digest)

    def outcome(self, question: Question) -> Reply | Rejected:
        """The answer to a question, or why there is none."""
        replies = self.replies(question.key)
        problems = [reply.problem or question.problem(reply.text) for reply in replies]
        for reply, problem in zip(replies, problems, strict=True):
            if problem is None:
                return reply
        if replies:
            return Rejected(
                str(problems[0]), replies[0].text[:300], is_open=len(replies) < MOST_REPLIES
            )
        with self._errors_as_sentences():
            row = self._database.execute(
                "select reason, detail from failures where request = ? and repeat = ? "
                "order by at desc limit 1",
                question.key,
            ).fetchone()
        reason, detail = row or ("not_asked", "")
        return Rejected(reason, detail, is_open=True)

    def is_open(self, question: Question) -> bool:
        """Whether a question is still to be asked."""
        outcome = self.outcome(question)
        return isinstance(outcome, Rejected) and outcome.is_open

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self._errors_as_sentences():
            return self._database.execute(sql, parameters).fetchall()

    # Asking

    def claim(self, questions: Iterable[Question]) -> tuple[list[Question], list[Question]]:
        """The questions to ask now, and those that another run is asking; the rest is answered.

        The first are claimed for this run until it releases them.
        """
        run = self._this_run()
        mine, others = [], []
        with self._errors_as_sentences(), _transaction(self._database):
            for question in questions:
                if not self.is_open(question):
                    continue
                row = self._database.execute(
                    "select run from claims where request = ? and repeat = ?", question.key
                ).fetchone()
                if row and (row[0] == run or self._is_alive(row[0])):
                    others.append(question)
                    continue
                self._database.execute(
                    "insert or replace into claims values (?, ?, ?)", [*question.key, run]
                )
                mine.append(question)
        return mine, others

    def is_claimed(self, question: Question) -> bool:
        """Whether another run, which is still alive, is asking a question."""
        with self._errors_as_sentences():
            row = self._database.execute(
                "select run from claims where request = ? and repeat = ?", question.key
            ).fetchone()
        return bool(row) and row[0] != self._run and self._is_alive(row[0])

    def release(self, questions: Iterable[Question]) -> None:
        """Give up the claim to questions."""
        with self._errors_as_sentences(), _transaction(self._database):
            for question in questions:
                self._database.execute(
                    "delete from claims where request = ? and repeat = ? and run = ?",
                    [*question.key, self._run],
                )

    def keep(
        self,
        question: Question,
        outcome: Reply | Failure,
        *,
        endpoint: str,
        seconds: float,
        cost: float | None,
    ) -> None:
        """Write the outcome of asking a question."""
        key = question.key
        now = time.time_ns()
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9))
        at += f".{now // 1000 % 10**6:06}Z"
        with self._errors_as_sentences(), _transaction(self._database, durable=True):
            self._database.execute(
                "insert or ignore into requests values (?, ?, ?)",
                [key.request, question.request.model, question.request.canonical],
            )
            attempt = 1
            for table in ("replies", "failures"):
                (before,) = self._database.execute(
                    f"select count(*) from {table} where request = ? and repeat = ?", key
                ).fetchone()
                attempt += before
            row: list[Any] = [*key, attempt, endpoint, at, round(seconds, 3), cost]
            if isinstance(outcome, Reply):
                table, usage = "replies", outcome.usage
                row += [outcome.model, outcome.text, outcome.finish]
                row += [usage.prompt, usage.answer, usage.cached]
            else:
                table = "failures"
                row += [outcome.reason, outcome.detail, outcome.status]
            row.insert(0, hashlib.sha256(json.dumps(row).encode()).hexdigest())
            self._database.execute(
                f"insert or ignore into {table} values ({', '.join('?' * len(row))})", row
            )

    def merge(self, other: Path) -> int:
        """Copy the contents of another store, and return how many replies were new.

        Raises:
            ImmuneError: it is not a store.
        """
        with Store(other, create=False):  # checks that it is one, and writes its log into it
            pass
        with self._errors_as_sentences():
            (before,) = self._database.execute("select count(*) from replies").fetchone()
            self._database.execute("attach ? as other", [str(other.absolute())])
            try:
                with _transaction(self._database):
                    for table in ("requests", "replies", "failures"):
                        self._database.execute(
                            f"insert or ignore into main.{table} select * from other.{table}"
                        )
            finally:
                self._database.execute("detach other")
            (after,) = self._database.execute("select count(*) from replies").fetchone()
        return int(after - before)

    # Runs

    def _this_run(self) -> str:
        """The name of this run, which is alive from the first call on."""
        if self._run is None:
            self._run = uuid.uuid4().hex
            path = self._run_file(self._run)
            try:
                self._lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            except OSError as error:
                raise ImmuneError(f"cannot write {path}: {error.strerror}") from None
            if not files.lock(self._lock, path):
                self._without_locks()
        return self._run

    def _run_file(self, run: str) -> Path:
        return self.path.with_name(f"{self.path.name}-run-{run}")

    def _is_alive(self, run: str) -> bool:
        """Whether a run is still alive; without locks there is no other one."""
        path = self._run_file(run)
        try:
            handle = os.open(path, os.O_RDWR)
        except OSError:
            return False
        try:
            files.lock(handle, path)
        except ImmuneError:
            return True
        finally:
            os.close(handle)
        path.unlink(missing_ok=True)
        return False

    @contextmanager
    def _errors_as_sentences(self) -> Iterator[None]:
        """Turn SQLite's errors into sentences."""
        try:
            yield
        except sqlite3.Error as error:
            message = str(error)
            if "not a database" in message:
                raise ImmuneError(f"{self.path} is not a store: use another --store") from None
            if "full" in message:
                message = "the disk is full"
            if "readonly" in message:
                message = "it is read-only"
            raise ImmuneError(f"cannot use the store {self.path}: {message}") from None


def _write_ahead(database: sqlite3.Connection) -> None:
    """Use a write-ahead log, or the journal that the file system allows.

    Of two runs that open a new store at once, SQLite may refuse one without waiting for the other,
    so we wait.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            database.execute("pragma journal_mode = wal").fetchall()
            return
        except sqlite3.OperationalError as error:
            if "is locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(0.01)


@contextmanager
def _transaction(database: sqlite3.Connection, *, durable: bool = False) -> Iterator[None]:
    """One transaction, written whole; a `durable` one also stands when the machine loses power."""
    database.execute(f"pragma synchronous = {'full' if durable else 'normal'}")
    database.execute("begin immediate")
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):
            database.execute("rollback")
        raise
    database.execute("commit")
