"""Pages of reference are complete: rules, keys of recipes, fields of source files, commands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
import pytest
from conftest import REPOSITORY
from corpus import query

from immune_data import recipes
from immune_data.emit import __main__ as emit
from immune_data.read import datasets, judges
from immune_data.select import cleaning_rules
from immune_data.slips import incidents as slips

CITED = re.compile(r"\brules?\s+(\d+)((?:(?:\s*,\s*|\s+(?:and|or|to)\s+)\d+)*)", re.IGNORECASE)
SUFFIXES = {".py", ".sql", ".toml", ".yaml", ".md", ".txt"}


def page(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


# Rules


def cited(text: str) -> set[int]:
    """The rules that a text cites; `1 to 5` cites all of them."""
    found = set()
    for first, rest in CITED.findall(re.sub(r"\n\s*(?:#|--)?\s*", " ", text)):
        last = int(first)
        found.add(last)
        for how, number in re.findall(r"(,|and|or|to)\s*(\d+)", rest):
            found |= set(range(last, int(number) + 1)) if how == "to" else {int(number)}
            last = int(number)
    return found


def test_rules_are_found_in_every_way_of_citing_them() -> None:
    assert cited("Rules 1 to 3, 8 and 9; rule 12\n-- (rule\n-- 14), rules 5 or 6") == {
        *(1, 2, 3, 5, 6, 8, 9, 12, 14)
    }
    assert cited("a ruler 4 and unruly 5") == set()


def test_every_rule_that_is_cited_is_defined() -> None:
    defined = {
        int(number) for number in re.findall(r"^## Rule (\d+): ", page("docs/rules.md"), re.M)
    }
    assert defined == set(range(1, 17))
    files = [
        path
        for folder in ("immune_data", "immune_train", "sql", "tests", "benchmarks", "docs")
        for path in (REPOSITORY / folder).rglob("*")
        if path.suffix in SUFFIXES and path != Path(__file__)
    ]
    by_file = {path: cited(path.read_text(encoding="utf-8")) for path in files}
    assert len(set().union(*by_file.values())) == 16
    undefined = {path.name: numbers - defined for path, numbers in by_file.items()}
    assert not {name: numbers for name, numbers in undefined.items() if numbers}


def test_every_cleaning_rule_is_defined() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \|", page("docs/rules.md"), re.M))
    assert {*cleaning_rules.CHANGES, *cleaning_rules.REFUSALS} <= listed


# Recipes


def keys(kind: Any, prefix: str = "") -> Iterator[str]:
    """The keys of a section as a recipe writes them; a length counts as a value."""
    for field in msgspec.structs.fields(kind):
        name, value = f"{prefix}{field.encode_name}", field.type
        if get_origin(value) is dict:
            name, value = f"{name}.NAME", get_args(value)[1]
        elif get_origin(value) is tuple:
            yield name
            value = get_args(value)[0]
        nested = isinstance(value, type) and issubclass(value, msgspec.Struct)
        if nested and value is not recipes.Length:
            yield from keys(value, f"{name}.")
        else:
            yield name


def test_every_key_of_a_recipe_is_on_its_page_and_no_other() -> None:
    listed = re.findall(r"^\| `([\w.]+)` \|", page("docs/recipes.md").partition("## Keys")[2], re.M)
    # The loader sets both: a recipe's name is its file's.
    assert set(listed) == {*keys(recipes.Recipe), "extends"} - {"name", "file"}
    assert len(listed) == len(set(listed)) > 40


# Source files


def examples() -> dict[str, Any]:
    """The files that the page shows, by name."""
    found = re.findall(
        r"`([\w.]+\.json)`[^\n`]*:\n\n```json\n(.*?)```", page("docs/sources.md"), re.S
    )
    return {name: json.loads(text) for name, text in found}


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    (folder / "source").mkdir()
    for name, content in examples().items():
        (folder / "source" / name).write_text(json.dumps(content), encoding="utf-8")
    # Nothing of so little passes the gates: the tables are what counts.
    recipe = folder / "all.toml"
    [shown] = re.findall(r"```toml\n(.*?)```", page("docs/sources.md"), re.S)
    recipe.write_text(
        f"{shown}[answers]\ngrounded = false\n[gates]\nsummary_score_min = 0\n"
        + "".join(
            f'{task}_length = {{ min = 0, max = 600, unit = "chars4" }}\n'
            for task in ("summary", "cause", "risk")
        )
        + '[split]\neval_share = 0\n[risk]\ncause_length = { min = 0, max = 9, unit = "words" }\n'
    )
    arguments = ["--source", folder / "source", "--data", folder / "out", "--recipe", recipe]
    assert emit.main(list(map(str, arguments))) == 0
    return folder / "out"


def test_the_shown_source_files_are_read_whole(emitted: Path) -> None:
    def ask(asked: str) -> list[tuple]:
        return query(emitted, asked, "all")

    assert ask("from rejects") == []
    assert ask("select count(*) from source_files") == [(5,)]
    assert ask("select source_ip, event_count, in_summaries, in_cause_risk from incidents") == [
        ("192.168.1.113", 12, True, True)
    ]
    assert ask("select dataset from dags") == [("cause_risk",)]
    assert ask("select task, count(*) from responses group by task order by task") == [
        ("cause", 2),
        ("risk", 2),
        ("summary", 3),
    ]
    assert ask("select task, count(*) from judgements group by task order by task") == [
        ("cause", 2),
        ("risk", 2),
        ("summary", 3 + 3),
    ]
    assert ask("select count(*) from judge_calls") == [(6,)]
    assert ask("select model, score, calls, spread from judgements where spread > 0") == [
        ("gpt-4o", 8.5, 2, 0.71)
    ]
    assert ask("select count(*) from justifications") == [(3,)]


def test_every_field_that_is_read_is_described() -> None:
    described = set(re.findall(r"`(\w+)`", page("docs/sources.md")))
    for row in (
        datasets._Dataset,
        datasets._SummaryAnswer,
        datasets._CauseRiskAnswer,
        judges._SummaryVerdict,
        judges._CauseRiskVerdict,
        judges._SummaryCall,
        judges._CauseRiskCall,
        judges._Spread,
        judges._CauseScores,
        judges._RiskScores,
    ):
        assert {field.name for field in msgspec.structs.fields(row)} <= described, row
    recipe = recipes.load("unified-v2")
    files = {recipe.sources.summaries, recipe.sources.cause_risk}
    files |= {run.file for run in recipe.sources.judge_runs}
    assert all(f"`{file}`" in page("docs/sources.md") for file in files)
    fields = {
        field for model in recipe.models.values() for field in (model.summaries, model.cause_risk)
    }
    assert all(f"`{field}`" in page("docs/sources.md") for field in fields)


def test_every_reason_of_a_reject_is_described() -> None:
    code = "".join(
        path.read_text("utf-8") for path in (REPOSITORY / "immune_data/read").glob("*.py")
    )
    reasons = set(re.findall(r'Rejected\(\s*"(\w+)"', code))
    assert len(reasons) > 8
    listed = set(re.findall(r"^\| `(\w+)` \|", page("docs/sources.md"), re.M))
    assert reasons <= listed


# Events


def test_every_column_of_the_events_is_described() -> None:
    described = page("docs/slips.md").partition("## Events")[2].partition("```")[0]
    assert re.findall(r"`(\w+)`(?=[^|\n]*\|[^|\n]*\|$)", described, re.M) == slips._SCHEMA.names


# README


def test_the_readme_is_short_and_links_every_page() -> None:
    readme = page("README.md")
    assert len(readme.splitlines()) <= 200
    names = [path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "docs").glob("*.md")]
    names += ["CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]
    for name in names:
        assert f"]({name})" in readme, name
