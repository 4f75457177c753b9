"""`results.csv`: every number of an evaluation in, one line each out."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from immune_data.common.table import spreadsheet_cell
from immune_train.evaluate.evaluation import Evaluation
from immune_train.evaluate.incidents import ALL
from immune_train.evaluate.resampling import Estimate

_COLUMNS = ("task", "part", "candidate", "versus", "what", "n", "k", "value", "low", "high")

Row = tuple[str, str, str, str, str, int | None, float | None, Estimate | None]


def text(evaluation: Evaluation) -> str:
    """The content of the file; cells that a spreadsheet would run are escaped."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for *names, n, k, estimate in _rows(evaluation):
        interval = (
            ("", "", "")
            if estimate is None
            else (f"{number:.6g}" for number in (estimate.value, estimate.low, estimate.high))
        )
        numbers = ("" if number is None else f"{number:.6g}" for number in (n, k))
        writer.writerow([*(spreadsheet_cell(str(name)) for name in names), *numbers, *interval])
    return buffer.getvalue()


def _rows(evaluation: Evaluation) -> Iterator[Row]:
    for cell in evaluation.cells:
        place = cell.task, cell.part
        for standing in cell.standings:
            yield (
                *place,
                standing.candidate,
                "",
                "wins",
                cell.incidents,
                standing.wins,
                standing.win_rate,
            )
            for quantity, estimate in (
                ("score", standing.score),
                ("score at equal length", standing.adjusted),
                ("rank", standing.rank),
                ("strength", standing.strength),
            ):
                if estimate:
                    yield (*place, standing.candidate, "", quantity, cell.incidents, None, estimate)
        for pair in cell.differences:
            names = pair.first, pair.second
            yield (*place, *names, "score difference", cell.incidents, None, pair.score)
            yield (*place, *names, "win rate difference", cell.incidents, None, pair.win_rate)
    for measure in evaluation.measured.measures:
        yield (
            *(measure.task, ALL, measure.candidate, "", measure.metric),
            *(measure.n, measure.k, measure.estimate),
        )
    for levels in evaluation.levels.levels:
        for quantity, share in (("false alarms", levels.false_alarms), ("missed", levels.missed)):
            part = "Normal" if quantity == "false alarms" else "Malware"
            yield "risk", part, levels.candidate, "", quantity, share.n, share.k, share.estimate
        for quantity, cost in (
            ("cost by category", levels.cost_by_category),
            ("cost by reference", levels.cost_by_reference),
        ):
            if cost:
                yield "risk", ALL, levels.candidate, "", quantity, None, None, cost
