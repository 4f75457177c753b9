"""Sides by groups: what shares a window or a DAG text, directly or through others, stays whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corpus import CAUSE_RISK, SUMMARIES, Corpus, dag, query, records, source_rows
from random_corpus import RandomCorpus

from immune_data import recipes
from immune_data.emit.__main__ import emit

RECIPE = "grouped"


def emitted(source: Path, out: Path) -> Path:
    recipe = out.with_name(f"{RECIPE}.toml")
    recipe.write_text('description = "x"\nextends = "unified-clean"\n[split]\nmethod = "groups"\n')
    emit(source, out, recipes.load(str(recipe)))
    return out


def kinship(source: Path) -> Callable[[str], str]:
    """An incident's group: a name shared by all that share source IP and time window, or a DAG."""
    parent: dict[Any, Any] = {}

    def find(node: Any) -> Any:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    facts: dict[str, dict[str, Any]] = defaultdict(dict)
    for name in (SUMMARIES, CAUSE_RISK):  # the later one's facts stand where it has them
        for row in source_rows(source, name):
            incident = row["incident_id"]
            for key in ("source_ip", "timewindow"):
                if row.get(key) is not None:
                    facts[incident][key] = row[key]
            text = row.get("dag_analysis")
            if text and not text.isspace():
                parent[find(("incident", incident))] = find(("dag", text))
    for incident, known in facts.items():
        if len(known) == 2:
            window = ("window", known["source_ip"], known["timewindow"])
            parent[find(("incident", incident))] = find(window)
    return lambda incident: find(("incident", incident))


def assert_groups_are_whole(source: Path, out: Path) -> None:
    group = kinship(source)
    train, held_out = (
        {group(row["incident_id"]) for row in records(out, split, RECIPE)}
        for split in ("train", "eval")
    )
    assert not train & held_out


@pytest.mark.parametrize("seed", range(200, 204))
def test_groups_of_random_corpora_are_whole(seed: int, tmp_path: Path) -> None:
    source = RandomCorpus(seed).write(tmp_path / "source")
    assert_groups_are_whole(source, emitted(source, tmp_path / "out"))


def test_groups_are_whole_and_eval_takes_no_more_than_it_must(tmp_path: Path) -> None:
    corpus = Corpus()
    for i in range(40):
        window = {"source_ip": f"10.0.0.{i // 4}", "timewindow": "1"}
        corpus.incident(f"i{i:02}", facts=window)
    source = corpus.write(tmp_path / "source")
    out = emitted(source, tmp_path / "out")
    assert_groups_are_whole(source, out)
    assert len({row["incident_id"] for row in records(out, "eval", RECIPE)}) == 4


def test_a_shared_dag_joins_groups_through_others(tmp_path: Path) -> None:
    """Each incident shares a DAG with the next: all are of one group, so all are eval."""
    corpus = Corpus()
    for i in range(12):
        corpus.incident(
            f"i{i:02}",
            facts={"source_ip": f"10.0.0.{i}"},
            dag=dag(f"chain {i // 2}"),
            summary_dag=dag(f"link {(i + 1) // 2}", "summaries"),
        )
    out = emitted(corpus.write(tmp_path / "source"), tmp_path / "out")
    assert len(query(out, "select distinct group_id from groups", RECIPE)) == 1
    assert query(out, "select distinct split from splits", RECIPE) == [("eval",)]


def test_incidents_without_a_window_are_no_group(tmp_path: Path) -> None:
    corpus = Corpus()
    for i in range(20):
        corpus.incident(
            f"i{i:02}", facts={"source_ip": None if i % 2 else "10.0.0.1", "timewindow": None}
        )
    out = emitted(corpus.write(tmp_path / "source"), tmp_path / "out")
    assert len(query(out, "select distinct group_id from groups", RECIPE)) == 20
    assert query(out, "select count(*) from splits where split = 'eval'", RECIPE) == [(2,)]
