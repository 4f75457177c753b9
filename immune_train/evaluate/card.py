"""`card_section.md`: an evaluation in, the section of the model card that tells of it out."""

from __future__ import annotations

from immune_data.common import markdown, table
from immune_data.common.text import counted
from immune_train.evaluate import phrases
from immune_train.evaluate.evaluation import Evaluation
from immune_train.evaluate.incidents import ALL


def section(of: Evaluation) -> str:
    """Markdown, to stand under the card's heading."""
    parts = ["## Evaluation against baselines"]
    if of.synthetic:
        parts.append(
            "**On synthetic data: a program made up every incident and answer.** The numbers say "
            "nothing of real incidents."
        )
    runs = ", ".join(markdown.escaped(run.name) for run in of.runs)
    parts.append(
        f"{counted(of.incidents, 'incident')} in {counted(of.groups, 'group')}, none of them, "
        f"nor another of its group, in what {runs} was trained on. `reference` are the records' "
        "own answers; `constant-…` says one level of every incident, and `extract` quotes the "
        "gravest lines of the evidence. Intervals are of 95 %."
    )
    parts.append("\n".join(f"- {markdown.escaped(one)}" for one in phrases.findings(of)))
    for cell in of.cells:
        if cell.part == ALL and cell.differences:
            judged = of.tables[cell.task]
            rows = [
                [
                    one.candidate,
                    phrases.estimate(one.score),
                    phrases.estimate(one.adjusted),
                    phrases.rate(one.win_rate),
                ]
                for one in cell.standings
            ]
            parts.append(
                f"Task {cell.task}, {markdown.escaped(str(judged.judge))}. {phrases.noise(judged)}"
            )
            parts.append(_table(["candidate", "score", "at equal length", "win rate"], rows))
    costs = [
        [
            one.candidate,
            f"{one.false_alarms.k} of {one.false_alarms.n}",
            f"{one.missed.k} of {one.missed.n}",
            phrases.estimate(one.cost_by_category),
        ]
        for one in of.levels.levels
    ]
    if costs:
        parts.append("Risk levels against the incident's category:")
        columns = ["candidate", "false alarms on Normal", "Malware called Low", "cost an incident"]
        parts.append(_table(columns, costs))
    if said := phrases.detectable(of):
        parts.append("What these incidents cannot show:")
        parts.append("\n".join(f"- {one}" for one in said))
    return "\n\n".join(parts) + "\n"


def _table(columns: list[str], rows: list[list[str]]) -> str:
    cells = [[markdown.escaped(cell) for cell in row] for row in rows]
    return table.markdown(columns, cells, [i > 0 for i in range(len(columns))])
