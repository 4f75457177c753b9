"""`incidents.json`: which incident is on which side of an emitted dataset, and of which group."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from corpus import Corpus, manifest, query, records

from immune_data import recipes
from immune_data.audit import held_out
from immune_data.contract import incidents
from immune_data.contract.incidents import Incident
from immune_data.emit.__main__ import emit


def listed(out: Path, recipe: str) -> list[Incident]:
    return incidents.read((out / "sft" / recipe / incidents.NAME).read_bytes())


@pytest.mark.parametrize("recipe", ["unified-v2", "unified-clean", "risk"])
def test_it_names_the_incidents_of_the_records(
    recipe: str, sample_out: Callable[[str], Path]
) -> None:
    out = sample_out(recipe)
    actual = listed(out, recipe)
    sides = [(one.incident_id, one.split) for one in actual]
    of_records = {
        (record["incident_id"], split)
        for split in ("train", "eval")
        for record in records(out, split, recipe)
    }
    assert sides == sorted(of_records)
    groups = dict(query(out, "select incident_id, group_id from groups", recipe))
    assert {one.incident_id: one.group for one in actual} == {
        incident: groups[incident] for incident, _ in sides
    }
    assert incidents.NAME in manifest(out, recipe)["outputs"]


def test_an_incident_in_both_splits_stands_in_it_twice(sample_out: Callable[[str], Path]) -> None:
    actual = [one.incident_id for one in listed(sample_out("unified-v2"), "unified-v2")]
    assert len(actual) - len(set(actual)) == 62  # augmentation appends eval incidents to train
    actual = [one.incident_id for one in listed(sample_out("unified-clean"), "unified-clean")]
    assert len(actual) == len(set(actual))


def test_a_group_is_named_after_its_first_incident(tmp_path: Path) -> None:
    corpus = Corpus()
    for name, window in (("a", "1"), ("b", "2"), ("c", "1"), ("d", "3")):
        corpus.incident(name, facts={"timewindow": window})
    corpus.write(tmp_path / "source")
    emit(tmp_path / "source", tmp_path / "out", recipes.load("unified-v1"))
    actual = {one.incident_id: one.group for one in listed(tmp_path / "out", "unified-v1")}
    assert actual == {"a": "a", "b": "b", "c": "a", "d": "d"}


def test_it_can_be_read_by_anyone_and_held_out(
    sample_out: Callable[[str], Path], tmp_path: Path
) -> None:
    path = sample_out("unified-v2") / "sft" / "unified-v2" / incidents.NAME
    rows = json.loads(path.read_text())
    assert list(rows[0]) == ["incident_id", "split", "group"]
    assert path.read_text().count("\n") == len(rows) + 2
    assert held_out.read(path) == [row["incident_id"] for row in rows]
    incidents.write(tmp_path, [])
    assert incidents.read((tmp_path / incidents.NAME).read_bytes()) == []
