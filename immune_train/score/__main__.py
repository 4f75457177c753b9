"""Measure answers without a judge: any number of models side by side, and the reference answers.

    python -m immune_train.score --reference data/sft/unified-clean/eval.jsonl \\
        q4_k_m=answers-q4_k_m.jsonl q8_0=answers-q8_0.jsonl --figure scores.svg

In: emitted records, and answers to them as `generate` writes them. Out: a table, and, where asked
for, JSON and a picture. Shares come with Wilson's interval (Wilson 1927; Brown, Cai and DasGupta
2001 recommend it for samples as small as ours) and means with a percentile bootstrap over answers
(Efron and Tibshirani 1993) with a fixed seed; both at 95 %.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from immune_data.common import cli, plotting, textfile
from immune_data.common import files as staging
from immune_data.common.errors import ImmuneError
from immune_data.contract import answer_fields
from immune_data.prompts import TASKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REFERENCE = "reference"
FIGURES = (".svg", ".png")

_Z = 1.959963984540054  # the normal distribution's 97.5th percentile
_RESAMPLED, _SEED = 2000, 42

# The expressions of `sql/audit/ungrounded.sql`, which finds the same in the same texts.
_ADDRESS = re.compile(
    r"\b\d{1,3}(?:\.\d{1,3}){3}\b|\b(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{1,4}\b"
    r"|\b(?:[0-9a-f]{1,4}:){1,7}:(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*)?",
    re.ASCII,
)
_PORT = re.compile(
    r"\bports?(?:\(s\))?:?[\t\n\f\r ]+\d{1,5}"
    r"(?:(?:[\t\n\f\r ]*,[\t\n\f\r ]*(?:and[\t\n\f\r ]+|or[\t\n\f\r ]+)?"
    r"|[\t\n\f\r ]+(?:and|or)[\t\n\f\r ]+|[\t\n\f\r ]*/[\t\n\f\r ]*)\d{1,5}\b)*\b"
    r"|\b\d{1,5}/(?:tcp|udp)\b",
    re.ASCII,
)
_NUMBER = re.compile(r"\d+", re.ASCII)
_DOMAIN = re.compile(
    r"\b(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+(?:com|net|org|info|biz|io|co|ai|app"
    r"|dev|cloud|online|site|xyz|top|club|shop|tech|live|ru|cn|de|uk|fr|nl|eu|us|br|it"
    r"|jp|kr|es|pl|cz|sk|se|no|fi|ch|at|be|ca|au|ir|ua|tr|tk|ml|ga|cf|gq|pw|cc|tv|me"
    r"|ws|su|to"
    r"|edu|gov|mil|int|arpa|local|lan|internal|test|example|onion)\b",
    re.ASCII,
)
_EVENT_COUNT = re.compile(r"\bEvents: *(\d+)", re.ASCII)


@dataclass(frozen=True)
class Case:
    """An answer, the reference answer to the same prompt, what the prompt showed, and why the
    answer ends, where that is known."""

    task: str
    answer: str
    reference: str
    shown: tuple[str, ...]
    finish: str | None = None


@dataclass(frozen=True)
class Metric:
    """A measure of an answer: true, false or a number; None where it does not apply."""

    name: str
    title: str
    tasks: tuple[str, ...]
    is_share: bool
    of: Callable[[Case], float | None]
    of_reference: bool = True  # whether it says anything about the reference answers


@dataclass(frozen=True)
class Score:
    """A metric of one model's answers to one task, with its 95 % interval."""

    task: str
    model: str
    metric: str
    n: int
    value: float | None
    low: float | None
    high: float | None


def ungrounded(answer: str, shown: str) -> dict[str, list[str]]:
    """The addresses, ports and domains of an answer that its evidence does not hold, by kind."""
    shown = shown.lower()
    patterns = {"address": _ADDRESS, "port": _NUMBER, "domain": _DOMAIN}
    lacking = {
        kind: sorted(values - _matches(patterns[kind], shown))
        for kind, values in _named(answer.lower()).items()
        if values
    }
    return {kind: values for kind, values in lacking.items() if values}


def _named(answer: str) -> dict[str, set[str]]:
    """What an answer in lower case names, by kind."""
    ports = " ".join(match[0] for match in _PORT.finditer(answer))
    return {
        "address": _matches(_ADDRESS, answer),
        "port": _matches(_NUMBER, ports),
        "domain": _matches(_DOMAIN, answer),
    }


def _matches(of: re.Pattern[str], text: str) -> set[str]:
    return {match[0] for match in of.finditer(text)}


def event_count(shown: Iterable[str]) -> int | None:
    """The number of events that a prompt says its incident has."""
    for message in reversed(tuple(shown)):
        if match := _EVENT_COUNT.search(message):
            return int(match[1])
    return None


def totals_right(answer: str, events: int | None) -> bool | None:
    """Whether the totals that a summary states are the incident's; None where it states none."""
    fields = answer_fields.parse("summary", answer).fields
    totals = (fields["events"], fields["total_evidence"])
    stated = [total for total in totals if total is not None]
    if events is None or not stated:
        return None
    return all(total == events for total in stated)


def _total(case: Case) -> float | None:
    events = event_count(case.shown)
    if events is None:
        return None
    return float(totals_right(case.answer, events) is True)


def _structured(case: Case) -> float:
    return float(not answer_fields.parse(case.task, case.answer).missing)


def _same_level(case: Case) -> float | None:
    wanted, given = (
        answer_fields.parse("risk", text).fields["risk_level"]
        for text in (case.reference, case.answer)
    )
    return None if wanted is None else float(given == wanted)


def _allowed(case: Case) -> float:
    fields = answer_fields.parse("risk", case.answer).fields
    return float(all(fields[name] for name in answer_fields.LEVELS))


def _finished(case: Case) -> float | None:
    return None if case.finish is None else float(case.finish == "stop")


def _ungrounded(kind: str) -> Callable[[Case], float | None]:
    def of(case: Case) -> float | None:
        found = _lacking(case)
        return None if found is None else float(len(found.get(kind, ())))

    return of


def _grounded(case: Case) -> float | None:
    found = _lacking(case)
    return None if found is None else float(not found)


def _lacking(case: Case) -> dict[str, list[str]] | None:
    """What an answer names without its evidence; None where it names nothing that could be."""
    if not any(_named(case.answer.lower()).values()):
        return None
    return ungrounded(case.answer, "\n".join(case.shown))


def _length(case: Case) -> float:
    from immune_data.contract.tokens import count

    return float(count(case.answer))


METRICS = (
    Metric(
        "structure",
        "has the documented structure",
        TASKS,
        True,
        _structured,
    ),
    Metric("finished", "ends by itself, not cut off or wound up", TASKS, True, _finished, False),
    Metric("levels_allowed", "all three levels are allowed words", ("risk",), True, _allowed),
    Metric("level_agrees", "risk level is the reference's", ("risk",), True, _same_level, False),
    Metric("grounded", "what it names is in the evidence", TASKS, True, _grounded),
    Metric("event_totals", "states the right number of events", ("summary",), True, _total),
    Metric(
        "ungrounded_addresses",
        "addresses not in the evidence",
        TASKS,
        False,
        _ungrounded("address"),
    ),
    Metric("ungrounded_ports", "ports not in the evidence", TASKS, False, _ungrounded("port")),
    Metric(
        "ungrounded_domains", "domains not in the evidence", TASKS, False, _ungrounded("domain")
    ),
    Metric("tokens", "length in tokens", TASKS, False, _length),
)


def score(cases: dict[str, list[Case]]) -> list[Score]:
    """Every metric of every model's answers, by task, metric and model."""
    return [
        _score(task, model, metric, [case for case in of_model if case.task == task])
        for task in TASKS
        for metric in METRICS
        if task in metric.tasks
        for model, of_model in cases.items()
        if metric.of_reference or model != REFERENCE
    ]


def _score(task: str, model: str, metric: Metric, cases: list[Case]) -> Score:
    values = [value for case in cases if (value := metric.of(case)) is not None]
    if not values:
        return Score(task, model, metric.name, 0, None, None, None)
    low, high = wilson(round(sum(values)), len(values)) if metric.is_share else bootstrap(values)
    return Score(task, model, metric.name, len(values), sum(values) / len(values), low, high)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    share, z2 = successes / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At the ends the interval is exactly 0 or 1, which rounding would miss.
    return (
        0.0 if successes == 0 else max(0.0, middle - half),
        1.0 if successes == n else min(1.0, middle + half),
    )


def bootstrap(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of a mean; the same values give the same interval."""
    of = np.sort(np.asarray(values, dtype=float))
    drawn = np.random.default_rng(_SEED).integers(len(of), size=(_RESAMPLED, len(of)))
    low, high = np.percentile(of[drawn].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


# Reading


def read_reference(path: Path) -> dict[tuple[str, str], Case]:
    """The records of an emitted file, by incident and task, each answered by its reference.

    A record may stand there more than once, as copies do in a train file.
    """
    cases: dict[tuple[str, str], Case] = {}
    for number, record in _lines(path):
        try:
            *asked, last = record["messages"]
            task, shown = record["task"], tuple(turn["content"] for turn in asked)
            key, said = (record["incident_id"], task), (*shown, last["content"])
            if last["role"] != "assistant" or task not in TASKS or not _texts(*key, *said):
                raise ValueError
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ImmuneError(
                f"line {number} of {path} is not an emitted record: give an eval.jsonl"
            ) from None
        case = Case(task, said[-1], said[-1], shown)
        if cases.setdefault(key, case) != case:
            raise ImmuneError(
                f"line {number} of {path} has another record for task {task} of {key[0]}"
            )
    if not cases:
        raise ImmuneError(f"{path} holds no record")
    return cases


def read_answers(path: Path, reference: dict[tuple[str, str], Case]) -> list[Case]:
    """The answers of a file that `generate` wrote, each with the reference to its prompt."""
    cases = {}
    for number, row in _lines(path):
        try:
            key, text = (row["incident_id"], row["task"]), row["answer"]
            finish = row.get("finish")
            if not _texts(*key, text, "" if finish is None else finish):
                raise TypeError
        except (KeyError, TypeError, AttributeError):
            raise ImmuneError(
                f"line {number} of {path} is not an answer: it should have `incident_id`, `task`"
                " and `answer`, as `immune_train.generate --eval` writes them"
            ) from None
        if key not in reference:
            raise ImmuneError(
                f"line {number} of {path} answers task {key[1]} of incident {key[0]}, which the"
                " reference does not hold: give the file that was asked"
            )
        if key in cases:
            raise ImmuneError(f"line {number} of {path} answers task {key[1]} of {key[0]} again")
        of = reference[key]
        cases[key] = Case(of.task, text, of.reference, of.shown, finish)
    if not cases:
        raise ImmuneError(f"{path} holds no answer")
    return list(cases.values())


def _texts(*values: object) -> bool:
    return all(isinstance(value, str) for value in values)


def _lines(path: Path) -> Iterable[tuple[int, Any]]:
    text = textfile.read(path)
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError):
            raise ImmuneError(f"line {number} of {path} is not JSON") from None


# Showing


def show(scores: list[Score], models: Sequence[str]) -> None:
    """Print a table for each task, a row for each metric and a column for each model."""
    of = {metric.name: metric for metric in METRICS}
    found = {(one.task, one.metric, one.model): one for one in scores}
    for task in TASKS:
        rows = [
            [of[name].title, *(_cell(found.get((task, name, model)), of[name]) for model in models)]
            for name in dict.fromkeys(one.metric for one in scores if one.task == task)
        ]
        if any(one.n for one in scores if one.task == task):
            cli.table(task, ("", *models), rows)


def _cell(one: Score | None, metric: Metric) -> str:
    """A value, its interval, and the number of answers that it is of."""
    if one is None:
        return "–"
    if one.value is None:
        return f"– n={one.n}"
    if metric.is_share:
        return f"{_share(one.value)} ({one.low:.0%}–{one.high:.0%}) n={one.n}"
    digits = 0 if metric.name == "tokens" else 2
    return f"{one.value:.{digits}f} ({one.low:.{digits}f}–{one.high:.{digits}f}) n={one.n}"


def _share(value: float) -> str:
    """A share in per cent; only all of them are 100 %, and only none are 0 %."""
    return f"{value:.0%}" if value in (0, 1) or 0.005 <= value < 0.995 else f"{value:.1%}"


# Okabe and Ito's colours that stand out on white; each model has a shape of its own too.
_COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_SHAPES = ("D", "o", "s", "^", "v", "P", "X")
_INK, _MUTED, _GRID = "#1d2630", "#55606d", "#d5dbe1"


def draw(scores: list[Score], models: Sequence[str]) -> Figure:
    """The shares, and the lengths, of every model: a point and its interval each."""
    mpl = plotting.library()
    from matplotlib.figure import Figure

    of = {metric.name: metric for metric in METRICS}
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "font.family": ["DejaVu Sans"],
                "font.size": 8,
                "text.color": _INK,
                "axes.edgecolor": _GRID,
                "axes.labelcolor": _MUTED,
                "xtick.color": _MUTED,
                "ytick.color": _INK,
            }
        )
        shares = [
            [one for one in scores if one.task == task and of[one.metric].is_share]
            for task in TASKS
        ]
        heights = [len({one.metric for one in some}) for some in shares]
        each = 0.19 * len(models) + 0.22
        figure = Figure(figsize=(8.6, each * sum(heights) + 1.7), layout="constrained")
        grid = figure.subplots(
            3, 2, width_ratios=(3, 1.3), height_ratios=[max(1, height) for height in heights]
        )
        for task, row, some in zip(TASKS, grid, shares, strict=True):
            lengths = [one for one in scores if one.task == task and one.metric == "tokens"]
            for axes, shown in zip(row, (some, lengths), strict=True):
                _panel(axes, shown, models, {name: metric.title for name, metric in of.items()})
            row[0].set_xlim(-0.02, 1.02)
            row[0].xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
            row[0].set_title(task, loc="left", fontsize=9, fontweight="bold", color=_INK)
            row[1].set_xlim(left=0)
            row[1].set_yticks([])
        grid[2][0].set_xlabel("share of answers, with Wilson's 95 % interval")
        grid[2][1].set_xlabel("mean tokens, 95 % bootstrap")
        handles, labels = grid[0][0].get_legend_handles_labels()
        named = dict(zip(labels, handles, strict=True))
        figure.legend(
            named.values(),
            named.keys(),
            loc="outside upper left",
            ncols=min(4, len(models)),
            frameon=False,
        )
    return figure


def _panel(axes, scores: list[Score], models: Sequence[str], titles: dict[str, str]) -> None:
    names = list(dict.fromkeys(one.metric for one in scores))
    step = 0.8 / max(1, len(models))
    for one in scores:
        if one.value is None:
            continue
        i = models.index(one.model)
        y = names.index(one.metric) + (i - (len(models) - 1) / 2) * step
        colour, shape = _COLOURS[i % len(_COLOURS)], _SHAPES[i % len(_SHAPES)]
        axes.plot([one.low, one.high], [y, y], color=colour, linewidth=1.4, zorder=2)
        axes.plot(
            [one.value],
            [y],
            marker=shape,
            color=colour,
            markersize=5,
            linestyle="none",
            label=one.model,
            zorder=3,
        )
    axes.set_yticks(range(len(names)), [titles[name] for name in names])
    axes.set_ylim(max(1, len(names)) - 0.5, -0.5)
    axes.grid(axis="x", color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)


def save(figure: Figure, path: Path) -> None:
    """Write the picture; the same scores give the same bytes."""
    import io

    mpl = plotting.library()
    image = io.BytesIO()
    kind = path.suffix.removeprefix(".")
    metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[kind]
    with mpl.rc_context({"svg.hashsalt": "immune-scores", "svg.fonttype": "none"}):
        figure.savefig(image, format=kind, dpi=160, metadata=metadata, facecolor="#ffffff")
    _write(path, image.getvalue())


def _write(path: Path, data: bytes) -> None:
    with staging.replacing(path) as beside:
        beside.write_bytes(data)


# The command


def parser() -> argparse.ArgumentParser:
    made = cli.parser(
        "immune_train.score",
        summary="Measure answers without a judge, models and the reference side by side.",
        example="python -m immune_train.score --reference data/sft/unified-clean/eval.jsonl"
        " q4=answers.jsonl --figure scores.svg",
    )
    made.add_argument("--reference", type=Path, required=True, help="the records that were asked")
    made.add_argument(
        "answers", nargs="*", metavar="NAME=FILE", help="answers that `generate --eval` wrote"
    )
    made.add_argument("--json", type=Path, help="write the scores there")
    made.add_argument("--figure", type=Path, help="draw them there, as .svg or .png")
    return made


def command(arguments: argparse.Namespace) -> None:
    if arguments.figure and arguments.figure.suffix not in FIGURES:
        raise ImmuneError(f"{arguments.figure} should end in {' or '.join(FIGURES)}")
    for path in filter(None, (arguments.json, arguments.figure)):
        staging.target(path)
    files: dict[str, Path] = {}
    for given in arguments.answers:
        name, equals, path = given.partition("=")
        if not (name and equals and path):
            raise ImmuneError(f"{given} should be NAME=FILE, a model's name and its answers")
        if name in (*files, REFERENCE):
            raise ImmuneError(f"there are two called {name}: name each once")
        files[name] = Path(path)
    reference = read_reference(arguments.reference)
    cases = {name: read_answers(path, reference) for name, path in files.items()}
    for name, of_model in cases.items():
        if lacking := len(reference) - len(of_model):
            print(
                f"warning: {name} lacks {lacking} of {len(reference)} answers, and is measured on"
                " those it has",
                file=sys.stderr,
            )
    cases = {REFERENCE: list(reference.values()), **cases}
    scores = score(cases)
    show(scores, list(cases))
    if arguments.json:
        content = {
            "reference": arguments.reference.name,
            "models": list(files),
            "intervals": {
                "confidence": 0.95,
                "shares": "Wilson",
                "means": f"percentile bootstrap, {_RESAMPLED} resamples, seed {_SEED}",
            },
            "scores": [asdict(one) for one in scores],
        }
        _write(arguments.json, (json.dumps(content, indent=2) + "\n").encode())
        print(f"wrote {arguments.json}")
    if arguments.figure:
        save(draw(scores, list(cases)), arguments.figure)
        print(f"wrote {arguments.figure}")


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
