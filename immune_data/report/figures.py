"""The figures of a report: its facts in, six drawings out.

Blue is what stays and orange what is lost, a pair that every kind of colour blindness tells apart,
and nothing is shown by colour alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from immune_data.common.drawing import INK, KEPT, LOST, MUTED, OTHER, SURFACE, Drawing, Key
from immune_data.common.text import one_line
from immune_data.prompts import TASKS
from immune_data.report.facts import Facts, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDE, _NARROW = 8.6, 3.5  # inches
_LABEL = 30  # characters
_VALUES = 8  # of a property, the rarer ones as one


def drawn(facts: Facts) -> list[Drawing]:
    """The figures of a page."""
    settings = facts.manifest.inputs.settings
    limit = settings["dag"]["limit"] if settings["dag"]["unit"] == "tokens" else None
    context = facts.overview["context"]
    first, last = facts.funnel[0], facts.overview
    scored = ", ".join(f"{task} {facts.limits[task]:g}" for task in facts.limits)
    return [
        Drawing(
            "funnel",
            "The way of the incidents",
            f"Bars step by step, from {first['incidents']:,} incidents read to the "
            f"{last['incidents_emitted']:,} that records were emitted of; what a step loses is "
            "set off in orange at the end of its bar.",
            (Key(KEPT, "stays"), Key(LOST, "lost at this step")),
            lambda narrow: funnel(facts.funnel, narrow),
        ),
        Drawing(
            "scores",
            "Scores by model and task",
            f"A histogram per model and task of what the standing judge runs gave. A dashed line "
            f"marks the gate ({scored}); scores below it are orange.",
            (Key(KEPT, "at the gate or above"), Key(LOST, "below it")),
            lambda narrow: scores(facts.scores, facts.models, facts.limits, narrow),
        ),
        Drawing(
            "winners",
            "Who wins, and by how much",
            "Incidents of the pool by the model with the best score, for the two scores that "
            "decide, and by the points it is ahead of the next; ties are orange.",
            (Key(KEPT, "has the best score"), Key(LOST, "ties with the next")),
            lambda narrow: winners(facts.leads, facts.models, narrow),
        ),
        Drawing(
            "tokens",
            "Conversation lengths and the context",
            f"A histogram per task of the tokens of a conversation. A dashed line marks the "
            f"context of {context:,} tokens; {last['over_context']:,} conversations end past it, "
            "in orange.",
            (Key(KEPT, "within the context"), Key(LOST, "past it")),
            lambda narrow: tokens(facts.lengths, facts.fit, context, narrow),
        ),
        Drawing(
            "evidence",
            "Length of the evidence",
            "Emitted incidents by the tokens of their evidence. Those whose evidence was cut "
            "are orange" + (f"; a dashed line marks the limit of {limit:,}." if limit else "."),
            (Key(KEPT, "shown whole"), Key(LOST, "cut")),
            lambda narrow: evidence(facts.evidence, limit, narrow),
        ),
        Drawing(
            "balance",
            "Train and eval, value by value",
            "For each task, origin, model, category and risk level, two bars: its share of the "
            "records of train, and of eval.",
            (Key(KEPT, "train"), Key(OTHER, "eval")),
            lambda narrow: balance(facts.balance, narrow),
        ),
    ]


def _figure(narrow: bool, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(_NARROW if narrow else _WIDE, height))


def label(text: str) -> str:
    """A value of the dataset as a label."""
    return one_line(text, _LABEL)


def _bare(axes: Axes) -> None:
    """No frame and no axis numbers: every bar has its own number."""
    axes.spines[:].set_visible(False)
    axes.set_xticks([])


def _counts(axes: Axes, what: str, narrow: bool) -> None:
    """A few whole numbers up the side, and what they count; a narrow figure has no room."""
    if narrow:
        axes.set_yticks([])
        return
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.tick_params(axis="y", labelsize=6.5, labelcolor=MUTED)
    axes.set_ylabel(what, color=MUTED, fontsize=7)


def _threshold(axes: Axes, at: float, text: str | None = None) -> None:
    axes.axvline(at, color=INK, linewidth=1, linestyle=(0, (3, 2)))
    if text:
        axes.annotate(
            text,
            (at, 1),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=7.5,
        )


def funnel(rows: Sequence[Row], narrow: bool) -> Figure:
    """Bars that shorten step by step, what each step loses at their end."""
    start = next((i for i, row in enumerate(rows) if row["step"] == "risk judged"), len(rows))
    parts = [("unified: judged on all tasks", rows[:start])]
    if rows[start:]:
        parts.append(("standalone: judged on causes and risks", rows[start:]))
    unit = 0.36 if narrow else 0.25
    figure = _figure(narrow, 0.5 * len(parts) + unit * len(rows))
    heights = [len(part) + 0.3 for _, part in parts]
    grid = figure.subplots(len(parts), 1, squeeze=False, height_ratios=heights)
    most = max((row["incidents"] + row["lost"] for row in rows), default=1) or 1
    for axes, (title, part) in zip(grid[:, 0], parts, strict=True):
        axes.set_title(title)
        _bare(axes)
        places = range(len(part))
        kept = [row["incidents"] for row in part]
        thick = 0.42 if narrow else 0.72
        axes.barh(places, kept, height=thick, color=KEPT)
        axes.barh(places, [row["lost"] for row in part], left=kept, height=thick, color=LOST)
        axes.set_xlim(0, most * (1.24 if narrow else 1.42))
        axes.set_ylim(len(part) - 0.4, -0.75 if narrow else -0.6)
        names = [row["step"].replace("_", " ") for row in part]
        axes.set_yticks([] if narrow else places, [] if narrow else names)
        for place, name, row in zip(places, names, part, strict=True):
            caption = f"{row['incidents']:,}"
            if row["lost"]:
                caption += f" · −{row['lost']:,}"
                caption += "" if narrow else f" {row['why'].replace('_', ' ')}"
            elif row["records"] is not None:
                caption += f" · {row['records']:,} records"
            end = (row["incidents"] + row["lost"], place)
            axes.annotate(caption, end, (4, 0), textcoords="offset points", va="center")
            if narrow:
                axes.text(0, place - 0.26, name, va="bottom", fontsize=7.5)
    axes.set_xlabel("incidents")
    return figure


def scores(
    rows: Sequence[Row], models: Sequence[str], limits: dict[str, float], narrow: bool
) -> Figure:
    """A histogram per model and task, and the gate."""
    counts: dict[tuple[str, str], dict[int, list[int]]] = defaultdict(
        lambda: defaultdict(lambda: [0, 0])
    )
    for row in rows:
        below = row["score"] < limits[row["task"]]
        counts[row["model"], row["task"]][int(row["score"])][below] += row["answers"]
    figure = _figure(narrow, 0.7 + 1.05 * len(models))
    grid = figure.subplots(len(models), len(TASKS), squeeze=False, sharex="col", sharey="col")
    for place, (line, model) in enumerate(zip(grid, models, strict=True)):
        for axes, task in zip(line, TASKS, strict=True):
            by_span = counts[model, task]
            spans = sorted(by_span)
            passing = [by_span[span][0] for span in spans]
            failing = [by_span[span][1] for span in spans]
            axes.bar(spans, passing, width=0.86, align="edge", color=KEPT)
            axes.bar(spans, failing, width=0.86, align="edge", color=LOST, bottom=passing)
            _counts(axes, "answers" if axes is line[0] else "", narrow)
            axes.set_xlim(-0.3, 11.2 if task == "summary" else 31.2)
            answers = sum(passing) + sum(failing)
            if answers:
                below = f"{sum(failing) / answers:.0%} below"
                behind = {"facecolor": SURFACE, "edgecolor": "none", "pad": 1}
                axes.text(
                    0.02,
                    0.96,
                    below,
                    transform=axes.transAxes,
                    va="top",
                    fontsize=6.5 if narrow else 7,
                    color=MUTED,
                    bbox=behind,
                )
            _threshold(axes, limits[task], f"gate {limits[task]:g}" if place == 0 else None)
        line[0].annotate(
            label(model),
            (0, 1),
            (0, 14 if place == 0 else 3),
            fontweight="bold",
            xycoords="axes fraction",
            textcoords="offset points",
            va="bottom",
        )
    for axes, task in zip(grid[-1], TASKS, strict=True):
        most = 10 if task == "summary" else 30
        axes.set_xlabel(task if narrow else f"{task} score, 0 to {most}")
    return figure


def winners(rows: Sequence[Row], models: Sequence[str], narrow: bool) -> Figure:
    """Who has the best score, and by how much."""
    tasks = ("summary", "cause")
    bars = 0.22 * len(models) + 0.55
    if narrow:
        figure = _figure(narrow, 2 * bars + 3.0)
        grid = figure.subplots(4, 1, height_ratios=[bars, 1.4, bars, 1.4])
        pairs = [(grid[0], grid[1]), (grid[2], grid[3])]
    else:
        figure = _figure(narrow, 2 * max(bars, 1.5))
        grid = figure.subplots(2, 2, width_ratios=[1, 1.15])
        pairs = [(line[0], line[1]) for line in grid]
    for (left, right), task in zip(pairs, tasks, strict=True):
        of_task = [row for row in rows if row["task"] == task]
        wins = [sum(r["incidents"] for r in of_task if r["model"] == model) for model in models]
        total = sum(wins) or 1
        what = "summary: best score" if task == "summary" else "cause, and with it risk: best score"
        _shares(left, [label(model) for model in models], wins, total)
        left.set_title(what)
        left.set_xlabel("incidents")
        right.set_xlabel("points ahead")
        leads: dict[int, int] = defaultdict(int)
        for row in of_task:
            if row["lead"] is not None:
                # A winner within the margin may be behind: the order decided, as in a tie.
                leads[max(0, -int(-row["lead"] // 1))] += row["incidents"]
        last = max(leads, default=0)
        places = range(last + 1)
        heights = [leads[place] for place in places]
        right.bar(places, heights, width=0.84, color=[LOST if p == 0 else KEPT for p in places])
        _counts(right, "incidents", narrow)
        right.set_ylim(0, max(heights, default=0) * 1.18 or 1)
        right.set_title(f"{task}: points ahead of the next")
        every = max(1, (last + 1) // (8 if narrow else 14) + 1)
        ticks = list(range(0, last + 1, every))
        right.set_xticks(ticks, ["tie" if tick == 0 else f"≤{tick}" for tick in ticks])
        if last < (9 if narrow else 16):
            for place, height in zip(places, heights, strict=True):
                right.text(place, height, f"{height:,}", ha="center", va="bottom", fontsize=7)
    return figure


def _shares(axes: Axes, names: Sequence[str], values: Sequence[int], total: int) -> None:
    places = range(len(names))
    _bare(axes)
    axes.barh(places, values, height=0.7, color=KEPT)
    axes.set_yticks(places, names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, max(values, default=0) * 1.5 or 1)
    for place, value in zip(places, values, strict=True):
        caption = f"{value:,} · {value / total:.1%}"
        axes.annotate(caption, (value, place), (4, 0), textcoords="offset points", va="center")


def tokens(rows: Sequence[Row], fit: Sequence[Row], context: int, narrow: bool) -> Figure:
    """A histogram of conversation lengths per task, and where the context ends."""
    figure = _figure(narrow, 4.3 if narrow else 3.9)
    grid = figure.subplots(len(TASKS), 1, sharex=True)
    last = max([row["tokens_from"] + 256 for row in rows] + [context])
    for axes, task in zip(grid, TASKS, strict=True):
        of_task = [row for row in rows if row["task"] == task]
        axes.bar(
            [row["tokens_from"] for row in of_task],
            [row["records"] for row in of_task],
            width=232,
            align="edge",
            color=[LOST if row["tokens_from"] >= context else KEPT for row in of_task],
        )
        _counts(axes, "conversations", narrow)
        axes.set_xlim(0, last * 1.08)
        cut = sum(row["answer_cut"] for row in fit if row["task"] == task)
        lost = sum(row["answer_lost"] for row in fit if row["task"] == task)
        records = sum(row["records"] for row in fit if row["task"] == task)
        axes.set_title(f"{task}: {records:,} conversations")
        caption = f"answers cut: {cut:,}\nlost whole: {lost:,}"
        axes.text(
            0.015, 0.93, caption, transform=axes.transAxes, va="top", fontsize=7.5, color=MUTED
        )
        _threshold(axes, context, f"context {context:,}" if axes is grid[0] else None)
    grid[-1].set_xlabel("tokens of a conversation")
    grid[-1].xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    grid[-1].locator_params(axis="x", nbins=5 if narrow else 10)
    return figure


def evidence(rows: Sequence[Row], limit: int | None, narrow: bool) -> Figure:
    """Incidents by the length of their evidence, and whether it was cut."""
    figure = _figure(narrow, 2.5)
    axes = figure.subplots()
    powers = [row["power"] for row in rows]
    whole, cut = [row["whole"] for row in rows], [row["cut"] for row in rows]
    axes.bar(powers, whole, width=0.45, align="edge", color=KEPT)
    axes.bar(powers, cut, width=0.45, align="edge", color=LOST, bottom=whole)
    _counts(axes, "incidents", narrow)
    axes.set_title(f"shown whole: {sum(whole):,} · cut: {sum(cut):,}", pad=14)
    first, last = int(min(powers, default=0)), int(max(powers, default=1)) + 1
    every = 2 if narrow and last - first > 6 else 1
    ticks = range(first, last + 1, every)
    axes.set_xticks(ticks, [_short(2**tick) for tick in ticks])
    axes.set_xlabel("tokens of the whole evidence, each step twice the last")
    if limit is not None:
        from math import log2

        _threshold(axes, log2(limit), f"limit {limit:,}")
    return figure


def _short(value: int) -> str:
    return f"{value:,}" if value < 1024 else f"{value // 1024:,}k"


def balance(rows: Sequence[Row], narrow: bool) -> Figure:
    """Each value's share of the records of either split."""
    titles = {
        "task": "task",
        "origin": "origin",
        "model": "model that answered",
        "category": "category",
        "level": "risk level named first",
    }
    parts = [(title, _by_value(rows, name)) for name, title in titles.items()]
    parts = [(title, part) for title, part in parts if part]
    lines = sum(len(part) for _, part in parts)
    unit = 0.33
    figure = _figure(narrow, max(1.0, unit * lines + 0.36 * len(parts) + 0.2))
    heights = [len(part) + 0.2 for _, part in parts] or [1]
    grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)
    for axes, (title, part) in zip(grid[:, 0], parts, strict=False):
        axes.set_title(title)
        _bare(axes)
        axes.set_xlim(0, 1.36 if narrow else 1.16)
        axes.set_ylim(len(part) - 0.45, -0.55)
        axes.set_yticks(range(len(part)), list(part))
        for place, shares in enumerate(part.values()):
            for offset, split, colour in ((-0.2, "train", KEPT), (0.2, "eval", OTHER)):
                records, share = shares.get(split, (0, 0.0))
                axes.barh(place + offset, share, height=0.36, color=colour)
                caption = f"{split} {records:,} · {share:.1%}"
                axes.annotate(
                    caption,
                    (share, place + offset),
                    (4, 0),
                    fontsize=7,
                    textcoords="offset points",
                    va="center",
                )
    grid[-1, 0].set_xlabel("share of the split's records")
    return figure


def _by_value(rows: Sequence[Row], name: str) -> dict[str, dict[str, tuple[int, float]]]:
    """By value and split, the records and their share of the split; the most frequent first."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    totals: dict[str, int] = defaultdict(int)
    for row in rows:
        if row["property"] == name:
            counts[row["value"]][row["split"]] += row["records"]
            totals[row["split"]] += row["records"]
    ordered = sorted(counts, key=lambda value: (-sum(counts[value].values()), value))
    if name == "task":
        ordered = [task for task in TASKS if task in counts]
    merged: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for place, value in enumerate(ordered):
        few = place < _VALUES or len(ordered) == _VALUES + 1
        shown = label(value) if few else f"{len(ordered) - _VALUES} others"
        for split, records in counts[value].items():
            merged[shown][split] += records
    return {
        value: {split: (records, records / totals[split]) for split, records in splits.items()}
        for value, splits in merged.items()
    }
