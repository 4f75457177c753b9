"""What constant answers get on the real incidents, and that a lab's own verdicts can be read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from immune_data.common.errors import CheckFailed
from immune_train.evaluate import baselines, levels, verdicts
from immune_train.evaluate.candidates import Candidate
from immune_train.evaluate.incidents import Facts
from immune_train.evaluate.levels import GIVEN, LevelComparison
from immune_train.score.answers import Case, Cases

RUN_1 = "summarization_dataset_v3_results_oss.json"
RUN_2 = "summarization_v4_new_results_oss.json"
CAUSE_RISK = "risk_dataset_v2_results_qwen35.json"


@pytest.fixture(scope="module")
def compared(real_source: Path) -> LevelComparison:
    """The strongest labeller's risk answers beside one level for every incident."""
    with gzip.open(real_source / "risk_dataset_v2.json.gz") as file:
        rows = json.load(file)
    rows = rows["incidents"] if isinstance(rows, dict) else rows
    said: Cases = {}
    for row in rows:
        answer = row["cause_risk_gpt_4o"]["risk_assessment"]
        said[row["incident_id"], "risk"] = Case("risk", answer, answer, ())
    facts = {
        row["incident_id"]: Facts(
            f"{row['source_ip']} {row['timewindow']}", row["category"], row["event_count"]
        )
        for row in rows
    }
    candidates = [
        Candidate("gpt-4o", "model", said),
        *(Candidate(name, "baseline", of) for name, of in baselines.answers(said).items()),
    ]
    return levels.compare(candidates, said, facts, levels.read_costs(None))


def test_the_strongest_labeller_says_one_level_of_nearly_all(compared: LevelComparison) -> None:
    one = compared.levels[0]
    high = GIVEN.index("High")
    malware, normal = one.by_category["Malware"], one.by_category["Normal"]
    assert (malware[high], sum(malware)) == (486, 514)
    assert (normal[high], sum(normal)) == (12, 18)


def test_that_level_for_every_incident_costs_less(compared: LevelComparison) -> None:
    over = compared.levels[0].over_constant
    assert over is not None
    assert compared.best_constant == "constant-high"
    assert over.low > 0


def test_verdicts_of_a_lab_are_read_and_two_runs_are_no_table(real_source: Path) -> None:
    tables, said = verdicts.read([real_source / RUN_1, real_source / CAUSE_RISK])
    assert {task: len(table.scores) for task, table in tables.items()} == {
        "summary": 47,
        "cause": 40,
        "risk": 40,
    }
    assert {one.category for one in said.values()} <= {"Malware", "Normal"}
    with pytest.raises(CheckFailed, match="give the verdicts of one run"):
        verdicts.read([real_source / RUN_1, real_source / RUN_2])
