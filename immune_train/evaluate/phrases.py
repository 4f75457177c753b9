"""The findings in words: an evaluation in, its numbers as text and its sentences out."""

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
POWER = "80% power, 5% two-sided"


def number(value: float, digits: int = 2, *, signed: bool = False) -> str:
    """A number with a true minus sign, and no sign on what rounds to zero."""
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def share(value: float, digits: int = 0, *, signed: bool = False) -> str:
    return f"{number(100 * value, digits, signed=signed)}%"


def estimate(value: Estimate | None, digits: int = 2, *, signed: bool = False) -> str:
    """`6.10 (5.20 to 7.00)`."""
    if value is None:
        return NONE
    low, high = (number(limit, digits, signed=signed) for limit in (value.low, value.high))
    return f"{number(value.value, digits, signed=signed)} ({low} to {high})"


def rate(value: Estimate | None, *, signed: bool = False) -> str:
    """`17.0% (8.1 to 29.9)`."""
    if value is None:
        return NONE
    low, high = (number(100 * limit, 1, signed=signed) for limit in (value.low, value.high))
    return f"{share(value.value, 1, signed=signed)} ({low} to {high})"


def noise(table: Table) -> str:
    """The judge's noise: how much its repeated scores differ."""
    measured = table.noise
    if measured is None:
        return "The judge's noise is unknown, because its verdicts do not contain their calls."
    deviation = measured.deviation
    return (
        "When the judge is asked about an answer again, its score varies with a standard "
        f"deviation of {number(deviation.value)} ({number(deviation.low)} to "
        f"{number(deviation.high)}); the scores here are means over its calls."
    )


def wins(standing: Standing, cell: Cell) -> str:
    """`12.5 of 59`."""
    return (
        f"{standing.wins:g} of {cell.incidents:,}"
        if standing.wins == round(standing.wins, 2)
        else f"{standing.wins:.2f} of {cell.incidents:,}"
    )


def is_clear(difference: Estimate) -> bool:
    """Whether the interval of a difference excludes zero."""
    return difference.low > 0 or difference.high < 0


def findings(evaluation: Evaluation) -> list[str]:
    """The sentences that answer whether the models are any good."""
    sentences = [*_of_scores(evaluation), *_of_levels(evaluation)]
    if not sentences:
        sentences = [
            "Nothing can be claimed: there are neither verdicts of a judge, nor enough incidents "
            "with a known category."
        ]
    return sentences


def _of_scores(evaluation: Evaluation) -> Iterator[str]:
    for cell in evaluation.cells:
        if cell.part != ALL:
            continue
        if not cell.differences:
            yield (
                f"{cell.task.capitalize()}: {counted(cell.incidents, 'incident')} in "
                f"{counted(cell.groups, 'group')} {are(cell.incidents)} too few to claim anything."
            )
        models = [
            candidate.name for candidate in evaluation.candidates if candidate.kind == "model"
        ]
        for difference in cell.differences:
            if difference.first == REFERENCE and difference.second in models:
                yield _compared_with_reference(cell, difference, evaluation.tables[cell.task].task)


def _compared_with_reference(cell: Cell, difference: Difference, task: str) -> str:
    lead = Estimate(-difference.score.value, -difference.score.high, -difference.score.low)
    points = f"{estimate(lead, signed=True)} points"
    if not is_clear(lead):
        return (
            f"{task.capitalize()}: {difference.second} cannot be distinguished from the reference: "
            f"{points}."
        )
    way = "above" if lead.value > 0 else "below"
    return f"{task.capitalize()}: {difference.second} scores {way} the reference: {points}."


def _of_levels(evaluation: Evaluation) -> Iterator[str]:
    best = evaluation.levels.best_constant
    models = [candidate.name for candidate in evaluation.candidates if candidate.kind == "model"]
    for level in evaluation.levels.levels:
        if level.candidate not in models or level.over_constant is None:
            continue
        points = f"{estimate(level.over_constant, signed=True)} points of cost per incident"
        if not is_clear(level.over_constant):
            verdict = f"cannot be distinguished from {best}"
        elif level.over_constant.value > 0:
            verdict = f"is worse than {best}"
        else:
            verdict = f"is better than {best}"
        yield (
            f"Risk levels: {level.candidate} {verdict}, which gives every incident the same level: "
            f"{points}."
        )


def detectable(evaluation: Evaluation) -> list[str]:
    """The sentences that say what this number of incidents cannot show."""
    sentences = []
    for cell in evaluation.cells:
        parts = []
        if cell.detectable_score is not None:
            parts.append(f"{number(cell.detectable_score)} of {MOST[cell.task]:g} points")
        if cell.detectable_win_rate is not None:
            parts.append(
                f"{number(100 * cell.detectable_win_rate, 1)} percentage points of win rate"
            )
        if cell.part == ALL and parts:
            sentences.append(
                f"{cell.task.capitalize()}: with {counted(cell.incidents, 'incident')} in "
                f"{counted(cell.groups, 'group')}, the smallest detectable difference between two "
                f"candidates ({POWER}) is {', or '.join(parts)}."
            )
    sentences += [
        f"{task.capitalize()}, measures without a judge: the smallest detectable difference "
        f"between two shares ({POWER}) is {number(100 * least, 1)} percentage points."
        for task, least in evaluation.measured.detectable.items()
    ]
    return sentences
