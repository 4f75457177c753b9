"""Every row read ends in the tables or in `rejects`: which, why, and how the run says so."""

from __future__ import annotations

import copy
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from corpus import (
    CAUSE_RISK,
    CAUSE_RISK_RUN,
    DATASETS,
    FIELDS,
    FILES,
    MERGED,
    RUN_1,
    RUN_2,
    SUMMARIES,
    Corpus,
    answer,
    cause_risk_verdict,
    dag,
    manifest,
    query,
    records,
    summary_verdict,
    table,
)
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from immune_data import recipes
from immune_data.emit import __main__ as emit
from immune_data.read.normalise import normalise


def emitted(corpus: Corpus, folder: Path, **form: Any) -> Path:
    source = corpus.write(folder / "source", **form)
    assert emit.main(["--source", str(source), "--data", str(folder / "out"), "--json"]) == 0
    return folder / "out"


def tables_of(source: Path, folder: Path) -> Path:
    """What stands for an output folder where a test looks at no more than the tables."""
    (folder / "tables").mkdir(parents=True)
    normalise(source, recipes.load("unified-v2"), folder / "tables", None)
    return folder


def as_tables(corpus: Corpus, folder: Path, **form: Any) -> Path:
    return tables_of(corpus.write(folder / "source", **form), folder / "out")


def rejects(out: Path) -> list[tuple[str, int, str, str, str | None]]:
    """(file, row, reason, scope, incident_id) of every reject."""
    return sorted(
        (row["file"], row["row"], row["reason"], row["scope"], row["incident_id"])
        for row in table(out, "rejects")
    )


def all_records(out: Path) -> list[dict[str, Any]]:
    return [*records(out, "train"), *records(out, "eval")]


def assert_every_row_is_accounted_for(out: Path, corpus: Corpus) -> None:
    """read = taken + rejected, from the tables alone, and the rows are those of the files."""
    incidents, judgements = table(out, "incidents"), table(out, "judgements")
    rejected = Counter(r["file"] for r in table(out, "rejects") if r["scope"] == "row")
    actual = {
        SUMMARIES: sum(row["in_summaries"] for row in incidents),
        CAUSE_RISK: sum(row["in_cause_risk"] for row in incidents),
    }
    for file in table(out, "source_files"):
        name = file["file"]
        if name not in actual:
            mine = [row for row in judgements if row["judge_run"] == name]
            actual[name] = len({row["incident_id"] for row in mine})
            assert actual[name] == len({row["row"] for row in mine})
        assert file["rows_read"] == len(corpus.rows[name])
        assert file["rows_rejected"] == rejected[name]
        assert file["rows_read"] == actual[name] + rejected[name], name


# What is wrong with the second row of a file, and the reason it is rejected for.


def _identity(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda row: row.update(fields)


def _without_id(row: dict[str, Any]) -> None:
    del row["incident_id"]


def _deep(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(row: dict[str, Any]) -> None:
        *above, last = path
        for key in above:
            row = row[key]
        row[last] = value

    return change


Change = Callable[[dict[str, Any]], None]
REJECTED: dict[str, tuple[str, Change, str]] = {}
for _name in FILES:
    REJECTED |= {
        f"no id in {_name}": (_name, _without_id, "no_incident_id"),
        f"null as id in {_name}": (_name, _identity(incident_id=None), "no_incident_id"),
        f"empty id in {_name}": (_name, _identity(incident_id=""), "no_incident_id"),
        f"blank id in {_name}": (_name, _identity(incident_id=" \n"), "no_incident_id"),
        f"a number as id in {_name}": (_name, _identity(incident_id=5), "wrong_type"),
        f"an array as id in {_name}": (_name, _identity(incident_id=["a"]), "wrong_type"),
        f"the id of another row in {_name}": (
            _name,
            _identity(incident_id="a"),
            "duplicate_incident",
        ),
    }
for _name, _field in ((SUMMARIES, FIELDS["gpt-4o"][0]), (CAUSE_RISK, FIELDS["gpt-4o"][1])):
    _key = "summary" if _name == SUMMARIES else "risk_assessment"
    REJECTED |= {
        f"{what} in {_name}": (_name, change, "wrong_type")
        for what, change in {
            "a number as category": _identity(category=5),
            "an object as source_ip": _identity(source_ip={}),
            "a number as timewindow": _identity(timewindow=3),
            "an array as timeline": _identity(timeline=["a", "b"]),
            "a text as threat_level": _identity(threat_level="12.5"),
            "a boolean as threat_level": _identity(threat_level=True),
            "a number too large as threat_level": _identity(threat_level=10**400),
            "a text as event_count": _identity(event_count="15"),
            "a boolean as event_count": _identity(event_count=True),
            "a fraction as event_count": _identity(event_count=15.5),
            "a negative event_count": _identity(event_count=-1),
            "an event_count past 64 bits": _identity(event_count=2**63),
            "a large fraction as event_count": _identity(event_count=1e300),
            "an event_count past all floats": _identity(event_count=10**400),
            "a number as dag_analysis": _identity(dag_analysis=1),
            "an array as dag_analysis": _identity(dag_analysis=["a"]),
            "a number as answer": _identity(**{_field: 1}),
            "an array as answer": _identity(**{_field: ["a"]}),
            "a boolean as answer": _identity(**{_field: False}),
            "a number within an answer": _deep(_field, _key, value=5),
            "an object within an answer": _deep(_field, _key, value={"text": "a"}),
        }.items()
    }
REJECTED |= {
    "a blank run too long": (
        CAUSE_RISK,
        _identity(dag_analysis="a" + " " * 1_000_001),
        "not_countable",
    ),
    "scores are null": (RUN_1, _identity(scores=None), "wrong_type"),
    "scores are an array": (RUN_1, _identity(scores=[9, 8]), "wrong_type"),
    "a text as score": (RUN_1, _deep("scores", "gpt-4o", value="9"), "wrong_type"),
    "a boolean as score": (RUN_1, _deep("scores", "gpt-4o", value=True), "wrong_type"),
    "an object as score": (RUN_1, _deep("scores", "gpt-4o", value={"total": 9}), "wrong_type"),
    "an integer too large as score": (
        RUN_1,
        _deep("scores", "gpt-4o", value=10**400),
        "wrong_type",
    ),
    "a score above 10": (RUN_1, _deep("scores", "gpt-4o", value=10.5), "score_out_of_range"),
    "a score below 0": (RUN_1, _deep("scores", "gpt-4o-mini", value=-1), "score_out_of_range"),
    "no scores": (RUN_1, _identity(scores={}), "no_scores"),
    "only null scores": (RUN_1, _identity(scores={"gpt-4o": None}), "no_scores"),
    "only undeclared models": (RUN_1, _identity(scores={"gpt-5": 9}), "no_scores"),
    "rankings are an array": (RUN_1, _identity(rankings=["gpt-4o"]), "wrong_type"),
    "a number as ranked model": (RUN_1, _deep("rankings", "1", value=4), "wrong_type"),
    "a place that is not a number": (
        RUN_1,
        _deep("rankings", "first", value="gpt-4o"),
        "wrong_type",
    ),
    "place zero": (RUN_1, _deep("rankings", "0", value="gpt-4o"), "wrong_type"),
    "a place that is a power": (RUN_1, _deep("rankings", "²", value="gpt-4o"), "wrong_type"),
    "a place of many digits": (RUN_1, _deep("rankings", "9" * 5000, value="gpt-4o"), "wrong_type"),
    "a number as justification": (RUN_1, _identity(justification=5), "wrong_type"),
    "an unknown incident": (RUN_1, _identity(incident_id="nobody"), "unknown_incident"),
    "an unknown incident in the other": (
        CAUSE_RISK_RUN,
        _identity(incident_id="nobody"),
        "unknown_incident",
    ),
    "totals are numbers": (
        CAUSE_RISK_RUN,
        _deep("cause_scores", "gpt-4o", value=20),
        "wrong_type",
    ),
    "no total": (
        CAUSE_RISK_RUN,
        _deep("risk_scores", "gpt-4o", value={"actionability": 9}),
        "wrong_type",
    ),
    "null as total": (
        CAUSE_RISK_RUN,
        _deep("cause_scores", "gpt-4o", "total", value=None),
        "wrong_type",
    ),
    "a text as total": (
        CAUSE_RISK_RUN,
        _deep("cause_scores", "gpt-4o", "total", value="27"),
        "wrong_type",
    ),
    "a total above 30": (
        CAUSE_RISK_RUN,
        _deep("cause_scores", "gpt-4o", "total", value=31),
        "score_out_of_range",
    ),
    "a total below 0": (
        CAUSE_RISK_RUN,
        _deep("risk_scores", "gpt-4o", "total", value=-0.5),
        "score_out_of_range",
    ),
    "a sub-score above 10": (
        CAUSE_RISK_RUN,
        _deep("risk_scores", "gpt-4o", "actionability", value=11),
        "score_out_of_range",
    ),
    "a sub-score below 0": (
        CAUSE_RISK_RUN,
        _deep("cause_scores", "gpt-4o", "evidence_grounding", value=-1),
        "score_out_of_range",
    ),
    "a text as sub-score": (
        CAUSE_RISK_RUN,
        _deep("cause_scores", "gpt-4o", "cause_specificity", value="9"),
        "wrong_type",
    ),
    "no totals": (CAUSE_RISK_RUN, _identity(cause_scores={}, risk_scores={}), "no_scores"),
}


# These once broke the run itself: each has a run of its own.
ALONE = [case for case in REJECTED if "past all floats" in case or "many digits" in case]


def _hopeless(cases: Collection[str]) -> tuple[Corpus, dict[str, tuple[str, int]]]:
    """A corpus with a bad row for each case, between good ones, and where that row is."""
    corpus = Corpus().incident("a")
    corpus.rows[RUN_2].append(summary_verdict("a", {"gpt-4o": 5}))
    places = {}
    for number, case in enumerate(cases):
        name, change, _ = REJECTED[case]
        corpus.incident(f"case {number}", run=RUN_2 if name == RUN_2 else RUN_1)
        change(corpus.rows[name][-1])
        places[case] = (name, len(corpus.rows[name]))
    return corpus.incident("c").incident("d", run=RUN_2), places


def _assert_rejected(out: Path, corpus: Corpus, places: dict[str, tuple[str, int]]) -> None:
    actual = {(row["file"], row["row"]): row for row in table(out, "rejects")}
    for case, (name, at) in places.items():
        row = corpus.rows[name][at - 1]
        incident_id = row.get("incident_id")
        usable = isinstance(incident_id, str) and incident_id.strip()
        reject = actual.pop((name, at))
        assert reject["reason"] == REJECTED[case][2], case
        assert reject["scope"] == "row"
        assert reject["incident_id"] == (incident_id if usable else None)
        assert reject["json"] == json.dumps(row)
        assert reject["detail"]
    assert actual == {}, "more was rejected than is wrong"
    assert len(table(out, "rejects")) == len(places)
    assert_every_row_is_accounted_for(out, corpus)


def test_rows_that_cannot_be_used_are_rejects_and_no_more(tmp_path: Path) -> None:
    corpus, places = _hopeless([case for case in REJECTED if case not in ALONE])
    out = emitted(corpus, tmp_path)
    _assert_rejected(out, corpus, places)
    # Nothing of a rejected row is in a table: what its incident has is from its other rows.
    answered = {(row["incident_id"], row["task"]) for row in table(out, "responses")}
    judged = {(row["incident_id"], row["judge_run"]) for row in table(out, "judgements")}
    for number, (name, _) in enumerate(places.values()):
        incident = f"case {number}"
        assert ((incident, "summary") in answered) == (name != SUMMARIES)
        assert ((incident, "risk") in answered) == (name != CAUSE_RISK)
        assert ((incident, CAUSE_RISK_RUN) in judged) == (name != CAUSE_RISK_RUN)
    assert {"a", "c", "d"} <= {record["incident_id"] for record in all_records(out)}


@pytest.mark.parametrize("case", ALONE)
def test_a_number_past_all_bounds_is_a_reject(case: str, tmp_path: Path) -> None:
    corpus, places = _hopeless([case])
    _assert_rejected(as_tables(corpus, tmp_path), corpus, places)


@pytest.fixture(scope="module")
def repeated_keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """An output folder, and the rows of each file, whose first four hold a key twice."""
    corpus = Corpus().incidents("abcd").incidents("efgh", run=RUN_2).incidents("ij")
    folder = tmp_path_factory.mktemp("repeated")
    source = corpus.write(folder / "source")
    of_files = {}
    for name in FILES:
        of_files[name] = rows = [json.dumps(row) for row in corpus.rows[name]]
        inner = {SUMMARIES: "summary", CAUSE_RISK: "risk_assessment"}.get(name, "gpt-4o")
        rows[0] = rows[0][:-1] + ', "category": "x", "category": "y"}'
        rows[1] = rows[1][:-1] + ', "junk": [{"deep": {"k": 1, "k": 1}}]}'
        rows[2] = rows[2].replace(f'"{inner}":', f'"{inner}": null, "{inner}":')
        rows[3] = '{"incident_id": "z", ' + rows[3][1:]
        (source / name).write_text("[" + ", ".join(rows) + "]")
    return tables_of(source, folder / "out"), of_files


@pytest.mark.parametrize("name", FILES)
def test_a_key_held_twice_rejects_its_row(
    name: str, repeated_keys: tuple[Path, dict[str, list[str]]]
) -> None:
    out, of_files = repeated_keys
    mine = [row for row in table(out, "rejects") if row["file"] == name]
    assert [(row["row"], row["reason"], row["scope"], row["json"]) for row in mine] == [
        (at, "repeated_key", "row", of_files[name][at - 1]) for at in (1, 2, 3, 4)
    ]


def test_the_row_is_kept_as_it_stands_in_the_file(tmp_path: Path) -> None:
    source = Corpus().incidents("ab").write(tmp_path / "source")
    row = '{ "incident_id" :5,\n\t"a":1.50, "b": "\\u00e9 é \\/" , "c": 1E3,"d":{ } }'
    text = json.dumps(Corpus().incidents("ab").rows[CAUSE_RISK])
    (source / CAUSE_RISK).write_text(f"{text[:-1]} ,\n {row}\n]\n", encoding="utf-8")
    out = tables_of(source, tmp_path / "out")
    assert [(r["row"], r["json"]) for r in table(out, "rejects")] == [(3, row)]


# Duplicates, spellings, undeclared models


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The records of two incidents that are there once."""
    return all_records(emitted(_of_both_runs(), tmp_path_factory.mktemp("once")))


def _of_both_runs() -> Corpus:
    return Corpus().incident("a").incident("b", run=RUN_2)


def _again(name: str, first: dict[str, Any]) -> dict[str, Any]:
    """A row of a file that says something else of the same incident."""
    again = copy.deepcopy(first)
    if name in DATASETS:
        again["source_ip"] = "10.9.9.9"
        again["dag_analysis"] = "another DAG\n"
        for fields in FIELDS.values():
            field = fields[name == CAUSE_RISK]
            again[field] = dict.fromkeys(again[field], "another text")
    elif name == CAUSE_RISK_RUN:
        again["cause_scores"] = {"gpt-4o-mini": {"total": 30}}
    else:
        again["scores"] = {"gpt-4o-mini": 10}
    return again


def test_of_an_incident_that_is_there_twice_the_first_row_stands(
    once: list[dict[str, Any]], tmp_path: Path
) -> None:
    """In each file: what stood instead would show, as no row says what another one does."""
    corpus = _of_both_runs()
    expected = []
    for name in FILES:
        rows = corpus.rows[name]
        first = rows[0]
        rows += [_again(name, first)] * 2
        expected += [
            (name, at, "duplicate_incident", "row", first["incident_id"])
            for at in (len(rows) - 1, len(rows))
        ]
    out = emitted(corpus, tmp_path / "twice")
    assert rejects(out) == sorted(expected)
    assert all_records(out) == once
    assert_every_row_is_accounted_for(out, corpus)


def test_a_row_that_was_rejected_does_not_stand(tmp_path: Path) -> None:
    corpus = Corpus().incident("a").incident("b")
    for name in (SUMMARIES, CAUSE_RISK, RUN_1, CAUSE_RISK_RUN):
        broken = copy.deepcopy(corpus.rows[name][0])
        broken |= {"scores": None, "cause_scores": None, "category": 5}
        corpus.rows[name].insert(0, broken)
    out = emitted(corpus, tmp_path)
    assert [row[1:4] for row in rejects(out)] == [(1, "wrong_type", "row")] * 4
    assert {record["incident_id"] for record in all_records(out)} == {"a", "b"}


def test_a_reject_elsewhere_does_not_make_a_judged_incident_known(tmp_path: Path) -> None:
    corpus = Corpus().incidents("abc")
    for name in DATASETS:
        corpus.rows[name][1]["category"] = 5
    out = as_tables(corpus, tmp_path)
    assert rejects(out) == sorted(
        [
            (SUMMARIES, 2, "wrong_type", "row", "b"),
            (CAUSE_RISK, 2, "wrong_type", "row", "b"),
            (RUN_1, 2, "unknown_incident", "row", "b"),
            (CAUSE_RISK_RUN, 2, "unknown_incident", "row", "b"),
        ]
    )


def test_an_incident_of_one_dataset_is_known(tmp_path: Path) -> None:
    corpus = Corpus().incidents("ab")
    corpus.incident("c", datasets=[SUMMARIES]).incident("d", datasets=[CAUSE_RISK])
    out = emitted(corpus, tmp_path)
    assert rejects(out) == []
    judged = {(row["incident_id"], row["task"]) for row in table(out, "judgements")}
    assert {("c", "cause"), ("d", "summary")} <= judged
    assert query(out, "select incident_id from pool order by all") == [("a",), ("b",)]


def test_undeclared_models_cost_their_entries_and_one_reject_a_row(
    once: list[dict[str, Any]], tmp_path: Path
) -> None:
    corpus = _of_both_runs()
    corpus.rows[SUMMARIES][0] |= {
        "llm_gpt_5_analysis": {"summary": "x", "behavior_analysis": "y"},
        "llm_claude_analysis": {"summary": "z"},
    }
    corpus.rows[CAUSE_RISK][1]["cause_risk_gpt_5"] = {"risk_assessment": "x"}
    corpus.rows[RUN_1][0]["scores"] = {"gpt-5": 10, "GPT4o": 10, **corpus.rows[RUN_1][0]["scores"]}
    corpus.rows[RUN_1][0]["rankings"] = {"1": "gpt-5", "2": "gpt-4o"}
    totals = {"gpt-5": {"total": 30}, "GPT 4o": {"total": 99, "actionability": -5}}
    corpus.rows[CAUSE_RISK_RUN][1]["cause_scores"] |= totals
    corpus.rows[CAUSE_RISK_RUN][1]["risk_scores"] |= totals
    out = emitted(corpus, tmp_path / "more")
    assert rejects(out) == sorted(
        [
            (SUMMARIES, 1, "undeclared_model", "entry", "a"),
            (CAUSE_RISK, 2, "undeclared_model", "entry", "b"),
            (RUN_1, 1, "undeclared_model", "entry", "a"),
            (CAUSE_RISK_RUN, 2, "undeclared_model", "entry", "b"),
        ]
    )
    named = {row["file"]: row["detail"] for row in table(out, "rejects")}
    assert "llm_gpt_5_analysis" in named[SUMMARIES]
    assert "llm_claude_analysis" in named[SUMMARIES]
    assert "GPT4o" in named[RUN_1]
    for row in table(out, "rejects"):
        assert json.loads(row["json"]) == corpus.rows[row["file"]][row["row"] - 1]
    assert all_records(out) == once
    assert {row["rows_rejected"] for row in table(out, "source_files")} == {0}
    # The position in the record is that of the key as it stands, undeclared ones counted.
    position = {
        row["model"]: row["position"]
        for row in table(out, "judgements")
        if (row["incident_id"], row["task"]) == ("a", "summary")
    }
    assert position["gpt-4o"] == 3


def test_fields_that_hold_no_answers_are_no_models(tmp_path: Path) -> None:
    corpus = Corpus().incidents("ab")
    for name in DATASETS:
        corpus.rows[name][0] |= {"note": {"text": "x"}, "tags": ["summary"], "summary": "bare"}
    assert rejects(as_tables(corpus, tmp_path)) == []


def test_of_two_spellings_of_a_model_the_first_stands(tmp_path: Path) -> None:
    corpus = Corpus().incident("b")
    corpus.incident(
        "a",
        summary_scores={"gpt-4o": 5, "GPT-4o": 10, "gpt-4o-mini": 7, "GPT-4o-mini": 3},
        cause={"Qwen2.5": 20, "gpt-4o": 25, "Qwen2.5 1.5B": 30},
        risk={"Qwen2.5 1.5B": 20, "gpt-4o": 25},
        rankings={"1": "gpt-4o"},
    )
    out = emitted(corpus, tmp_path)
    assert rejects(out) == sorted(
        [
            (RUN_1, 2, "repeated_model", "entry", "a"),
            (CAUSE_RISK_RUN, 2, "repeated_model", "entry", "a"),
        ]
    )
    scores = {
        (row["task"], row["model"]): row["score"]
        for row in table(out, "judgements")
        if row["incident_id"] == "a"
    }
    assert scores == {
        ("summary", "gpt-4o"): 5,
        ("summary", "gpt-4o-mini"): 7,
        ("cause", "qwen2.5-1.5b"): 20,
        ("cause", "gpt-4o"): 25,
        ("risk", "qwen2.5-1.5b"): 20,
        ("risk", "gpt-4o"): 25,
    }
    won = {r["task"]: r["model"] for r in all_records(out) if r["incident_id"] == "a"}
    assert won == {"summary": "gpt-4o-mini", "cause": "gpt-4o", "risk": "gpt-4o"}


def test_a_row_may_lose_entries_for_two_reasons(tmp_path: Path) -> None:
    scores = {"gpt-4o": 9, "GPT-4o": 8, "gpt-5": 7, "gpt-6": 6}
    corpus = Corpus().incident("a", summary_scores=scores).incident("b")
    corpus.rows[RUN_1][0]["rankings"] = {"1": "gpt-4o"}
    out = as_tables(corpus, tmp_path)
    assert rejects(out) == [
        (RUN_1, 1, "repeated_model", "entry", "a"),
        (RUN_1, 1, "undeclared_model", "entry", "a"),
    ]
    assert_every_row_is_accounted_for(out, corpus)


def test_a_null_score_is_no_verdict_and_no_reject(tmp_path: Path) -> None:
    corpus = Corpus().incident("a", summary_scores={"gpt-4o": None, "gpt-4o-mini": 8})
    corpus.incident("b", cause={"gpt-4o": None, "gpt-4o-mini": 20}, risk={"gpt-4o-mini": 20})
    out = emitted(corpus, tmp_path)
    assert rejects(out) == []
    won = {(r["incident_id"], r["task"]): r["model"] for r in all_records(out)}
    assert won["a", "summary"] == won["b", "cause"] == won["b", "risk"] == "gpt-4o-mini"


def test_the_run_says_how_many_rejects_there_were_by_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = Corpus().incidents("abcdef")
    corpus.rows[SUMMARIES] += [{"incident_id": None}, {}, {"incident_id": "a"}]
    corpus.rows[RUN_1] += [summary_verdict(x, {"gpt-4o": 5}) for x in ("x", "y", "z")]
    corpus.rows[CAUSE_RISK_RUN][0]["cause_scores"]["gpt-5"] = {"total": 3}
    corpus.rows[CAUSE_RISK_RUN][1]["cause_scores"]["gpt-6"] = {"total": 3}
    source = corpus.write(tmp_path / "source")
    assert emit.main(["--source", str(source), "--data", str(tmp_path / "out")]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "rejected" in line]
    assert len(lines) == 4
    for number, name, reason in (
        (2, SUMMARIES, "no_incident_id"),
        (1, SUMMARIES, "duplicate_incident"),
        (3, RUN_1, "unknown_incident"),
        (2, CAUSE_RISK_RUN, "undeclared_model"),
    ):
        line = next(line for line in lines if name in line and reason in line)
        assert f" {number} " in line
    counted = {
        (row["file"], row["reason"]): row["rejects"]
        for row in manifest(tmp_path / "out")["counts"]["rejects"]
    }
    assert counted[RUN_1, "unknown_incident"] == 3
    assert sum(counted.values()) == len(table(tmp_path / "out", "rejects")) == 8


# Precedence


def test_the_dag_of_the_risk_dataset_is_used_where_there_is_one(tmp_path: Path) -> None:
    corpus = Corpus().incident("a", summary_dag="").incident("b", summary_dag=None)
    for incident, missing in (("c", None), ("d", ...), ("e", ""), ("f", " \n\t")):
        corpus.incident(incident, summary_dag="")
        row = corpus.rows[CAUSE_RISK][-1]
        if missing is ...:
            del row["dag_analysis"]
        else:
            row["dag_analysis"] = missing
    corpus.incident("g", dag=None, summary_dag=None)
    out = emitted(corpus, tmp_path)
    assert rejects(out) == []
    evidence = {
        r["incident_id"]: r["messages"][1]["content"]
        for r in all_records(out)
        if r["task"] == "summary"
    }
    assert evidence == {
        "a": dag("a"),
        "b": dag("b"),
        **{incident: dag(incident, "summaries") for incident in "cdef"},
    }
    actual = Counter((row["incident_id"], row["dataset"]) for row in table(out, "dags"))
    assert actual["a", "cause_risk"] == actual["a", "summaries"] == 1
    assert ("f", "cause_risk") not in actual


def test_facts_come_from_the_risk_dataset_where_it_has_them(tmp_path: Path) -> None:
    facts = {
        "category": "Malware",
        "source_ip": "10.0.0.1",
        "timewindow": "7",
        "timeline": "x to y",
        "threat_level": 20.0,
        "event_count": 40,
    }
    others = {
        "category": "Normal",
        "source_ip": "10.0.0.2",
        "timewindow": "8",
        "timeline": "v to w",
        "threat_level": 1.0,
        "event_count": 2,
    }
    corpus = Corpus().incident("a", facts=facts, summary_facts=others)
    corpus.incident("b", facts=dict.fromkeys(facts), summary_facts=others)
    corpus.incident("c", facts=facts, summary_facts=dict.fromkeys(facts))
    corpus.incident("d", facts=dict.fromkeys(facts))
    out = emitted(corpus, tmp_path)
    actual = {row.pop("incident_id"): row for row in table(out, "incidents")}
    held = {"in_summaries": True, "in_cause_risk": True}
    assert actual["a"] == actual["c"] == {**facts, **held}
    assert actual["b"] == {**others, **held}
    assert actual["d"] == {**dict.fromkeys(facts), **held}
    asked = {
        r["incident_id"]: r["messages"][0]["content"]
        for r in all_records(out)
        if r["task"] == "risk"
    }
    assert "Source IP: 10.0.0.1\n" in asked["a"]
    assert "Source IP: 10.0.0.2\n" in asked["b"]
    assert "Events: 40\n" in asked["c"]
    assert "None" not in asked["d"]
    assert "null" not in asked["d"]


def test_an_earlier_run_stands_and_a_later_one_adds(tmp_path: Path) -> None:
    corpus = Corpus().incident("a", summary_scores={"gpt-4o": 6, "gpt-4o-mini": 5})
    corpus.rows[RUN_2] += [
        summary_verdict("a", {"gpt-4o": 1, "gpt-4o-mini": 10}),
        summary_verdict("b", {"gpt-4o": 2, "gpt-4o-mini": 9}),
    ]
    corpus.incident("b", summary_scores=None)
    out = emitted(corpus, tmp_path)
    assert rejects(out) == []
    won = {
        r["incident_id"]: (r["model"], r["score"])
        for r in all_records(out)
        if r["task"] == "summary"
    }
    assert won == {"a": ("gpt-4o", 6), "b": ("gpt-4o-mini", 9)}
    kept = Counter((r["incident_id"], r["judge_run"]) for r in table(out, "judgements"))
    assert kept["a", RUN_2] == 2  # kept in the table, though it does not count
    runs = {(r["judge_run"], r["task"]): r["incidents"] for r in table(out, "judge_runs")}
    assert runs[RUN_1, "summary"] == 1
    assert runs[RUN_2, "summary"] == 2
    assert runs[CAUSE_RISK_RUN, "cause"] == runs[CAUSE_RISK_RUN, "risk"] == 2


def test_a_merged_file_stands_instead_of_the_two_runs(tmp_path: Path) -> None:
    two = Corpus().incidents("abc").incidents("de", run=RUN_2)
    one = Corpus().incidents("abcde", run=MERGED)
    merged = emitted(one, tmp_path / "one")
    assert not (tmp_path / "one" / "source" / RUN_1).exists()
    assert all_records(merged) == all_records(emitted(two, tmp_path / "two"))
    assert MERGED in {row["judge_run"] for row in table(merged, "judgements")}
    gzipped = as_tables(one, tmp_path / "gzipped", gzipped={MERGED})
    for name in ("incidents", "dags", "responses", "judgements"):
        assert table(gzipped, name) == table(merged, name)


@pytest.mark.parametrize("beside", [RUN_1, RUN_2])
def test_a_merged_file_beside_a_run_is_an_error(
    beside: str, tmp_path: Path, standing_out: Path, refused: Callable[..., str]
) -> None:
    source = Corpus().incident("a", run=MERGED).incident("b", run=beside).write(tmp_path / "s")
    if beside == RUN_2:
        (source / RUN_1).unlink(missing_ok=True)
    message = refused(emit.main, "--source", source, "--data", standing_out)
    assert str(source / MERGED) in message
    assert str(source / beside) in message


def test_justifications_are_kept(tmp_path: Path) -> None:
    corpus = Corpus().incidents("ab")
    corpus.rows[CAUSE_RISK_RUN][1] |= {
        "justification": "both",
        "cause_justification": "",
        "risk_justification": "of the risk",
    }
    out = as_tables(corpus, tmp_path)
    actual = {(r["incident_id"], r["task"]): r["text"] for r in table(out, "justifications")}
    assert actual == {
        ("a", "summary"): "The first is clearest on a.",
        ("b", "summary"): "The first is clearest on b.",
        ("a", "cause"): "The first is most specific on a.",
        ("b", "cause"): "both",
        ("b", "risk"): "of the risk",
    }


def test_answers_stand_in_the_table_with_their_lengths(tmp_path: Path) -> None:
    text = "é𝄞 risk:\u00a0low\u2003and \U0001f600 HIGH"
    corpus = Corpus().incident("a", answers={"qwen2.5-3b": {"risk": text}}).incident("b")
    out = as_tables(corpus, tmp_path)
    actual = next(row for row in table(out, "responses") if row["text"] == text)
    assert (actual["incident_id"], actual["task"], actual["model"]) == ("a", "risk", "qwen2.5-3b")
    assert (actual["chars"], actual["words"]) == (len(text), 6)
    assert actual["risk_level"] == "Low"
    assert len(table(out, "responses")) == 2 * 3 * 4
    other = answer("cause", "b", "gpt-4o")
    actual = next(row for row in table(out, "responses") if row["text"] == other)
    assert (actual["chars"], actual["words"]) == (len(other), 80)
    assert actual["risk_level"] is None


# The law

SCALARS = st.sampled_from(
    [
        *(None, True, 0, 1, 5, 9.5, 10, 11, 14, 15.0, -1, 1e308, 10**30, "", " ", "a", "b"),
        *("gpt-4o", "GPT-4o", "Qwen2.5", "gpt-5", "x\0y", "\u200b", [], ["a"], {}),
        *({"summary": "s"}, {"cause_analysis": "High risk", "x": 1}),
        *({"total": 20}, {"total": 20, "actionability": 4}, {"total": 31}),
    ]
)
KEYS = st.sampled_from(
    [
        *("incident_id", "category", "threat_level", "event_count", "dag_analysis", "scores"),
        *("rankings", "cause_scores", "risk_scores", "justification", "unknown"),
        *(field for fields in FIELDS.values() for field in fields),
    ]
)
INNER = st.dictionaries(
    st.sampled_from(["gpt-4o", "GPT-4o", "gpt-4o-mini", "gpt-5", "1", "2", "summary", "total"]),
    SCALARS,
    max_size=4,
)
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(FILES),
        st.integers(0, 5),
        st.sampled_from(["set", "set", "remove", "inner", "repeat", "junk", "id"]),
        KEYS,
        SCALARS,
        INNER,
    ),
    max_size=12,
)


@given(changes=CHANGES)
@examples(20, suppress_health_check=list(HealthCheck))
def test_read_is_taken_plus_rejected(changes: list[tuple[Any, ...]]) -> None:
    corpus = Corpus().incidents("abcd").incidents("ef", run=RUN_2)
    for name, at, kind, key, value, inner in changes:
        rows = corpus.rows[name]
        row = rows[at % len(rows)]
        match kind:
            case "set":
                row[key] = copy.deepcopy(value)
            case "remove":
                row.pop(key, None)
            case "inner":
                row[key] = copy.deepcopy(inner)
            case "repeat":
                rows.append(copy.deepcopy(row))
            case "junk":
                rows.insert(at % len(rows), {key: copy.deepcopy(value)})
            case "id":
                row["incident_id"] = "abcdefxyz"[at]
    with tempfile.TemporaryDirectory() as folder:
        out = emitted(corpus, Path(folder))
        assert_every_row_is_accounted_for(out, corpus)
        for reject in table(out, "rejects"):
            # The text is the row's own; what is rejected whole left nothing in the tables.
            assert reject["json"] == json.dumps(corpus.rows[reject["file"]][reject["row"] - 1])
        for judgement in table(out, "judgements"):
            row = corpus.rows[judgement["judge_run"]][judgement["row"] - 1]
            assert row["incident_id"] == judgement["incident_id"]
        for task in ("summary", "cause", "risk"):
            mine = [r for r in all_records(out) if r["task"] == task and r["origin"] == "unified"]
            assert len({r["incident_id"] for r in mine}) == len(mine)


def test_the_sample_and_the_real_set_lose_no_row(
    sample_out: Callable[[str], Path], real_out: Callable[[str], Path]
) -> None:
    for out in (sample_out("unified-v2"), real_out("unified-v2")):
        read = {row["file"]: row["rows_read"] for row in table(out, "source_files")}
        incidents = table(out, "incidents")
        assert read[SUMMARIES] == sum(row["in_summaries"] for row in incidents)
        assert read[CAUSE_RISK] == sum(row["in_cause_risk"] for row in incidents)
        runs = {row["judge_run"]: row["incidents"] for row in table(out, "judge_runs")}
        assert runs.items() <= read.items()
        assert table(out, "rejects") == []


def test_a_cause_and_risk_verdict_may_lack_one_half(tmp_path: Path) -> None:
    corpus = Corpus().incidents("ab").incident("c", risk=None).incident("d", cause=None)
    corpus.rows[CAUSE_RISK_RUN].append(cause_risk_verdict("a", None, {"gpt-4o": 20}))
    out = emitted(corpus, tmp_path)
    assert rejects(out) == [(CAUSE_RISK_RUN, 5, "duplicate_incident", "row", "a")]
    assert query(out, "select incident_id from pool order by all") == [("a",), ("b",)]
    runs = {row["task"]: row["incidents"] for row in table(out, "judge_runs")}
    assert (runs["cause"], runs["risk"]) == (3, 3)
