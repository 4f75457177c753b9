"""`unified-edge` is `unified-clean` asked the other way round: what tasks share, then the task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from clean import Records, assert_clean, both_sides
from conftest import Part
from corpus import Corpus, facts, many_kinds, query
from random_corpus import EMITTED_EDGE

from immune_data import prompts, recipes
from immune_data.common.errors import ImmuneError
from immune_data.contract import evidence
from immune_data.contract.tokens import count
from immune_data.emit.__main__ import emit
from immune_data.prompts import TASKS, Message

RECIPE = "unified-edge"
SHIPPED = recipes.load(RECIPE).prompts_folder
FILES = {
    "shared.user.txt": "About {incident_id}\n{evidence}\n",
    "summary.task.txt": "Sum it up.\n",
    "cause.task.txt": "Why?\n",
    "risk.task.txt": "How bad for {source_ip}?\n",
}


def rows(source: Path, out: Path) -> Records:
    emit(source, out, recipes.load(RECIPE))
    return assert_clean(source, out, RECIPE)


def shared_part(record: dict[str, Any]) -> tuple[str, str]:
    system, user, _ = record["messages"]
    assert (system["role"], user["role"]) == ("system", "user")
    assert user["content"].count("\n\nTask: ") == 1
    return system["content"], user["content"].partition("\n\nTask: ")[0]


def by_incident(found: Records) -> Iterator[list[dict[str, Any]]]:
    every = sorted(found["train"] + found["eval"], key=itemgetter("incident_id"))
    for _, group in groupby(every, itemgetter("incident_id")):
        yield list(group)


# Records


def test_the_sample_is_clean_and_shares_its_prompts(
    sample_part: Callable[[str], Part], pytestconfig: pytest.Config
) -> None:
    found = assert_clean(*sample_part(RECIPE), RECIPE)
    assert {split: len(rows) for split, rows in found.items()} == (
        {"train": 2103, "eval": 213}
        if pytestconfig.getoption("--thorough")
        else {"train": 216, "eval": 30}
    )
    for group in by_incident(found):
        assert len({shared_part(record) for record in group}) == 1
        assert len({record["dag_truncated"] for record in group}) == 1


def test_only_the_prompts_differ_from_unified_clean(sample_part: Callable[[str], Part]) -> None:
    edge = both_sides(sample_part(RECIPE).out, RECIPE)
    clean = both_sides(sample_part("unified-clean").out, "unified-clean")
    for split in ("train", "eval"):
        for record, other in zip(edge[split], clean[split], strict=True):
            assert record["messages"][-1] == other["messages"][-1]
            for key in ("incident_id", "task", "model", "score", "origin"):
                assert record[key] == other[key]


def test_the_real_set_is_clean(real_source: Path, real_out: Callable[[str], Path]) -> None:
    found = assert_clean(real_source, real_out(RECIPE), RECIPE)
    assert all(len(set(map(shared_part, group))) == 1 for group in by_incident(found))


@pytest.mark.parametrize(("seed", "recipe"), EMITTED_EDGE)
def test_random_corpora_are_clean(
    seed: int, recipe: str, random_part: Callable[[int, str], Part]
) -> None:
    assert_clean(*random_part(seed, recipe), recipe)


def test_evidence_leaves_each_task_the_longest_allowed_answer(tmp_path: Path) -> None:
    corpus = Corpus().incident("a", dag=many_kinds(50)).incident("b")
    found = rows(corpus.write(tmp_path / "source"), tmp_path / "out")
    assert not any(record["dag_truncated"] for group in by_incident(found) for record in group)
    (lengths,) = query(
        tmp_path / "out",
        "select max(prompt_tokens), count(distinct dag_tokens_shown), max(dag_tokens_shown),"
        " max(dag_tokens) from conversations where incident_id = 'a'",
        RECIPE,
    )
    # A summary may have 400 times 4 characters, which can be 900 tokens, and its end.
    assert lengths[0] <= 4096 - 902
    assert lengths[1] == 1
    assert lengths[2] < lengths[3]  # fewer values
    shown = max(
        values
        for values in range(1, 9)
        if count(evidence.condense(many_kinds(50), values)) == lengths[2]
    )
    more = count(evidence.condense(many_kinds(50), shown + 1))
    assert lengths[0] + more - lengths[2] > 4096 - 902


@pytest.mark.parametrize("recipe", [RECIPE, "unified-clean"])
def test_evidence_that_cannot_be_condensed_further_is_refused_whole(
    recipe: str, tmp_path: Path
) -> None:
    corpus = Corpus().incident("a", dag=many_kinds(300)).incident("b").incident("c")
    emit(corpus.write(tmp_path / "source"), tmp_path / "out", recipes.load(recipe))
    rows = query(
        tmp_path / "out",
        "select distinct incident_id, rule, effect from cleaning",
        recipe,
    )
    assert rows == [("a", "evidence_too_long", "refused")]
    held = query(tmp_path / "out", "select distinct incident_id from conversations", recipe)
    assert sorted(held) == [("b",), ("c",)]


def test_a_long_answer_is_whole_or_passed_over_and_never_shortens_the_evidence(
    tmp_path: Path,
) -> None:
    rare = "Events. " + "\U000103a0" * 1500 + "."  # 3,000 tokens in 1,509 characters
    cases = {"short": (many_kinds(1), "gpt-4o"), "long": (many_kinds(14), "gpt-4o-mini")}
    corpus = Corpus().incident("b")
    for incident, (dag, _) in cases.items():
        corpus.incident(incident, dag=dag, answers={"gpt-4o": {"summary": rare}})
    emitted = rows(corpus.write(tmp_path / "source"), tmp_path / "out")
    groups = {group[0]["incident_id"]: group for group in by_incident(emitted)}
    for incident, (dag, model) in cases.items():
        group = groups[incident]
        assert [record["task"] for record in group] == list(TASKS)
        assert group[0]["model"] == model
        assert (3500 < group[0]["tokens"] <= 4096) == (model == "gpt-4o")
        assert len(set(map(shared_part, group))) == 1
        assert evidence.condense(dag, 8) in shared_part(group[0])[1]


# Prompts


def write(folder: Path, **changes: str | None) -> Path:
    (folder / "evidence-first").mkdir(parents=True)
    for name, text in FILES.items():
        given = changes.get(name.removesuffix(".txt").replace(".", "_"), text)
        if given is not None:
            (folder / "evidence-first" / name).write_text(given)
    return folder


def test_the_shipped_prompts_share_everything_but_the_task() -> None:
    loaded = prompts.load(SHIPPED, "evidence-first")
    texts = {task: prompt.render(facts(), "THE EVIDENCE") for task, prompt in loaded.items()}
    heads = {
        (system.content, user.content.partition("\n\nTask: ")[0]) for system, user in texts.values()
    }
    ((_, head),) = heads
    assert head.endswith("\nTHE EVIDENCE")
    assert not any(f"<{name}>" in head for name in prompts.FACTS)  # the evidence states them
    documented = prompts.load(SHIPPED)
    for task, (_, user) in texts.items():
        asked = user.content.partition("\n\nTask: ")[2]
        old = "\n".join(m.content for m in documented[task].render(facts(), ""))
        marked = [line for line in old.splitlines() if line.startswith(("**", "1.", "2.", "3."))]
        assert len(marked) >= 3
        for line in marked:  # what an answer is made of is asked for in the same words
            assert line in asked


def test_a_task_follows_what_is_shared(tmp_path: Path) -> None:
    loaded = prompts.load(write(tmp_path), "evidence-first")
    assert loaded["risk"].render(facts(), "E") == [
        Message("user", "About <incident_id>\nE\n\nHow bad for <source_ip>?")
    ]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"risk_task": None}, "has no risk.task.txt"),
        ({"shared_user": None}, "has no shared.user.txt"),
        ({"shared_user": "nothing"}, "exactly once, in shared.user.txt"),
        ({"cause_task": "{evidence}"}, "exactly once, in shared.user.txt"),
    ],
)
def test_wrong_prompts(tmp_path: Path, changes: dict[str, str | None], says: str) -> None:
    with pytest.raises(ImmuneError, match=says):
        prompts.load(write(tmp_path, **changes), "evidence-first")


def test_a_wrong_name_and_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ImmuneError, match="evidence-first does not exist"):
        prompts.load(tmp_path, "evidence-first")
    (write(tmp_path) / "evidence-first" / "risk.user.txt").write_text("x")
    with pytest.raises(ImmuneError, match=r"risk\.user\.txt is not a prompt"):
        prompts.load(tmp_path, "evidence-first")


def test_a_layout_is_one_of_two(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('extends = "unified-v2"\n[records]\nprompt_layout = "evidence-last"\n')
    with pytest.raises(ImmuneError, match="prompt_layout"):
        recipes.load(str(recipe))
