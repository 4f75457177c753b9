"""The report: its facts and figures in, one HTML page out.

Here is what the page says; how it looks is in `page.html.jinja`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from immune_data.common import digests, page, templates
from immune_data.common.drawing import Drawing
from immune_data.common.page import Table, cell_text, code, prose
from immune_data.common.text import counted, excerpt, one_line, split_middle, without_middle
from immune_data.contract import chat
from immune_data.contract.agreement import Estimate
from immune_data.prompts import Message
from immune_data.report import verdict
from immune_data.report.facts import Facts, Offence

_CELL = 120  # characters of an offending row's cell
_COLUMNS = 8
_HEAD, _TAIL = 20, 8  # lines of a long message
_LINE = 600  # characters of a long line
_NAME = 80  # characters of a name
_DIGEST = 12  # characters of a sha256 that stands for a version

# What a severity is called, and how it looks.
_TAGS = {"error": ("error", "failed"), "warn": ("warning", "failed"), "info": ("note", "noted")}

_SECTIONS = (
    *("funnel", "scores", "winners", "judges", "tokens", "balance", "audit", "examples"),
    "provenance",
)
_FIT = {
    "split": "split",
    "task": "task",
    "records": "records",
    "tokens": "tokens",
    "longest": "longest",
    "whole": "within the context",
    "answer_cut": "answer cut",
    "answer_lost": "answer lost whole",
    "dag_cut": "evidence cut",
}
_FUNNEL = ("step", "incidents", "records", "lost", "why")


def render(facts: Facts, drawn: Sequence[Drawing]) -> str:
    """The page."""
    inputs = facts.manifest.inputs
    return templates.render(
        "immune_data.report",
        "page.html.jinja",
        command="python -m immune_data.report",
        style=page.style(),
        title=f"{facts.manifest.recipe}: what the dataset is made of",
        sections=[(name, name.capitalize()) for name in _SECTIONS],
        version=inputs.version,
        recipe=facts.manifest.recipe,
        verdict=verdict.of(facts),
        description=_sentence(inputs.settings["description"]),
        source=facts.source,
        sources_sha256=digests.digest(inputs.sources)[:_DIGEST],
        synthetic=facts.manifest.synthetic,
        keys=_keys(facts),
        figures=page.figures(drawn),
        funnel=Table(
            "The way of the incidents",
            _FUNNEL,
            [[row[key] for key in _FUNNEL] for row in facts.funnel],
        ),
        gates_look_at=inputs.settings["gates"]["look_at"],
        judging=inputs.settings["judging"],
        judges=_judges(facts),
        compared=_compared(facts),
        context=f"{facts.overview['context']:,}",
        fit=Table(
            "Records by split and task, and what of them is lost",
            tuple(_FIT.values()),
            [[row[key] for key in _FIT] for row in facts.fit],
        ),
        findings=[_finding(offence) for offence in facts.audit if offence.result.failed],
        passed=_passed([offence for offence in facts.audit if not offence.result.failed]),
        any_lost=any(example["answer_tokens_lost"] for example in facts.examples),
        examples=[_example(example) for example in facts.examples],
        provenance=_provenance(facts),
        folded=_settings(facts),
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _keys(facts: Facts) -> list[tuple[str, str, str]]:
    overview = facts.overview
    failed = {
        severity: sum(
            offence.result.failed and offence.result.check.severity == severity
            for offence in facts.audit
        )
        for severity in ("error", "warn")
    }
    return [
        ("Train records", f"{overview['train_records']:,}", "to learn from"),
        ("Eval records", f"{overview['eval_records']:,}", _held_out(overview)),
        (
            "Incidents",
            f"{overview['incidents_emitted']:,}",
            f"of {overview['incidents_read']:,} read",
        ),
        ("Tokens", _millions(overview["tokens"]), "under Qwen2.5's template"),
        (
            "Cut answers",
            f"{overview['answers_cut'] + overview['answers_lost']:,}",
            f"by {overview['context']:,} tokens; {overview['answers_lost']:,} lost whole",
        ),
        (
            "Audit",
            counted(failed["error"], "error"),
            f"{counted(failed['warn'], 'warning')} in {counted(len(facts.audit), 'check')}",
        ),
    ]


def _held_out(overview: dict[str, Any]) -> str:
    """Whether the eval side is held out, which an incident that train has as well is not."""
    if not overview["eval_records"]:
        return "nothing to measure by"
    if overview["eval_records_in_train"]:
        return f"{overview['eval_records_in_train']:,} not held out: their incidents are in train"
    if overview["eval_records_kin_in_train"]:
        return f"{overview['eval_records_kin_in_train']:,} of windows or evidence that train has"
    return "held out"


def _millions(number: int) -> str:
    return f"{number / 1e6:.2f} M" if number >= 10**6 else f"{number:,}"


def _judges(facts: Facts) -> Table:
    """A line for each task of a judge run; what it cannot tell is left open."""
    rows = []
    for one in facts.judges:
        noise = one.noise and _measured(one.noise.deviation)
        worth = [of and _measured(of, "+") for of in (one.first, one.length)]
        rows.append(
            [f"{one.judge}, {one.judge_run}", one.task, one.incidents, one.calls, noise, *worth]
        )
    columns = (
        *("judge run", "task", "incidents", "calls"),
        *("noise", "first place", "twice the length"),
    )
    return Table("Judge runs: in points of the score, ± half the 95% interval", columns, rows)


def _measured(of: Estimate, sign: str = "") -> str:
    return f"{of.value:{sign}.2f}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{(of.high - of.low) / 2:.2f}"


def _compared(facts: Facts) -> Table | None:
    if not facts.compared:
        return None
    rows = []
    for one in facts.compared:
        of = one.agreement
        correlation = None if of.correlation is None else f"{of.correlation:.2f}"
        rows.append(
            [
                *(f"{one.first} and {one.second}", one.task, of.incidents),
                f"{of.changed:,} of {of.scores:,}, {of.changed / of.scores:.0%}",
                f"{of.kept:,} of {of.incidents:,}, {of.kept / of.incidents:.0%}",
                correlation,
            ]
        )
    columns = ("judge runs", "task", "incidents", "scores changed", "best kept", "correlation")
    return Table("Incidents that two runs judged", columns, rows)


def _finding(offence: Offence) -> dict[str, Any]:
    """A check that found something, with some of the rows."""
    result, check = offence.result, offence.result.check
    severity, look = _TAGS[check.severity]
    hidden = len(offence.columns) - _COLUMNS
    are = "is" if hidden == 1 else "are"
    more = "" if hidden <= 0 else f"; {counted(hidden, 'more column')} {are} not shown"
    several = " 1" if len(offence.rows) == 1 else f"s 1 to {len(offence.rows)}"
    return {
        "name": check.name,
        "severity": severity,
        "look": look,
        "count": counted(result.rows, "row"),
        "sentence": prose(check.sentence),
        "bound": "" if check.bound is None else f"{check.bound:g}",
        "unfolded": check.severity == "error",
        "rows": Table(
            f"Row{several} of {result.rows:,}{more}",
            offence.columns[:_COLUMNS],
            [[_shortened(value) for value in row[:_COLUMNS]] for row in offence.rows],
            stacks=True,
        ),
    }


def _shortened(value: Any) -> Any:
    """A value of a dataset, short enough for a cell."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return excerpt(str(value), _CELL)


def _passed(offences: Sequence[Offence]) -> Table | None:
    if not offences:
        return None
    checks = [offence.result.check for offence in offences]
    return Table(
        f"{counted(len(checks), 'check')} that found nothing",
        ("check", "severity", "what it looks for"),
        [[code(one.name), _TAGS[one.severity][0], prose(one.sentence)] for one in checks],
        stacks=True,
    )


def _example(example: dict[str, Any]) -> dict[str, Any]:
    *asked, answer = chat.with_system([Message(**turn) for turn in example["messages"]])
    lost, whole = example["answer_tokens_lost"], example["answer_tokens"]
    of = f"{lost:,} of the answer's {whole:,} tokens are past {example['context']:,}"
    return {
        "title": f"{example['task'].capitalize()}, {example['split']} line {example['line']:,}",
        "incident": one_line(example["incident_id"], _NAME),
        "model": one_line(example["model"], _NAME),
        "score": cell_text(example["score"]),
        "tokens": f"{example['tokens']:,} tokens",
        "evidence": f"{example['dag_tokens_shown']:,} of {example['dag_tokens']:,} evidence tokens "
        "shown",
        "lost": of if lost else "",
        "asked": [_turn(turn) for turn in asked],
        "answer": answer,
    }


def _turn(turn: Message) -> dict[str, str]:
    """A message, shortened in its middle."""
    head, hidden, tail = split_middle(turn.content.split("\n"), _HEAD, _TAIL)
    first, last = ("\n".join(without_middle(line, _LINE) for line in part) for part in (head, tail))
    left_out = counted(hidden, "line") if hidden else ""
    return {"role": turn.role, "first": first, "hidden": left_out, "last": last}


def _provenance(facts: Facts) -> list[Table]:
    content = facts.manifest
    inputs = content.inputs
    return [
        Table(
            "Source files",
            ("file", "sha256"),
            [[name, _hash(sha256)] for name, sha256 in inputs.sources.items()],
            stacks=True,
        ),
        Table(
            "Emitted files",
            ("file", "bytes", "sha256"),
            [[name, file.bytes, _hash(file.sha256)] for name, file in content.outputs.items()],
            stacks=True,
        ),
        Table(
            "Versions",
            ("what", "value"),
            [
                ["immune", inputs.version],
                ["manifest schema", str(inputs.schema_version)],
                ["vocabulary, sha256", _hash(inputs.vocabulary_sha256)],
            ],
            stacks=True,
        ),
    ]


def _settings(facts: Facts) -> list[Table]:
    """What is long, and of use to few."""
    inputs = facts.manifest.inputs
    digest_of = [*inputs.sql.items(), *inputs.prompts.items()]
    return [
        Table("Settings", ("what", "value"), list(_flat(inputs.settings)), stacks=True),
        Table(
            "SQL and prompts, by sha256",
            ("what", "value"),
            [[name, _hash(sha256)] for name, sha256 in digest_of],
            stacks=True,
        ),
    ]


def _hash(sha256: str) -> str:
    return code(sha256, "hash")


def _flat(value: Any, path: str = "") -> Iterator[list[Any]]:
    if isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(entry, dict) for entry in value)
    ):
        entries = value.items() if isinstance(value, dict) else enumerate(value, start=1)
        for key, entry in entries:
            yield from _flat(entry, f"{path}.{key}" if path else str(key))
    else:
        yield [path, ", ".join(map(str, value)) if isinstance(value, list) else cell_text(value)]
