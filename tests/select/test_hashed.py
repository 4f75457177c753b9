"""Sides by hash (rule 15): they stay as incidents are added, and no evidence is on both."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from string import ascii_lowercase
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis
import pytest
from conftest import Part
from corpus import (
    CAUSE_RISK,
    CAUSE_RISK_RUN,
    CAUSE_TOTALS,
    DATASETS,
    FILES,
    RISK_TOTALS,
    RUN_1,
    SUMMARY_SCORES,
    Corpus,
    cause_risk_verdict,
    query,
    records,
    source_rows,
    summary_verdict,
)
from examples import examples
from hashed import side, windows
from hypothesis import strategies as st

from immune_data import recipes
from immune_data.audit import __main__ as audit
from immune_data.audit import checks
from immune_data.contract import evidence
from immune_data.emit import __main__ as emit
from immune_data.select.database import reading
from immune_data.why import __main__ as why

RECIPE = "unified-clean"
LEAKS = (
    *("eval_in_train", "same_dag_in_train", "same_evidence_in_train", "same_window_in_train"),
    "unaccounted",
)
REASON = "the evidence of an eval incident"

Sides = dict[str, str]


def recipe(folder: Path, name: str, text: str, extends: str = RECIPE) -> str:
    path = folder / f"{name}.toml"
    path.write_text(f'description = "x"\nextends = "{extends}"\n{text}', encoding="utf-8")
    return str(path)


def emitted(source: Path, out: Path, name: str = RECIPE) -> Path:
    emit.emit(source, out, recipes.load(name))
    return out


def sides(out: Path, name: str = RECIPE) -> Sides:
    """The side of every emitted incident, of which each has one."""
    found = {
        (record["incident_id"], split)
        for split in ("train", "eval")
        for record in records(out, split, name)
    }
    assert len(dict(found)) == len(found)
    return dict(found)


def eval_of(found: Sides) -> set[str]:
    return {incident for incident, of in found.items() if of == "eval"}


def assert_no_leak(out: Path, name: str = RECIPE) -> None:
    with reading(out, name) as connection:
        found = {one.check.name: one.rows for one in checks.run(connection, checks.load(LEAKS))}
        others = checks.rows(connection, *checks.load(["other_eval_in_train"]))
    assert found == dict.fromkeys(LEAKS, 0)
    # Those of other recipes in the database have other sides; the standalone split has not.
    assert "standalone split" not in others["evaluated_by"]


def events(incident: str, what: str, *, backwards: bool = False) -> str:
    """A DAG of two events, its header the incident's own."""
    blocks = [
        f"• 10:15 - Event to 10.9.9.9 [HIGH]\n  - {what} threat level: high.",
        "• 10:20-10:30 - 3 events to 10.9.9.8 [LOW]\n  - A beacon. threat level: low. (x3)",
    ]
    header = f"{'=' * 60}\nIncident: {incident}\nThreat Level: 15.3 | Events: 4\n"
    closing = "\nTotal Evidence: 4 events\nSeverity breakdown: High: 1, Low: 3"
    return "\n".join([header, *(blocks[::-1] if backwards else blocks), closing])


@cache
def below_header(text: str) -> str:
    """Evidence as it is compared; several datasets hold the same."""
    return evidence.read(text).below_header(8)


def assert_as_hashed(source: Path, out: Path, name: str) -> int:
    """Every incident that passes is on its side, or left out for an eval incident's evidence."""
    incidents = [row for dataset in DATASETS for row in source_rows(source, dataset)]
    of = {
        row["incident_id"]: side(row["incident_id"], row["source_ip"], row["timewindow"])
        for row in incidents
    }
    found = sides(out, name)
    assert set(found.values()) == {"train", "eval"}
    assert found == {incident: of[incident] for incident in found}
    judged = {row[0] for row in query(out, "select incident_id from judgements", name)}
    texts = {
        row["incident_id"]: row["dag_analysis"]
        for row in incidents  # the cause and risk dataset's come last
        if row.get("dag_analysis") and row["incident_id"] in judged
    }
    shown = {incident: below_header(text) for incident, text in texts.items()}
    held_out = {text for incident, text in shown.items() if of[incident] == "eval"}
    passed = {row[0] for row in query(out, "select incident_id from gates where passed", name)}
    lost = passed - found.keys()
    assert lost == {i for i in passed if of[i] == "train" and shown[i] in held_out}
    assert_no_leak(out, name)
    return len(lost)


def test_the_samples_sides_are_those_of_the_hash(
    sample_source: Path, sample_out: Callable[[str], Path]
) -> None:
    assert_as_hashed(sample_source, sample_out(RECIPE), RECIPE)


def test_the_sides_of_a_recipe_that_asks_otherwise_are_those_of_the_hash(
    sample_part: Callable[[str], Part],
) -> None:
    part = sample_part("unified-edge")
    assert_as_hashed(*part, "unified-edge")


def test_the_real_sets_sides_are_those_of_the_hash(
    real_source: Path, real_out: Callable[[str], Path]
) -> None:
    assert_as_hashed(real_source, real_out(RECIPE), RECIPE)


def test_real_incidents_with_a_verdict_each_are_as_hashed(
    real_source: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """An eighth of them, in a campaign all 532; the models judged in a fixed order."""
    source = tmp_path / "source"
    source.mkdir()
    rows = {name: source_rows(real_source, name) for name in DATASETS}
    ids = {row["incident_id"] for row in rows[CAUSE_RISK]}
    if not pytestconfig.getoption("--thorough"):
        ids = {one for one in ids if sha256(one.encode()).digest()[0] < 32}
    of_files = {
        **{name: [row for row in of if row["incident_id"] in ids] for name, of in rows.items()},
        RUN_1: [summary_verdict(one, SUMMARY_SCORES) for one in sorted(ids)],
        CAUSE_RISK_RUN: [cause_risk_verdict(one, CAUSE_TOTALS, RISK_TOTALS) for one in sorted(ids)],
    }
    for name, of in of_files.items():
        (source / name).write_text(json.dumps(of))
    out = emitted(source, tmp_path / "out")
    assert_as_hashed(source, out, RECIPE)
    categories = query(
        out,
        "select split, category from splits join incidents using (incident_id) group by all",
        RECIPE,
    )
    assert {("train", "Normal"), ("eval", "Normal")} <= set(categories)


def test_the_last_tenth_of_the_sample_moves_no_eval_incident(
    sample_part: Callable[[str], Part], tmp_path: Path
) -> None:
    """Of a part of the sample."""
    part = sample_part(RECIPE)
    rows_of = {name: source_rows(part.source, name) for name in FILES}
    ids = list(dict.fromkeys(row["incident_id"] for name in DATASETS for row in rows_of[name]))
    some = set(ids[: -(len(ids) // 10)])
    source = tmp_path / "source"
    source.mkdir()
    for name, rows in rows_of.items():
        kept = [row for row in rows if row["incident_id"] in some]
        (source / name).write_text(json.dumps(kept))
    before, after = sides(emitted(source, tmp_path / "out")), sides(part.out)
    assert len(eval_of(before)) > 5
    assert len(after) > len(before)
    assert eval_of(before) <= eval_of(after)
    assert {i for i, of in before.items() if after.get(i, of) != of} == set()


INCIDENTS = st.lists(
    st.fixed_dictionaries(
        {
            "source_ip": st.sampled_from((None, "", "10.0.0.1", "10.0.0.2", "é\u0301\x00\n")),
            "timewindow": st.sampled_from((None, "1", "2", "3")),
            "events": st.integers(0, 25),
            "backwards": st.booleans(),
            "weak": st.sampled_from((False, False, True)),  # of the standalone dataset alone
            "round": st.integers(0, 2),
        }
    ),
    min_size=12,
    max_size=30,
)


def incident_into(corpus: Corpus, name: str, drawn: dict[str, Any]) -> None:
    what = f"Something of kind {ascii_lowercase[drawn['events']]} was seen."
    corpus.incident(
        name,
        dag=events(name, what, backwards=drawn["backwards"]),
        summary_scores=None if drawn["weak"] else SUMMARY_SCORES,
        facts={key: drawn[key] for key in ("source_ip", "timewindow")},
    )


def expected(incidents: dict[str, dict[str, Any]], key: str) -> Sides:
    """Where rule 15 puts each incident that gives a record."""
    of = {
        name: side(name, one["source_ip"], one["timewindow"], key, 0.3)
        for name, one in incidents.items()
    }
    held_out = {one["events"] for name, one in incidents.items() if of[name] == "eval"}
    return {
        name: of[name]
        for name, one in incidents.items()
        if (one["events"] not in held_out if of[name] == "train" else not one["weak"])
    }


@examples(8)
@hypothesis.given(INCIDENTS, st.sampled_from(("immune", "Schlüssel")), st.randoms())
def test_rounds_of_incidents_never_move_one_out_of_eval(
    drawn: list[dict[str, Any]], key: str, chance: random.Random
) -> None:
    """In any order and batching: what was eval stays eval, and what counts is what is there."""
    with TemporaryDirectory() as folder:
        text = f'[split]\nkey = "{key}"\neval_share = 0.3\n'
        named = recipe(Path(folder), "mine", text)

        def emit_all(incidents: list[tuple[str, dict[str, Any]]], where: str) -> Path:
            corpus = Corpus()
            for incident in incidents:
                incident_into(corpus, *incident)
            for of_file in corpus.rows.values():
                chance.shuffle(of_file)
            source = Path(folder) / where / "source"
            return emitted(corpus.write(source), Path(folder) / where / "out", named)

        incidents = [(f"i{i:02}", one) for i, one in enumerate(drawn)]
        held_out: set[str] = set()
        for number in range(3):
            so_far = [one for one in incidents if one[1]["round"] <= number]
            out = emit_all(so_far, "rounds")
            found = sides(out, "mine")
            assert found == expected(dict(so_far), key)
            assert held_out <= eval_of(found)
            assert_no_leak(out, "mine")
            held_out = eval_of(found)
        chance.shuffle(incidents)
        at_once = emit_all(incidents, "at-once")
        assert sides(at_once, "mine") == found
        for split in ("train", "eval"):
            assert records(at_once, split, "mine") == records(out, split, "mine")


def twins() -> Corpus:
    """Of two incidents each that report the same events, one or both are in eval."""
    corpus = Corpus()
    train, held_out = windows("train", 12), windows("eval", 3)
    for i, window in enumerate(train[:10]):
        corpus.incident(f"t{i}", facts=window, dag=events(f"t{i}", f"Only by {'ab' * (i + 1)}."))
    shared, weak = "A scan of many ports.", "A login as root."
    corpus.incident("shared-a", facts=held_out[0], dag=events("shared-a", shared))
    corpus.incident("shared-b", facts=train[10], dag=events("b", shared, backwards=True))
    # An eval incident that gives no record holds its evidence out of train all the same.
    corpus.incident("weak-a", facts=held_out[1], dag=events("weak-a", weak), cause={"gpt-4o": 1})
    corpus.incident("weak-b", facts=train[11], dag=events("weak-b", weak))
    # What is not shown does not count.
    corpus.incident(
        "other", facts=train[9], dag=events("o", "Own."), summary_dag=events("o", shared)
    )
    return corpus


@pytest.fixture(scope="module")
def of_twins(tmp_path_factory: pytest.TempPathFactory) -> Part:
    folder = tmp_path_factory.mktemp("twins")
    source = twins().write(folder / "source")
    return Part(source, emitted(source, folder / "out"))


def test_a_train_incident_with_an_eval_incidents_evidence_is_left_out(
    of_twins: Part, capsys: pytest.CaptureFixture[str]
) -> None:
    out = of_twins.out
    kept = {f"t{i}": "train" for i in range(10)} | {"other": "train", "shared-a": "eval"}
    assert sides(out) == kept
    assert_no_leak(out)
    funnel = "select step, incidents, lost, why from funnel where why = ? order by step"
    assert query(out, funnel.replace("?", f"'{REASON}'"), RECIPE) == [
        ("evidence apart from eval", 12, 2, REASON),
        ("risk evidence apart from eval", 12, 2, REASON),
    ]
    accounts = f"select distinct incident_id from accounts where reason = '{REASON}' order by all"
    assert query(out, accounts, RECIPE) == [("shared-b",), ("weak-b",)]
    asked = ["--data", str(out), "--recipe", RECIPE]
    for name, twin in (("shared-b", "shared-a"), ("weak-b", "weak-a")):
        capsys.readouterr()
        assert why.main([name, *asked]) == 0
        said = capsys.readouterr().out
        assert f"unified: left out of train: the evidence of {twin}, which is in eval\n" in said
        assert re.search(
            rf"hash +[0-9a-f]{{13}}: train, but out: the evidence of {twin} in eval\n", said
        )
    assert why.main(["t3", *asked]) == 0
    assert re.search(r"unified: train, place \d+ of the hashes; 3 records", capsys.readouterr().out)


@pytest.mark.parametrize(
    "text",
    [
        '[records]\ndataset = "risk"\naugmentation = "none"\n',
        '[records]\naugmentation = "not_in_train"\n',
        '[dag]\nform = "lines"\n[answers]\ngrounded = false\nderived_lines = false\n',
    ],
    ids=["standalone", "not_in_train", "lines"],
)
def test_the_sides_are_the_same_whatever_else_a_recipe_does(
    text: str, of_twins: Part, tmp_path: Path
) -> None:
    out = emitted(of_twins.source, tmp_path / "out", recipe(tmp_path, "mine", text))
    assert sides(out, "mine") == sides(of_twins.out)
    assert_no_leak(out, "mine")


def test_evidence_without_an_event_is_compared_whole(tmp_path: Path) -> None:
    """It has no header: two that say different things are not both nothing."""
    [train, other], [held_out] = windows("train", 2), windows("eval", 1)
    source = (
        Corpus()
        .incident("a", facts=held_out, dag="nothing known")
        .incident("b", facts=train, dag="nothing seen")
        .incident("c", facts=other, dag="nothing known")
        .write(tmp_path / "source")
    )
    assert sides(emitted(source, tmp_path / "out")) == {"a": "eval", "b": "train"}


@pytest.mark.parametrize(("more", "of"), [(0, "train"), (1, "eval")])
def test_an_incident_is_eval_below_the_share_and_not_at_it(
    more: int, of: str, tmp_path: Path
) -> None:
    digits = int(sha256(b"immune\n192.168.1.7\n3").hexdigest()[:13], 16)
    named = recipe(tmp_path, "mine", f"[split]\neval_share = {(digits + more) / 16**13!r}\n")
    source = Corpus().incidents("ab").write(tmp_path / "source")
    assert sides(emitted(source, tmp_path / "out", named), "mine") == {"a": of, "b": of}


def test_nothing_held_out_is_no_empty_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = twins().write(tmp_path / "source")
    named = recipe(tmp_path, "mine", "[split]\neval_share = 0\n")
    arguments = ["--data", str(tmp_path / "out"), "--recipe", named]
    assert emit.main([*arguments, "--source", str(source)]) == 0
    assert "warning: eval" not in capsys.readouterr().out
    assert set(sides(tmp_path / "out", "mine").values()) == {"train"}
    assert audit.main(["empty_side", "uneven_sides", "normal_missing_in_eval", *arguments]) == 0
    assert emit.main([*arguments, "--check"]) == 0
