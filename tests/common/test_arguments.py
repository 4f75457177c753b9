"""What every command shares of its arguments: a file where a folder belongs is said to be one."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from unittest import mock

import pytest

from immune_data.common import cli

Refused = Callable[..., str]

# Arguments that may be either, or are read as a path only if they are one.
_EITHER = {"immune_data.slips": ["FILE_OR_FOLDER"]}


def modules() -> list[str]:
    return [
        f"{package}.{verb}"
        for package in ("immune_data", "immune_train")
        for verb in import_module(f"{package}.__main__").VERBS
    ]


def arguments(module: str) -> Iterator[tuple[str, argparse.Action]]:
    """Every argument of a command that has a type, by how it is written."""
    with mock.patch.object(cli, "run") as run:
        cli.module(module).main([])
    for action in run.call_args.args[0]._actions:
        if action.type is not None:
            yield (action.option_strings or [str(action.metavar)])[-1], action


PATHS = [
    (module, name, action.type)
    for module in modules()
    for name, action in arguments(module)
    if action.type in (cli.file, cli.folder, cli.dataset)
]


@pytest.mark.parametrize(
    ("module", "name", "kind"), PATHS, ids=[f"{module} {name}" for module, name, _ in PATHS]
)
def test_a_file_given_as_a_folder_is_said_to_be_one_and_a_folder_given_as_a_file(
    module: str, name: str, kind: object, tmp_path: Path, refused: Refused
) -> None:
    (tmp_path / "file.json").write_text("{}")
    (tmp_path / "folder.json").mkdir()
    wrong, is_what = ("folder.json", "a folder: name a file")
    if kind is not cli.file:
        wrong, is_what = ("file.json", "a file: name a folder")
    words = ["merge"] if module == "immune_data.ask" else []
    words += [name] if name.startswith("--") else []
    message = refused(cli.module(module).main, *words, tmp_path / wrong)
    assert f"{tmp_path / wrong} is {is_what}" in message


@pytest.mark.parametrize("module", modules())
def test_every_path_says_whether_it_is_a_file_or_a_folder(module: str) -> None:
    undecided = [name for name, action in arguments(module) if action.type in (Path, cli.path)]
    assert undecided == _EITHER.get(module, [])


def test_there_are_paths_to_look_at() -> None:
    assert len(PATHS) > 40
    assert {kind for *_, kind in PATHS} == {cli.file, cli.folder, cli.dataset}


def test_what_is_not_there_yet_is_neither(tmp_path: Path) -> None:
    for kind in (cli.file, cli.folder):
        assert kind(str(tmp_path / "new")) == tmp_path / "new"
    assert cli.dataset("hf://datasets/org/name@v1") == "hf://datasets/org/name@v1"
    assert cli.dataset("https://example.com/a") == "https://example.com/a"
    assert cli.dataset(f"{tmp_path}/") == str(tmp_path)


def test_an_incident_that_is_a_folder_is_said_to_be_one(tmp_path: Path, refused: Refused) -> None:
    generate = cli.module("immune_train.generate").main
    message = refused(generate, "--request", "--task", "summary", "--incident", tmp_path)
    assert message == f"{tmp_path} is a folder: name a file"
