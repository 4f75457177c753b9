"""`python -m immune_data.ask`: what a store holds, what it cost, and stores put together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from asked import MODEL, ask, questions
from chat_server import ChatServer, completion

from immune_data.ask import __main__ as command
from immune_data.ask.endpoints import Endpoint


@pytest.fixture
def stores(tmp_path: Path) -> list[Path]:
    asked = questions(5)
    files = [tmp_path / "one.sqlite", tmp_path / "two.sqlite"]
    for file, some in zip(files, (asked[:3], asked[2:]), strict=True):
        with ChatServer(lambda seen, before: completion("An \x1b[31manswer.")) as server:
            ask(file, some, [Endpoint(url=server.url, model=MODEL, price_in=1e4, price_out=1e5)])
    return files


def run(*arguments: object) -> None:
    assert command.main([str(argument) for argument in arguments]) == 0


def test_list_and_costs(stores: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    run("list", "--store", stores[0], "--json")
    rows = json.loads(capsys.readouterr().out)
    assert [row["outcome"] for row in rows] == ["stop"] * 3
    assert rows[0]["cost"] == pytest.approx(1 + 2)
    run("costs", "--store", stores[0], "--json")
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["replies"], row["prompt_tokens"], row["cost"]) == (3, 300, 9.0)
    run("list", "--store", stores[0])
    run("costs", "--store", stores[0])
    run("list", "--store", stores[0], "--request", rows[0]["request"][:8])
    said = capsys.readouterr().out
    assert "An \\x1b[31manswer." in said
    assert "\x1b" not in said
    run("list", "--store", stores[0], "--model", "nobody", "--json")
    assert json.loads(capsys.readouterr().out) == []


def test_merge(stores: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("merge", *stores, "--store", tmp_path / "all.sqlite")
    assert "3 new replies of" in capsys.readouterr().out
    run("merge", *stores, "--store", tmp_path / "all.sqlite", "--json")
    assert [row["new_replies"] for row in json.loads(capsys.readouterr().out)] == [0, 0]
    run("costs", "--store", tmp_path / "all.sqlite", "--json")
    assert sum(row["replies"] for row in json.loads(capsys.readouterr().out)) == 6


def test_wrong_use_is_a_sentence(
    stores: list[Path], tmp_path: Path, refused: Callable[..., str]
) -> None:
    none = tmp_path / "none.sqlite"
    assert "there is no store" in refused(command.main, "list", "--store", none)
    assert "name their files" in refused(command.main, "merge", "--store", none)
    assert "name it with --store" in refused(command.main, "costs", stores[0])
    assert "no store" in refused(command.main, "merge", none, "--store", stores[0])
    merged = ("merge", stores[0], "--store", stores[0])
    assert "is the store to merge into" in refused(command.main, *merged)
    assert "invalid choice" in refused(command.main, "show")
    assert not none.exists()
