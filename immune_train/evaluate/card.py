"""`card_section.md`: an evaluation in, the section of the model card that tells of it out.

The prose is in `card_section.md.jinja`.
"""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from immune_data.common import markdown, templates
from immune_data.common.text import counted
from immune_train.evaluate import phrases
from immune_train.evaluate.evaluation import Evaluation
from immune_train.evaluate.incidents import ALL
from immune_train.evaluate.scores import Cell


def section(of: Evaluation) -> str:
    """Markdown, to stand on the card beneath its own heading."""
    text = templates.render_markdown(
        "immune_train.evaluate",
        "card_section.md.jinja",
        synthetic=of.synthetic,
        incidents=counted(of.incidents, "incident"),
        groups=counted(of.groups, "group"),
        runs=list(dict.fromkeys(run.name for run in of.runs)),
        findings=phrases.findings(of),
        tasks=[_task(of, cell) for cell in of.cells if cell.part == ALL and cell.differences],
        levels=_levels(of),
        detectable=phrases.detectable(of),
    )
    return text.rstrip() + "\n"


def _task(of: Evaluation, cell: Cell) -> dict[str, Any]:
    judged = of.tables[cell.task]
    rows = [
        [
            standing.candidate,
            phrases.estimate(standing.score),
            phrases.estimate(standing.adjusted),
            phrases.rate(standing.win_rate),
        ]
        for standing in cell.standings
    ]
    return {
        "task": cell.task.capitalize(),
        "judge": str(judged.judge),
        "noise": phrases.noise(judged),
        "standings": markdown.table(["candidate", "score", "at equal length", "win rate"], rows),
    }


def _levels(of: Evaluation) -> Markup | None:
    rows = [
        [
            level.candidate,
            f"{level.false_alarms.k} of {level.false_alarms.n}",
            f"{level.missed.k} of {level.missed.n}",
            phrases.estimate(level.cost_by_category),
        ]
        for level in of.levels.levels
    ]
    columns = ["candidate", "false alarms on Normal", "Malware called Low", "cost of an incident"]
    return markdown.table(columns, rows) if rows else None
