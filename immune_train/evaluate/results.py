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


def text(of: Evaluation) -> str:
    """The file; a cell that a spreadsheet would run is made a text."""
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for *names, n, k, estimate in _rows(of):
        interval = (
            ("", "", "")
            if estimate is None
            else (f"{one:.6g}" for one in (estimate.value, estimate.low, estimate.high))
        )
        numbers = ("" if one is None else f"{one:.6g}" for one in (n, k))
        writer.writerow([*(spreadsheet_cell(str(name)) for name in names), *numbers, *interval])
    return made.getvalue()


def _rows(of: Evaluation) -> Iterator[Row]:
    for cell in of.cells:
        place = cell.task, cell.part
        for one in cell.standings:
            yield (*place, one.candidate, "", "wins", cell.incidents, one.wins, one.win_rate)
            for what, estimate in (
                ("score", one.score),
                ("score at equal length", one.adjusted),
                ("rank", one.rank),
                ("strength", one.strength),
            ):
                if estimate:
                    yield (*place, one.candidate, "", what, cell.incidents, None, estimate)
        for pair in cell.differences:
            names = pair.first, pair.second
            yield (*place, *names, "score difference", cell.incidents, None, pair.score)
            yield (*place, *names, "win rate difference", cell.incidents, None, pair.win_rate)
    for measure in of.measured.measures:
        yield (
            *(measure.task, ALL, measure.candidate, "", measure.metric),
            *(measure.n, measure.k, measure.estimate),
        )
    for levels in of.levels.levels:
        for what, counted in (("false alarms", levels.false_alarms), ("missed", levels.missed)):
            part = "Normal" if what == "false alarms" else "Malware"
            yield "risk", part, levels.candidate, "", what, counted.n, counted.k, counted.estimate
        for what, cost in (
            ("cost by category", levels.cost_by_category),
            ("cost by reference", levels.cost_by_reference),
        ):
            if cost:
                yield "risk", ALL, levels.candidate, "", what, None, None, cost
