"""The sample corpus as tests read it: its plan, its evidence and its answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from immune_data.sample import __main__ as sample
from immune_data.sample import plan

SUMMARY_FIELD = {
    "gpt-4o": "llm_gpt_4o_analysis",
    "gpt-4o-mini": "llm_gpt4o_mini_analysis",
    "qwen2.5-1.5b": "llm_qwen2_5_analysis",
    "qwen2.5-3b": "llm_qwen2_5:3b_analysis",
}
RISK_FIELD = {
    "gpt-4o": "cause_risk_gpt_4o",
    "gpt-4o-mini": "cause_risk_gpt_4o_mini",
    "qwen2.5-1.5b": "cause_risk_qwen2_5",
    "qwen2.5-3b": "cause_risk_qwen2_5:3b",
}
_KEY = {"summary": "summary", "cause": "cause_analysis", "risk": "risk_assessment"}


@dataclass(frozen=True)
class Answer:
    """One model's answer, the evidence it is about and the form that the plan gave it."""

    incident: dict[str, Any]
    task: str
    model: str
    text: str
    form: plan.Form
    dag: str

    @property
    def place(self) -> tuple[str, str, str]:
        return self.incident["incident_id"], self.task, self.model


@dataclass(frozen=True)
class Sample:
    """A corpus of one block in a folder."""

    folder: Path
    seed: int = 0

    def rows(self, name: str) -> dict[str, dict[str, Any]]:
        content = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return {row["incident_id"]: row for row in content["incidents"]}

    @cached_property
    def summaries(self) -> dict[str, dict[str, Any]]:
        return self.rows(sample.SUMMARIES)

    @cached_property
    def risks(self) -> dict[str, dict[str, Any]]:
        return self.rows(sample.RISKS)

    @cached_property
    def roles(self) -> dict[str, plan.Role]:
        return {role.incident_id: role for role in plan.plan_block(self.seed, 0).roles}

    @cached_property
    def planted(self) -> dict[tuple[str, str, str], plan.Planted]:
        found = plan.planted(self.seed, plan.plan_block(self.seed, 0))
        return {(one.incident_id, one.task, one.model): one for one in found}

    def dags(self) -> Iterator[tuple[dict[str, Any], str]]:
        """Each row of either dataset that has evidence, with it."""
        for rows in (self.summaries, self.risks):
            for row in rows.values():
                if row.get("dag_analysis"):
                    yield row, row["dag_analysis"]

    def answers(self) -> Iterator[Answer]:
        """The answers to judged incidents that are texts."""
        for incident_id, risk in self.risks.items():
            summary = self.summaries[incident_id]
            dag = risk.get("dag_analysis") or summary["dag_analysis"]
            forms = plan.forms(self.seed, self.roles[incident_id]).answers
            for (task, model), form in forms.items():
                if task == "summary":
                    entry = summary.get(SUMMARY_FIELD[model])
                else:
                    entry = risk.get(RISK_FIELD[model])
                if isinstance(entry, dict) and entry.get(_KEY[task]):
                    yield Answer(risk, task, model, entry[_KEY[task]], form, dag)
