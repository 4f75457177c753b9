"""What is found, in words: an evaluation in, its numbers as text and its sentences out."""

from __future__ import annotations

from collections.abc import Iterator

from immune_data.common.text import are, counted
from immune_train.evaluate.evaluation import Evaluation
from immune_train.evaluate.incidents import ALL
from immune_train.evaluate.resampling import Estimate
from immune_train.evaluate.scores import Cell, Difference, Standing
from immune_train.evaluate.verdicts import MOST, Table
from immune_train.score.answers import REFERENCE

NONE = "–"
POWER = "80 % power, 5 % two-sided"


def number(value: float, digits: int = 2, *, signed: bool = False) -> str:
    """A number with a true minus sign, and no sign on what rounds to zero."""
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def share(value: float, digits: int = 0, *, signed: bool = False) -> str:
    return f"{number(100 * value, digits, signed=signed)} %"


def estimate(of: Estimate | None, digits: int = 2, *, signed: bool = False) -> str:
    """`6.10 (5.20 to 7.00)`."""
    if of is None:
        return NONE
    low, high = (number(one, digits, signed=signed) for one in (of.low, of.high))
    return f"{number(of.value, digits, signed=signed)} ({low} to {high})"


def rate(of: Estimate | None, *, signed: bool = False) -> str:
    """`17.0 % (8.1 to 29.9)`."""
    if of is None:
        return NONE
    low, high = (number(100 * one, 1, signed=signed) for one in (of.low, of.high))
    return f"{share(of.value, 1, signed=signed)} ({low} to {high})"


def noise(table: Table) -> str:
    """By how much the judge differs from itself."""
    found = table.noise
    if found is None:
        return "The judge's noise is not known: its verdicts do not have their calls."
    one = found.deviation
    return (
        "Asked about an answer again, the judge gives it a score that differs by a standard "
        f"deviation of {number(one.value)} ({number(one.low)} to {number(one.high)}); the scores "
        "here are means over its calls."
    )


def wins(standing: Standing, cell: Cell) -> str:
    """`12.5 of 59`."""
    return (
        f"{standing.wins:g} of {cell.incidents:,}"
        if standing.wins == round(standing.wins, 2)
        else f"{standing.wins:.2f} of {cell.incidents:,}"
    )


def is_clear(of: Estimate) -> bool:
    """Whether the interval of a difference leaves zero out."""
    return of.low > 0 or of.high < 0


def findings(of: Evaluation) -> list[str]:
    """The sentences that answer whether the models are any good."""
    found = [*_of_scores(of), *_of_levels(of)]
    if not found:
        found = [
            "Nothing is claimed: there are neither verdicts of a judge, nor enough incidents of a "
            "known category."
        ]
    return found


def _of_scores(of: Evaluation) -> Iterator[str]:
    for cell in of.cells:
        if cell.part != ALL:
            continue
        if not cell.differences:
            yield (
                f"{cell.task.capitalize()}: {counted(cell.incidents, 'incident')} in "
                f"{counted(cell.groups, 'group')} {are(cell.incidents)} too few to claim anything."
            )
        models = [one.name for one in of.candidates if one.kind == "model"]
        for one in cell.differences:
            if one.first == REFERENCE and one.second in models:
                yield _beside_reference(cell, one, of.tables[cell.task].task)


def _beside_reference(cell: Cell, one: Difference, task: str) -> str:
    turned = Estimate(-one.score.value, -one.score.high, -one.score.low)
    said = f"{estimate(turned, signed=True)} points"
    if not is_clear(turned):
        return f"{task.capitalize()}: {one.second} cannot be told from the reference, {said}."
    way = "above" if turned.value > 0 else "below"
    return f"{task.capitalize()}: {one.second} scores {way} the reference, {said}."


def _of_levels(of: Evaluation) -> Iterator[str]:
    best = of.levels.best_constant
    models = [one.name for one in of.candidates if one.kind == "model"]
    for one in of.levels.levels:
        if one.candidate not in models or one.over_constant is None:
            continue
        said = f"{estimate(one.over_constant, signed=True)} points of cost an incident"
        if not is_clear(one.over_constant):
            found = f"cannot be told from {best}, which says one level of every incident"
        elif one.over_constant.value > 0:
            found = f"are worse than {best}, which says one level of every incident"
        else:
            found = f"are better than {best}, which says one level of every incident"
        yield f"Risk levels: those of {one.candidate} {found}, {said}."


def detectable(of: Evaluation) -> list[str]:
    """The sentences that say what this number of incidents cannot show."""
    said = []
    for cell in of.cells:
        parts = []
        if cell.detectable_score is not None:
            parts.append(f"{number(cell.detectable_score)} of {MOST[cell.task]:g} points")
        if cell.detectable_win_rate is not None:
            parts.append(
                f"{number(100 * cell.detectable_win_rate, 1)} percentage points of win rate"
            )
        if cell.part == ALL and parts:
            said.append(
                f"{cell.task.capitalize()}: with {counted(cell.incidents, 'incident')} in "
                f"{counted(cell.groups, 'group')}, the smallest difference of two candidates "
                f"that would be found ({POWER}) is {', or '.join(parts)}."
            )
    said += [
        f"{task.capitalize()}, measures without a judge: the smallest difference of two shares "
        f"that would be found ({POWER}) is {number(100 * least, 1)} percentage points."
        for task, least in of.measured.detectable.items()
    ]
    return said
