"""Sides of the split that are empty or of another size than asked for: said, and never passed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Part
from corpus import Corpus, manifest, records
from hashed import windows
from random_corpus import EMITTED, EMITTED_CLEAN

from immune_data.audit import __main__ as audit
from immune_data.emit import __main__ as emit

Refused = Callable[..., str]

WEAK = {"gpt-4o": 3, "gpt-4o-mini": 2}
IDS = [f"i{number:02}" for number in range(12)]


def apart(corpus: Corpus, ids: list[str], of: list[dict[str, str]]) -> Corpus:
    """Incidents of a window each."""
    for name, window in zip(ids, of, strict=True):
        corpus.incident(name, facts=window)
    return corpus


def no_incident() -> Corpus:
    return Corpus()


def in_one_dataset() -> Corpus:
    return Corpus().incidents(
        IDS, datasets=["summarization_dataset_v4.json"], cause=None, risk=None
    )


def two_gates() -> Corpus:
    low = {"gpt-4o": 13, "gpt-4o-mini": 12}
    return Corpus().incidents(IDS[:9], summary_scores=WEAK).incidents(IDS[9:], cause=low)


def one_incident() -> Corpus:
    return Corpus().incident("a")


def one_window() -> Corpus:
    return Corpus().incidents(IDS, facts=windows("eval", 1)[0])


def of_train() -> Corpus:
    return apart(Corpus(), IDS, windows("train", 12))


def no_winning_answer() -> Corpus:
    return Corpus().incidents(IDS, answers={"gpt-4o": {"cause": None}})


CASES = {
    ("unified-v2", no_incident): "no record: no incident was read",
    ("risk", no_incident): "no record: no incident of the cause and risk dataset was judged",
    ("unified-v2", in_one_dataset): "no record: no incident passes (lost: 12 at both datasets)",
    ("unified-v1", two_gates): (
        "no record: no incident passes (lost: 9 at gate summary_score, 3 at gate cause_score)"
    ),
    # Augmentation gives train records all the same.
    ("unified-clean", two_gates): (
        "no eval record: no incident passes (lost: 9 at gate summary_score, 3 at gate cause_score)"
    ),
    ("unified-v2", one_incident): (
        "no train record: every passing incident (1) is on the other side"
    ),
    ("risk", one_incident): "no train record: every passing incident (1) is on the other side",
    ("unified-clean", one_window): (
        "no train record: the hash of source IP and time window puts every passing incident (12) "
        "on the other side, and of few incidents another `split.key` may not"
    ),
    ("unified-clean", of_train): (
        "no eval record: the hash of source IP and time window puts every passing incident (12) "
        "on the other side, and of few incidents another `split.key` may not"
    ),
    ("unified-v1", no_winning_answer): (
        "no record: each of its incidents (11) has a winner without an answer, or no evidence"
    ),
}


@pytest.mark.parametrize(
    ("recipe", "corpus", "sentence"),
    [(*case, sentence) for case, sentence in CASES.items()],
    ids=[f"{recipe}-{corpus.__name__}" for recipe, corpus in CASES],
)
def test_an_empty_side_fails_and_is_explained(
    recipe: str,
    corpus: Callable[[], Corpus],
    sentence: str,
    tmp_path: Path,
    refused: Refused,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    arguments = ("--recipe", recipe, "--data", out)
    source = ("--source", corpus().write(tmp_path / "source"))
    funnel = f"python -m immune_data.audit funnel --recipe {recipe} --data {out}"
    expected = f"{recipe} has {sentence}; `{funnel}` shows the whole way"
    assert refused(emit.main, *arguments, *source, code=1) == expected
    # What there is is whole and can be asked; and it is no better for being there already.
    assert emit.main([str(part) for part in (*arguments, "--check")]) == 0
    assert refused(emit.main, *arguments, *source, code=1) == expected
    assert emit.main([str(part) for part in (*arguments, *source, "--json")]) == 1
    captured = capsys.readouterr()
    assert expected in captured.err
    sides = json.loads(captured.out)["sides"]
    empty = [side["split"] for side in sides if not side["records"]]
    assert empty == [split for split in ("train", "eval") if not records(out, split, recipe)]
    assert all((side["reason"] is None) == (side["records"] > 0) for side in sides)
    assert audit.main(["empty_side", *map(str, arguments), "--json"]) == 1
    [found] = json.loads(capsys.readouterr().out)
    assert (found["status"], found["rows"]) == ("failed", len(empty))


def test_no_side_is_empty_without_a_word(
    random_part: Callable[[int, str], Part], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Whatever the corpus: the exit code says whether both files hold a record."""
    codes = set()
    several = [case for case in EMITTED if case[1] == "risk"] + EMITTED_CLEAN[2:4]
    if pytestconfig.getoption("--thorough"):
        several = [(seed, recipe) for seed in range(16) for recipe in ("unified-clean", "risk")]
    for seed, recipe in several:
        part = random_part(seed, recipe)
        out = shutil.copytree(part.out, tmp_path / f"{seed} {recipe}")
        arguments = ["--source", str(part.source), "--data", str(out), "--recipe", recipe]
        code = emit.main(arguments)
        folder = out / "sft" / recipe
        empty = not all((folder / f"{split}.jsonl").stat().st_size for split in ("train", "eval"))
        assert code == empty
        codes.add(code)
        for side in manifest(out, recipe)["counts"]["sides"]:
            assert side["records"] == len(records(out, side["split"], recipe))
    assert 0 in codes


GROUPS = """\
description = "x"
extends = "unified-clean"
[split]
method = "groups"
"""


def test_a_group_that_takes_everything_is_named(tmp_path: Path, refused: Refused) -> None:
    recipe = tmp_path / "grouped.toml"
    recipe.write_text(GROUPS)
    source = one_window().write(tmp_path / "source")
    message = refused(
        emit.main, "--source", source, "--data", tmp_path / "out", "--recipe", recipe, code=1
    )
    assert (
        "grouped has no train record: every passing incident (12) is on the other side: 12 of "
        "the group named after i00, which stays on one side;" in message
    )


@pytest.mark.parametrize(("held_out", "warned"), [(1, False), (2, False), (5, True), (10, True)])
def test_a_share_far_from_the_one_asked_for_is_a_warning(
    held_out: int, warned: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"i{number:02}" for number in range(20)]
    of = windows("eval", held_out) + windows("train", 20 - held_out)
    source = apart(Corpus(), names, of).write(tmp_path / "source")
    arguments = ["--recipe", "unified-clean", "--data", str(tmp_path / "out")]
    assert emit.main([*arguments, "--source", str(source)]) == 0
    warning = (
        f"warning: eval is {held_out / 20:.0%} of the passing incidents, where the recipe asks "
        "for 10%"
    )
    assert (warning in capsys.readouterr().out) is warned
    assert audit.main(["uneven_sides", "empty_side", "--json", *arguments]) == 0
    empty, uneven = json.loads(capsys.readouterr().out)
    assert (empty["check"], empty["rows"]) == ("empty_side", 0)
    assert (uneven["check"], uneven["rows"]) == ("uneven_sides", int(warned))
