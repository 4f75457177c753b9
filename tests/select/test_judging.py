"""Several judge runs and a margin (rule 16): what an answer's score is, and who wins by it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pytest
from corpus import CAUSE_RISK_RUN, RUN_1, RUN_2, Corpus, query, records, summary_verdict
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from judged import judged, with_calls

from immune_data import recipes
from immune_data.emit.__main__ import emit
from immune_data.select import steps
from immune_data.why import __main__ as why

# By hand: what two runs say, and the winner and its score by the first run and by the mean.

BOTH = {
    "the mean turns it round": (
        {"gpt-4o": 9, "gpt-4o-mini": 8},
        {"gpt-4o": 5, "gpt-4o-mini": 8},
        ("gpt-4o", 9),
        ("gpt-4o-mini", 8),
    ),
    "only the first judged": (
        {"gpt-4o": 6, "gpt-4o-mini": 7},
        None,
        ("gpt-4o-mini", 7),
        ("gpt-4o-mini", 7),
    ),
    "only the second judged": (
        None,
        {"gpt-4o": 6, "gpt-4o-mini": 7.5},
        ("gpt-4o-mini", 7.5),
        ("gpt-4o-mini", 7.5),
    ),
    "an answer of one run has that run's score": (
        {"gpt-4o": 8, "gpt-4o-mini": 6},
        {"gpt-4o": 4, "qwen2.5-3b": 7},
        ("gpt-4o", 8),
        ("qwen2.5-3b", 7),
    ),
    "equal means go by the first run's keys": (
        {"gpt-4o-mini": 5, "gpt-4o": 8},
        {"gpt-4o": 5, "gpt-4o-mini": 8},
        ("gpt-4o", 8),
        ("gpt-4o-mini", 6.5),
    ),
}


def of_two_runs() -> Corpus:
    sources = Corpus().incidents(f"more {i}" for i in range(4))
    for incident, (first, second, *_) in BOTH.items():
        sources.incident(incident, summary_scores=first)
        if second is not None:
            sources.rows[RUN_2].append(summary_verdict(incident, second))
    return sources


def recipe(folder: Path, text: str, name: str = "ours", base: str = "unified-v2") -> str:
    path = folder / f"{name}.toml"
    path.write_text(f'extends = "{base}"\n{text}')
    return str(path)


def summaries(out: Path, name: str) -> dict[str, tuple[str, float]]:
    """The model and score of each incident's summary record."""
    return {
        record["incident_id"]: (record["model"], record["score"])
        for split in ("train", "eval")
        for record in records(out, split, name)
        if record["task"] == "summary"
    }


def test_a_score_is_that_of_the_first_run_or_the_mean_of_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = of_two_runs().write(tmp_path / "source"), tmp_path / "out"
    mean = recipe(tmp_path, '[judging]\ncombine = "mean"\n')
    for name in ("unified-v2", mean):
        emit(source, out, recipes.load(name))
    first, of_all = summaries(out, "unified-v2"), summaries(out, "ours")
    for incident, (*_, by_first, by_mean) in BOTH.items():
        assert (first[incident], of_all[incident]) == (by_first, by_mean), incident
    assert query(out, "select count(*) from candidates where runs > 1") == [(0,)]
    rows = query(
        out,
        "select model, runs, judge_run from candidates where task = 'summary' and "
        "incident_id = 'an answer of one run has that run''s score' order by place",
        "ours",
    )
    assert rows == [
        *[("qwen2.5-3b", 1, RUN_2), ("gpt-4o", 2, RUN_1), ("gpt-4o-mini", 1, RUN_1)],
        *[(name, None, None) for name in ("qwen2.5-1.5b",)],
    ]
    capsys.readouterr()
    assert why.main(["the mean", "--data", str(out), "--recipe", mean]) == 0
    output = capsys.readouterr().out
    assert output.count("one of 2, whose mean is 7\n") == 2
    assert output.count("one of 2, whose mean is 8\n") == 2
    assert "an earlier run stands" not in output
    assert why.main(["the mean", "--data", str(out)]) == 0
    assert "an earlier run stands" in capsys.readouterr().out


def test_a_winner_leads_by_the_margin_or_is_the_first_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = Corpus().incidents(f"more {i}" for i in range(4))
    cases = {
        "by less": ({"gpt-4o-mini": 7.5, "gpt-4o": 8, "qwen2.5-3b": 7}, "gpt-4o-mini"),
        "by so much": ({"gpt-4o-mini": 7, "gpt-4o": 8, "qwen2.5-3b": 7}, "gpt-4o"),
        "first and best": ({"gpt-4o": 8, "gpt-4o-mini": 7.5}, "gpt-4o"),
        "a tie": ({"gpt-4o-mini": 8, "gpt-4o": 8}, "gpt-4o-mini"),
        "a chain": ({"qwen2.5-3b": 7, "gpt-4o-mini": 7.5, "gpt-4o": 8.25}, "gpt-4o-mini"),
    }
    for incident, (scores, _) in cases.items():
        sources.incident(incident, summary_scores=scores)
    source, out = sources.write(tmp_path / "source"), tmp_path / "out"
    ours = recipe(tmp_path, "[judging]\nmargin = 1\n")
    for name in ("unified-v2", ours):
        emit(source, out, recipes.load(name))
    result = summaries(out, "ours")
    assert {case: result[case][0] for case in cases} == {k: won for k, (_, won) in cases.items()}
    assert summaries(out, "unified-v2")["by less"] == ("gpt-4o", 8)

    def remark(incident: str) -> str:
        capsys.readouterr()
        assert why.main([incident, "--data", str(out), "--recipe", ours]) == 0
        choice = capsys.readouterr().out.partition("\nchoice\n")[2]
        [line] = [line for line in choice.split("\n") if line.startswith("  summary ")]
        return " ".join(line.split())

    decided = "less than the margin 1, decided by the order of the judge's scores"
    assert remark("by less") == f"summary gpt-4o-mini 7.5 -0.5 gpt-4o behind by {decided}"
    assert remark("first and best") == f"summary gpt-4o 8 0.5 gpt-4o-mini a lead of {decided}"
    assert remark("by so much").endswith("1 gpt-4o-mini")
    assert remark("a tie").endswith("a tie, decided by the order of the judge's scores")


def test_causes_have_a_margin_too_and_the_judge_s_ranking_has_none(tmp_path: Path) -> None:
    cause = {"gpt-4o-mini": 24, "gpt-4o": 25}
    sources = Corpus().incidents("abcd", cause=cause, risk={"gpt-4o-mini": 20, "gpt-4o": 22})
    source, out = sources.write(tmp_path / "source"), tmp_path / "out"
    text = "[judging]\nmargin = 1.5\n[records]\naugmentation = 'none'\n"
    emit(source, out, recipes.load(recipe(tmp_path, text)))
    rows = query(out, "select distinct task, model, lead from best_responses", "ours")
    assert {("cause", "gpt-4o-mini", -1), ("risk", "gpt-4o-mini", -1)} < set(rows)
    # Rule 8: the standalone dataset takes the first of the ranking.
    assert query(out, "select distinct cause_model from risk_gates", "ours") == [("gpt-4o",)]


def test_the_mean_of_rankings_ranks_the_standalone_dataset(tmp_path: Path) -> None:
    sources = Corpus().incidents("abcd")
    other = [dict(row) for row in sources.rows[CAUSE_RISK_RUN]]
    for row in sources.rows[CAUSE_RISK_RUN]:
        row["rankings"] = {"1": "gpt-4o", "2": "gpt-4o-mini", "3": "qwen2.5-3b"}
    for row in other:
        row["rankings"] = {"1": "qwen2.5-1.5b", "2": "gpt-4o-mini", "4": "gpt-4o"}
    sources.rows["other.json"] = other
    runs = "".join(
        f"[[sources.judge_runs]]\nfile = '{file}'\njudges = '{judges}'\njudge = 'j'\n"
        "provider = 'p'\n"
        for file, judges in (
            (RUN_1, "summary"),
            (CAUSE_RISK_RUN, "cause_risk"),
            ("other.json", "cause_risk"),
        )
    )
    source, out = sources.write(tmp_path / "source"), tmp_path / "out"
    for combine in ("first", "mean"):
        text = f"[judging]\ncombine = '{combine}'\n{runs}"
        emit(source, out, recipes.load(recipe(tmp_path, text, combine)))
    ranks = "select model, rank from candidates where incident_id = 'a' and task = 'cause'"
    assert dict(query(out, ranks, "first")) == {
        **{"gpt-4o": 1, "gpt-4o-mini": 2, "qwen2.5-3b": 3, "qwen2.5-1.5b": None}
    }
    # The means are 2.5, 2, 3 and 1.
    assert dict(query(out, ranks, "mean")) == {
        **{"qwen2.5-1.5b": 1, "gpt-4o-mini": 2, "gpt-4o": 3, "qwen2.5-3b": 4}
    }
    risk = "select distinct cause_model from risk_gates"
    assert query(out, risk, "first") == [("gpt-4o",)]
    assert query(out, risk, "mean") == [("qwen2.5-1.5b",)]


# By a plain reading of the rule, on verdicts drawn at random.

MODELS = ("a", "b", "c", "d")
TABLES = """
create table settings (judging_combine varchar, judging_margin double);
create table judge_runs (judge_run varchar, task varchar, precedence bigint);
create table judgements (
    incident_id varchar, task varchar, model varchar, judge_run varchar, row bigint,
    position bigint, score double, rank bigint, calls bigint, spread double
);
create table cleaning (
    incident_id varchar, task varchar, model varchar, rule varchar, effect varchar
);
create table cleaned (
    incident_id varchar, task varchar, model varchar, tokens bigint, words bigint, chars bigint,
    risk_level varchar
);
create table responses as select * from cleaned;
create table gate_limits (
    dataset varchar, task varchar, measure varchar, unit varchar, least double, most double
);
"""


@pytest.fixture(scope="module")
def tables() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(TABLES)
        yield connection


Run = dict[str, dict[str, int]]  # incident: model: score in twelfths, in the order of the keys


@st.composite
def runs(draw: st.DrawFn) -> list[Run]:
    scores = st.lists(
        st.tuples(st.sampled_from(MODELS), st.integers(0, 40)), min_size=1, unique_by=lambda x: x[0]
    ).map(dict)
    return draw(st.lists(st.dictionaries(st.sampled_from("xyz"), scores), min_size=1, max_size=3))


def by_hand(judge_runs: list[Run], combine: str, margin: float) -> dict[str, list[tuple]]:
    """By incident (model, score) in the order of places."""
    actual = {}
    for incident in sorted({incident for run in judge_runs for incident in run}):
        of = [run[incident] for run in judge_runs if incident in run]
        of = of[:1] if combine == "first" else of
        scores: dict[str, Fraction] = {}
        for name in dict.fromkeys(name for run in of for name in run):
            said = [Fraction(run[name], 12) for run in of if name in run]
            scores[name] = sum(said) / len(said)
        keys = list(scores)
        best = max(scores.values())
        close = [name for name in keys if scores[name] == best or best - scores[name] < margin]
        rest = sorted(
            (name for name in keys if name not in close),
            key=lambda name: (-scores[name], keys.index(name)),
        )
        actual[incident] = [(name, scores[name]) for name in [*close, *rest]]
    return actual


@examples(150)
@given(
    runs(),
    st.sampled_from(["first", "mean"]),
    st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.5]),
)
def test_places_are_as_the_rule_says(
    tables: duckdb.DuckDBPyConnection, judge_runs: list[Run], combine: str, margin: float
) -> None:
    fill(tables, judge_runs, combine, margin)
    actual: dict[str, list[tuple]] = {}
    for row in candidates(tables):
        actual.setdefault(row["incident_id"], []).append((row["model"], row["score"]))
    expected = by_hand(judge_runs, combine, margin)
    assert {k: [name for name, _ in v] for k, v in actual.items()} == {
        k: [name for name, _ in v] for k, v in expected.items()
    }
    for incident, of in actual.items():
        assert [score for _, score in of] == pytest.approx(
            [float(score) for _, score in expected[incident]], abs=1e-8
        )


def fill(
    tables: duckdb.DuckDBPyConnection,
    judge_runs: list[Run],
    combine: str = "mean",
    margin: float = 0.0,
    noted: Mapping[str, tuple[int, float | None]] | None = None,
) -> None:
    """Put the runs into the tables, with the calls and spread of each run's answers."""
    tables.execute("delete from settings; delete from judge_runs; delete from judgements")
    tables.execute("insert into settings values (?, ?)", [combine, margin])
    for number, run in enumerate(judge_runs, start=1):
        name = f"run {number}"
        tables.execute("insert into judge_runs values (?, 'summary', ?)", [name, number])
        for row, (incident, scores) in enumerate(run.items(), start=1):
            for position, (model, score) in enumerate(scores.items(), start=1):
                calls, spread = (noted or {}).get(f"{name} {model}", (None, None))
                tables.execute(
                    "insert into judgements values (?, 'summary', ?, ?, ?, ?, ?, null, ?, ?)",
                    [incident, model, name, row, position, score / 12, calls, spread],
                )


def candidates(tables: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    rows = tables.execute(steps.text("pipeline/04_candidates.sql"))
    columns = [column for column, *_ in rows.description]
    return [dict(zip(columns, row, strict=True)) for row in rows.fetchall()]


def test_a_standard_error_is_of_the_noise_of_the_runs(tables: duckdb.DuckDBPyConnection) -> None:
    both = [{"x": {"a": 60, "b": 48}}, {"x": {"a": 72, "b": 36}}]
    actual = {
        **{"run 1 a": (4, 1.0), "run 1 b": (4, 0.5)},
        **{"run 2 a": (2, 1.0), "run 2 b": (1, None)},
    }
    noise = (3 * 1.0**2 + 3 * 0.5**2) / 6  # of the first run, squared; of the second it is 1

    def errors() -> dict[str, float | None]:
        return {row["model"]: row["standard_error"] for row in candidates(tables)}

    fill(tables, both, "first", noted=actual)
    assert errors() == {name: pytest.approx(math.sqrt(noise / 4), abs=1e-6) for name in "ab"}
    fill(tables, both, "mean", noted=actual)
    assert errors() == {
        "a": pytest.approx(math.sqrt(noise / 4 + 1 / 2) / 2, abs=1e-6),
        "b": pytest.approx(math.sqrt(noise / 4 + 1) / 2, abs=1e-6),
    }
    # Of a run that does not say how often it asked, nothing is known.
    fill(tables, both, "mean", noted={k: v for k, v in actual.items() if "run 1" in k})
    assert errors() == {"a": None, "b": None}


def test_a_lead_within_the_judge_s_noise_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(4)
    sources = Corpus().incidents("abcdefgh")
    sources.rows[RUN_1] = [judged(row, chance, noise=0.7) for row in sources.rows[RUN_1]]
    close = {name: [4, 4, 4, 4] for name in ("qwen2.5-3b", "qwen2.5-1.5b")}
    close |= {"gpt-4o": [8, 7, 9, 8], "gpt-4o-mini": [7, 8, 8, 8]}
    sources.rows[RUN_1][0] = with_calls(
        sources.rows[RUN_1][0],
        [
            {"order": list(close), "scores": {name: output[i] for name, output in close.items()}}
            for i in range(4)
        ],
    )
    source, out = sources.write(tmp_path / "source"), tmp_path / "out"
    emit(source, out, recipes.load("unified-v2"))
    [(lead, error, within)] = query(
        out,
        "select lead, standard_error, within_noise from leads "
        "where incident_id = 'a' and decided_on = 'summary' and place = 1",
    )
    assert lead == 0.25
    assert error > 0.25 / 1.96
    assert within
    assert query(out, "select distinct within_noise from leads where decided_on = 'cause'") == [
        (None,)
    ]
    capsys.readouterr()
    assert why.main(["a", "--data", str(out)]) == 0
    output = capsys.readouterr().out
    assert f"within the judge's noise, a standard error of {error:.2g}" in output
