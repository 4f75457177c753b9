"""`emit` against the plain script, which shares no logic with it: the same bytes and counts."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import Part
from corpus import manifest, query
from random_corpus import DOCUMENTED, EMITTED, SPELLINGS, RandomCorpus

from immune_data import recipes

PLAIN = Path(__file__).parents[2] / "benchmarks" / "plain.py"
RECIPES = DOCUMENTED
FEW = [seed for seed, _ in EMITTED]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Two corpora for each recipe; thorough, sixteen."""
    if {"seed", "recipe"} <= {*metafunc.fixturenames}:
        every = [(seed, recipe) for seed in range(16) for recipe in RECIPES]
        thorough = metafunc.config.getoption("--thorough")
        metafunc.parametrize(("seed", "recipe"), every if thorough else EMITTED)


@pytest.fixture(scope="session")
def plain() -> ModuleType:
    """The plain script as a module; it runs often here on the same texts, and may remember them."""
    spec = importlib.util.spec_from_file_location("plain", PLAIN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.tokens = functools.cache(module.tokens)
    module.cut_to_tokens = functools.cache(module.cut_to_tokens)
    module.load = functools.lru_cache(maxsize=5)(module.load)  # the files of one corpus
    return module


def assert_same(plain: ModuleType, source: Path, out: Path, scratch: Path, recipe: str) -> None:
    """The files that `emit` left in `out` are those of the plain script, and so are its counts."""
    counts = plain.build(source, scratch, recipe)
    for split in ("train", "eval"):
        ours = (out / "sft" / recipe / f"{split}.jsonl").read_bytes()
        theirs = (scratch / f"{split}.jsonl").read_bytes()
        if ours != theirs:
            assert_same_records(ours, theirs)
        assert ours == theirs
    assert_same_counts(counts, out, recipe)


def assert_same_records(ours: bytes, theirs: bytes) -> None:
    """A difference told by record and key, before it is told by bytes."""
    ours, theirs = ([json.loads(line) for line in text.splitlines()] for text in (ours, theirs))
    assert [(row["incident_id"], row["task"]) for row in ours] == [
        (row["incident_id"], row["task"]) for row in theirs
    ]
    for found, expected in zip(ours, theirs, strict=True):
        assert found == expected


def assert_same_counts(counts: dict[str, Any], out: Path, recipe: str) -> None:
    funnel = {row["step"]: row for row in manifest(out, recipe)["counts"]["funnel"]}
    for step in (
        "read",
        "both datasets",
        "judged on causes and risks",
        "pool",
        "risk judged",
        "risk train split",
    ):
        assert funnel[step]["incidents"] == counts["incidents"][step], step
    if recipe not in ("risk", "unified-v1"):
        added = funnel["risk-only train"]
        assert added["incidents"] + added["lost"] == counts["incidents"]["risk-only train"]
    for relation, failed, passing in (
        ("gates", "failed", "passing"),
        ("risk_gates", "risk failed", "risk passing"),
    ):
        rows = dict(query(out, f"select verdict, count(*) from {relation} group by all", recipe))
        assert rows.pop(None, 0) == counts["incidents"][passing]
        assert rows == counts[failed]
    splits = dict(query(out, "select split, count(*) from splits group by all", recipe))
    for split in ("train", "eval"):
        assert splits.get(split, 0) == counts["incidents"][split]
    emitted = {
        f"{row['split']} {row['task']}": row["records"]
        for row in manifest(out, recipe)["counts"]["tasks"]
    }
    assert emitted == {key: number for key, number in counts["records"].items() if number}
    stored = dict(
        query(
            out,
            """
            select task, sum(tokens)::bigint from main.responses group by all
            union all
            select 'dags', sum(tokens)::bigint from main.dags
            """,
            recipe,
        )
    )
    assert {key: stored.get(key) or 0 for key in counts["tokens"]} == counts["tokens"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_sample_corpus(
    recipe: str,
    plain: ModuleType,
    sample_source: Path,
    sample_out: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    assert_same(plain, sample_source, sample_out(recipe), tmp_path, recipe)


@pytest.mark.parametrize("recipe", ["published", "unified-v2", "risk"])
def test_the_real_incidents(
    recipe: str,
    plain: ModuleType,
    real_source: Path,
    real_out: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    assert_same(plain, real_source, real_out(recipe), tmp_path, recipe)


def test_a_random_corpus(
    seed: int,
    recipe: str,
    plain: ModuleType,
    random_part: Callable[[int, str], Part],
    tmp_path: Path,
) -> None:
    part = random_part(seed, recipe)
    assert_same(plain, part.source, part.out, tmp_path, recipe)


def test_the_plain_script_knows_every_spelling_that_the_recipe_declares(plain: ModuleType) -> None:
    declared = recipes.load("unified-v2").models
    assert {name: (*fields, tuple(found)) for name, (*fields, found) in plain.MODELS.items()} == {
        name: (model.summaries, model.cause_risk, model.spellings)
        for name, model in declared.items()
    }
    assert {name: model.spellings for name, model in declared.items()} == {
        name: tuple(found) for name, found in SPELLINGS.items()
    }


def test_random_corpora_reach_every_verdict_and_both_splits(
    plain: ModuleType, tmp_path: Path
) -> None:
    """What the comparison above is worth depends on what its corpora hold."""
    failed: set[str] = set()
    emitted: set[str] = set()
    for seed in FEW:
        source = RandomCorpus(seed).write(tmp_path / str(seed))
        counts = plain.build(source, tmp_path / "plain", "unified-v2")
        failed |= {f"{key} {gate}" for key in ("failed", "risk failed") for gate in counts[key]}
        emitted |= {key for key, number in counts["records"].items() if number}
        text = (tmp_path / "plain" / "train.jsonl").read_text(encoding="utf-8")
        emitted |= {word for word in ("truncated: showing", '"risk_only"') if word in text}
        lost = counts["incidents"]["train"] - counts["records"]["train summary"]
        emitted |= {"without an answer"} if lost else set()
    gates = ("cause_score", "risk_score", "cause_length", "risk_length", "risk_level")
    assert failed == {f"risk failed {gate}" for gate in gates} | {
        f"failed {gate}" for gate in (*gates, "summary_score", "summary_length")
    }
    assert emitted == {
        *(f"train {task}" for task in ("summary", "cause", "risk")),
        *(f"eval {task}" for task in ("summary", "cause", "risk")),
        "truncated: showing",
        '"risk_only"',
        "without an answer",
    }
