"""A recipe is what it says, its prompts included: no file of the same name passes for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corpus import Corpus, digests, records

from immune_data import prompts, recipes, sql
from immune_data.audit import __main__ as audit
from immune_data.emit import __main__ as emit
from immune_data.publish import __main__ as publish
from immune_data.report import __main__ as report
from immune_data.select import database
from immune_data.why import __main__ as why

HUB = ("--repo-id", "a/b", "--license", "other", "--dry-run")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return Corpus().incidents("abcdef").write(tmp_path / "source")


def write(folder: Path, text: str = "", name: str = "mine.toml") -> Path:
    """A recipe with prompts and a parent of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "prompts").exists():
        shutil.copytree(recipes.SHIPPED.parent / "prompts", folder / "prompts")
    (folder / "house.toml").write_text('extends = "unified-v1"\nprompts = "prompts"\n')
    path = folder / name
    path.write_text(f'extends = "house.toml"\n{text}')
    return path


def emitted(source: Path, out: Path, recipe: Path, **how: bool) -> emit.Emitted:
    return emit.emit(source, out, recipes.load(str(recipe)), **how)


def seed(number: int) -> str:
    return f"[split]\nseed = {number}\n"


# Emitting


def test_ones_own_recipe_is_edited_and_emitted_again(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for number in (1, 2):
        recipe = write(tmp_path, seed(number))
        assert not emitted(source, out, recipe).current
        assert emitted(source, out, recipe).current
    with (tmp_path / "prompts" / "risk.user.txt").open("a") as file:
        file.write("Be brief.\n")
    assert not emitted(source, out, recipe).current
    # Recipes and results move together, as a project does.
    for name in ("mine.toml", "house.toml", "prompts", "out", "source"):
        (tmp_path / "moved").mkdir(exist_ok=True)
        shutil.move(tmp_path / name, tmp_path / "moved" / name)
    recipe = write(tmp_path / "moved", seed(4))
    assert not emitted(tmp_path / "moved" / "source", tmp_path / "moved" / "out", recipe).current


@pytest.mark.parametrize("forgotten", [False, True])
def test_two_recipes_of_one_name_do_not_overwrite_each_other(
    forgotten: bool, source: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    first, second = (write(tmp_path / name, seed(i)) for i, name in enumerate("ab"))
    emitted(source, out, first)
    if forgotten:  # the dataset is there, and nobody knows of which file
        (out / database.NAME).unlink()
    before = digests(out)
    arguments = ["--source", source, "--data", out, "--recipe"]
    for force in ([], ["--force"]):
        message = refused(emit.main, *arguments, second, *force)
        of = "" if forgotten else f", {first}"
        assert message == (
            f"{out / 'sft' / 'mine'} was emitted by another recipe of the same name{of}: rename "
            f"{second}, emit into another folder with --data, or overwrite the other one with "
            "--replace"
        )
        assert digests(out) == before
    shutil.copy(second, second.with_name("yours.toml"))
    assert emit.main([*map(str, arguments), str(second.with_name("yours.toml"))]) == 0
    mine = {name: digest for name, digest in before.items() if name.startswith("sft/mine/")}
    assert mine.items() <= digests(out).items()
    assert emit.main([*map(str, arguments), str(second), "--replace"]) == 0
    assert emitted(source, out, second).current
    # Now it is the first one that is another.
    assert f"name, {second}" in refused(emit.main, *arguments, first)


def test_the_same_recipe_lies_where_it_will(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    emitted(source, out, write(tmp_path / "a"))
    copy = write(tmp_path / "b", "# a remark changes nothing\n")
    assert emitted(source, out, copy).current
    assert sql.main(["from pool", "--data", str(out), "--recipe", str(copy), "--json"]) == 0


def test_places_are_not_part_of_what_is_emitted(source: Path, tmp_path: Path) -> None:
    for name in "ab":
        emitted(source, tmp_path / name / "out", write(tmp_path / name))
    first, second = (digests(tmp_path / name / "out") for name in "ab")
    del first[database.NAME], second[database.NAME]
    assert first == second


# Asking


def edit_recipe(folder: Path) -> None:
    write(folder, seed(7))


def edit_parent(folder: Path) -> None:
    with (folder / "house.toml").open("a") as file:
        file.write("gates.summary_score_min = 3\n")


def edit_prompt(folder: Path) -> None:
    with (folder / "prompts" / "cause.user.txt").open("a") as file:
        file.write("Be brief.\n")


def add_prompt(folder: Path) -> None:
    (folder / "prompts" / "cause.system.txt").write_text("You judge.\n")


ASKING: list[tuple[Any, list[str]]] = [
    (sql, ["from pool"]),
    (why, ["a"]),
    (audit, []),
    (audit, ["funnel"]),
    (audit, ["tie", "--json"]),
    (report, []),
]


def test_an_edited_recipe_is_not_answered_from_what_it_was(
    source: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    """Each edit by itself, and all of them together until they are emitted."""
    out, recipe = tmp_path / "out", write(tmp_path)
    emitted(source, out, recipe)
    before = digests(out)
    arguments = ["--data", str(out), "--recipe", str(recipe)]
    edits = (edit_recipe, edit_parent, edit_prompt, add_prompt)
    for each in (*([edit] for edit in edits), edits):
        shutil.rmtree(tmp_path / "prompts")
        write(tmp_path)
        assert sql.main(["from pool", *arguments, "--json"]) == 0
        for edit in each:
            edit(tmp_path)
        for main, what in ASKING:
            message = refused(main.main, *what, *arguments)
            assert message == (
                f"the relations of mine in {out / database.NAME} were made by another recipe of "
                "that name, or before this one or its prompts were edited: emit it again with "
                f"`python -m immune_data.emit --recipe {recipe}`"
            )
        for main, what in ((publish, HUB), (emit, ["--check"])):
            message = refused(main.main, *what, *arguments, code=1)
            assert f"{out / 'sft' / 'mine'} was emitted with something else for " in message
        assert digests(out) == before
    assert not emitted(source, out, recipe).current
    for main, what in ASKING[:2]:
        assert main.main([*what, *arguments]) == 0


def test_another_file_of_the_same_name_is_not_answered_either(
    source: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    emitted(source, out, write(tmp_path / "a"))
    other = write(tmp_path / "b b", seed(7))  # a path that a shell would take for two
    message = refused(sql.main, "from pool", "--data", out, "--recipe", other)
    assert message.endswith(f"--recipe '{other}'`")


def test_two_recipes_of_one_name_are_not_published_as_one(
    source: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    first, second = (write(tmp_path / name, seed(i)) for i, name in enumerate("ab"))
    emitted(source, out, first)
    for pair in ((first, second), (second, first)):
        message = refused(publish.main, *HUB, "--data", out, "--recipe", *pair)
        assert message == (
            f"two recipes are called mine, {pair[0]} and {pair[1]}: rename one of them, and emit it"
        )


# Names


@pytest.mark.parametrize("name", recipes.names())
def test_a_shipped_name_is_taken(name: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    path = write(tmp_path, name=f"{name}.toml")
    message = refused(emit.main, "--data", tmp_path / "out", "--recipe", path)
    assert message == f"recipe {path}: {name} is the name of a shipped recipe: rename the file"
    shipped = recipes.load(str(recipes.SHIPPED / f"{name}.toml"))
    assert shipped == recipes.load(name)


@pytest.mark.parametrize("name", ["Mine", "mIne", "immune", "temp", "main", "mine é", "m/../é"])
def test_names_that_a_folder_or_a_schema_cannot_tell_apart(name: str, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    path = write(tmp_path, name=f"{name}.toml")
    with pytest.raises(recipes.ImmuneError, match="cannot be called"):
        recipes.load(str(path))


@pytest.mark.parametrize("key", ["name", "file"])
def test_a_recipe_cannot_say_what_it_is_called(key: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'{key} = "yours"\nextends = "unified-v2"\n')
    with pytest.raises(recipes.ImmuneError, match=f"unknown field `{key}`"):
        recipes.load(str(path))


def test_records_are_rendered_by_the_prompts_of_the_recipe(source: Path, tmp_path: Path) -> None:
    """What the digest stands for: the templates that were emitted."""
    recipe = write(tmp_path)
    edit_prompt(tmp_path)
    emitted(source, tmp_path / "out", recipe)
    asked = prompts.load(tmp_path / "prompts")["cause"]
    [first, *_] = (r for r in records(tmp_path / "out", "train", "mine") if r["task"] == "cause")
    assert asked.templates[-1][1].endswith("Be brief.")
    assert first["messages"][-2]["content"].endswith("Be brief.")
