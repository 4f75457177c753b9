"""The store: what is written is there, and stores add up to the same in any order."""

from __future__ import annotations

import errno
import fcntl
import itertools
import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from asked import question, questions
from hypothesis import given
from hypothesis import strategies as st

from immune_data.ask.replies import Failure, Reply, Usage
from immune_data.ask.request import Question, Request
from immune_data.ask.store import MOST_REPLIES, Rejected, Store
from immune_data.common.errors import ImmuneError
from immune_data.prompts import Message


def reply(text: str, **more: object) -> Reply:
    return Reply(text, "stop", "served", Usage(1, 2), **more)  # type: ignore[arg-type]


def keep(store: Store, asked: Question, came: Reply | Failure, endpoint: str = "e") -> None:
    store.keep(asked, came, endpoint=endpoint, seconds=1.0, cost=None)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 3))
def test_a_key_is_of_what_is_asked_and_of_nothing_else(text: str, repeat: int) -> None:
    def asked(said: str, **parameters: int) -> Question:
        return Question(Request("m", (Message("user", said),), parameters), "x", str, repeat)

    one = asked(text, seed=1, top_k=2)
    assert one.key == asked(text, top_k=2, seed=1).key
    others = [asked(text + ".", seed=1, top_k=2), asked(text, seed=2, top_k=2), asked(text)]
    assert one.key not in [other.key for other in others]


def test_whatever_was_said_comes_back_as_it_was(tmp_path: Path) -> None:
    said = 'one\0two\r\n\u2028"three" 🦙 \x1b[31m'
    with Store(tmp_path / "s") as store:
        keep(store, question(1), reply(said))
    with Store(tmp_path / "s") as store:
        assert store.outcome(question(1)) == reply(said)


def test_failures_are_remembered_and_leave_a_question_open(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        for number in range(5):
            keep(store, question(1), Failure("busy", f"time {number}", 429))
        assert store.outcome(question(1)) == Rejected("busy", "time 4", is_open=True)
        keep(store, question(1), reply("An answer."))
        assert store.outcome(question(1)) == reply("An answer.")
        assert store.outcome(question(2)) == Rejected("not_asked", "", is_open=True)


def test_merged_stores_are_one_in_any_order_and_the_smaller_digest_wins(tmp_path: Path) -> None:
    answers = {name: reply(f"The answer of {name}.") for name in "abc"}
    for name, answer in answers.items():
        with Store(tmp_path / name) as store:
            keep(store, question(0), answer, endpoint=name)
            keep(store, question(name), answer, endpoint=name)
            keep(store, question(1), Failure("busy"))
            keep(store, question(2), Reply("", "stop", "served", Usage()))
    smallest = min(answers.values(), key=lambda one: one.digest)
    contents = set()
    for number, order in enumerate(itertools.permutations("abc")):
        file = tmp_path / f"merged-{number}"
        with Store(file) as store:
            assert [store.merge(tmp_path / name) for name in order] == [3, 3, 3]
            assert store.merge(tmp_path / order[0]) == 0
            assert store.outcome(question(0)) == smallest
            for name, answer in answers.items():
                assert store.outcome(question(name)) == answer
            outcome = store.outcome(question(2))
            assert isinstance(outcome, Rejected)
            assert (outcome.reason, outcome.is_open) == ("empty", MOST_REPLIES > 3)
            rows = store.rows("select * from replies order by id")
            contents.add(str((rows, store.rows("select * from failures order by id"))))
    assert len(contents) == 1


def test_a_store_that_was_killed_while_it_wrote_is_read(tmp_path: Path) -> None:
    """Its log lies beside it, unmerged."""
    store = Store(tmp_path / "s")
    for number in range(20):
        keep(store, question(number), reply(f"Answer {number}."))
    for path in tmp_path.iterdir():
        shutil.copy(path, tmp_path / path.name.replace("s", "t", 1))
    with Store(tmp_path / "t") as copy:
        assert copy.outcome(question(19)) == reply("Answer 19.")
    with Store(tmp_path / "u") as merged:
        assert merged.merge(tmp_path / "t") == 20
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_what_is_no_store_is_a_sentence_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database " * 100)
    sqlite3.connect(tmp_path / "other").executescript("create table mine (a)").close()
    with Store(tmp_path / "new") as store:
        store._database.execute("pragma user_version = 99")
    for name, says in (
        ("text", "is not a store"),
        ("other", "another program's"),
        ("new", "another version"),
        (".", "is a folder"),
    ):
        with pytest.raises(ImmuneError, match=says):
            Store(tmp_path / name)
    with pytest.raises(ImmuneError, match="no store"):
        Store(tmp_path / "missing", create=False)
    assert not (tmp_path / "missing").exists()
    assert (tmp_path / "text").read_text() == "no database " * 100


def test_a_file_system_without_locks_is_said_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    real = Store._ready

    def broken(store: Store, database: sqlite3.Connection) -> sqlite3.Connection:
        if not tried:
            tried.append(True)
            raise sqlite3.OperationalError("disk I/O error")
        return real(store, database)

    tried: list[bool] = []
    monkeypatch.setattr(Store, "_ready", broken)
    with Store(tmp_path / "s") as store:
        assert store.claim(questions(2)) == (questions(2), [])
        keep(store, question(0), reply("An answer."))
        store._run = None  # it dies
    with Store(tmp_path / "s") as store:
        assert store.outcome(question(0)) == reply("An answer.")
        assert store.claim(questions(2)) == (questions(2)[1:], [])
    said = capsys.readouterr().err
    assert "has no locks: make sure that no other run uses it" in said


def test_an_empty_file_is_no_store_to_look_into_and_stays_empty(tmp_path: Path) -> None:
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    with pytest.raises(ImmuneError, match="is empty and not a store"):
        Store(empty, create=False)
    assert empty.read_bytes() == b""


def test_runs_that_begin_at_once_share_a_new_store(tmp_path: Path) -> None:
    """Six at a time, many times: whoever comes second waits for the one that makes it."""
    with ThreadPoolExecutor(6) as threads:
        for number in range(30):
            path, together = tmp_path / f"{number}", threading.Barrier(6)

            def opened(_: int, path: Path = path, together: threading.Barrier = together) -> bool:
                together.wait()
                with Store(path) as store:
                    return store.has_locks

            assert all(threads.map(opened, range(6)))
