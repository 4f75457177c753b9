"""README and docs name what is there: commands with their options, files, make targets, recipes."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import immune_data
import immune_train
from immune_data import recipes
from immune_data.common import cli
from immune_train import configs

REPOSITORY = Path(__file__).parents[2]
TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
PAGES = [*(REPOSITORY / name for name in TOP), *sorted((REPOSITORY / "docs").glob("*.md"))]
TEXTS = {page.relative_to(REPOSITORY).as_posix(): page.read_text("utf-8") for page in PAGES}

# Ends a command for us: what follows is for the shell, or for another one.
_SHELL = ("|", ">", "<", "&&")


def shown() -> list[tuple[str, str]]:
    """(page, command) of each command in a console block, comments taken off."""
    found = []
    for page, text in TEXTS.items():
        for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            for line in re.findall(r"^\$ ((?:.*\\\n)*.*)", block, re.MULTILINE):
                found.append((page, line.replace("\\\n", " ")))
    return found


def modules() -> list[str]:
    """Every module of ours that can be run as a command: a file, or a folder with `__main__`."""
    found = []
    for package in (immune_data, immune_train):
        folder = Path(package.__file__).parent
        names = [path.parent.name for path in folder.glob("*/__main__.py")]
        names += [
            path.stem
            for path in folder.glob("[!_]*.py")
            if 'if __name__ == "__main__":' in path.read_text("utf-8")
        ]
        found += [f"{package.__name__}.{name}" for name in sorted(names)]
    return found


def words(command: str) -> list[str]:
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|<>&")
    lexer.whitespace_split = True
    found = []
    for word in lexer:
        if word in _SHELL:
            break
        found.append(word)
    return found


RUN = [(page, line) for page, line in shown() if line.startswith(("python -m immune", "torchrun"))]


@pytest.mark.parametrize(("page", "line"), RUN, ids=[line[:60] for _, line in RUN])
def test_a_command_that_is_shown_is_one_that_there_is(
    page: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = []
    monkeypatch.setattr(
        cli, "run", lambda parser, command, argv: parsed.append(parser.parse_args(argv))
    )
    given = words(line)
    at = given.index("-m")
    module, arguments = given[at + 1], given[at + 2 :]
    assert module in modules(), page
    cli.module(module).main(arguments)  # what it does not know, it refuses
    assert parsed


@pytest.mark.parametrize("module", modules())
def test_every_command_is_in_the_docs(module: str) -> None:
    name = module.split(".")[1]
    said = [page for page, text in TEXTS.items() if module in text or f"**`{name}`**" in text]
    assert said, f"no page shows `python -m {module}`"


def test_every_make_target_is_in_the_readme_and_every_one_shown_is_there() -> None:
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())
    whole = "\n".join(TEXTS.values())
    shown_targets = set(re.findall(r"(?:^\$ |`)make ([a-z-]+)", whole, re.MULTILINE))
    assert shown_targets <= targets
    assert targets - {"lint"} <= shown_targets


def test_every_recipe_and_config_is_in_the_docs() -> None:
    for path in recipes.SHIPPED.glob("*.toml"):
        assert f"`{path.stem}`" in TEXTS["README.md"], path
    for name in configs.shipped():
        assert f"`{name}`" in TEXTS["docs/training.md"], name


def test_links_and_named_files_are_there() -> None:
    for page, text in TEXTS.items():
        folder = (REPOSITORY / page).parent
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            if "://" not in target:
                assert (folder / target).exists(), f"{page} links {target}"
        for name in re.findall(r"`((?:immune_data|immune_train|sql|benchmarks)/[\w./-]+)`", text):
            assert (REPOSITORY / name).exists(), f"{page} names {name}"


def test_the_text_for_an_importance_matrix_is_that_of_the_template(
    training_out: Callable[[str], Path], qwen: Any
) -> None:
    (code,) = re.findall(r'^\$ python -c "\n(.*?)^" <', TEXTS["docs/edge.md"], re.DOTALL | re.M)
    file = training_out("unified-clean") / "sft" / "unified-clean" / "train.jsonl"
    with file.open() as lines:
        ran = subprocess.run(
            [sys.executable, "-c", code], stdin=lines, capture_output=True, text=True, check=True
        )
    messages = [json.loads(line)["messages"] for line in file.open(encoding="utf-8")]
    expected = [qwen.apply_chat_template(each, tokenize=False) for each in messages]
    assert ran.stdout == "".join(expected)
