"""Lay out the report: its facts and figures in, one HTML page out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

from immune_data.common.drawing import COLOURS, DARK, Drawn
from immune_data.common.text import counted, middle_left_out, middle_out, one_line
from immune_data.contract import chat
from immune_data.prompts import Message
from immune_data.report.facts import Facts, Offence
from immune_data.report.html import Markup, element, joined, shortened, shown, table

_CELL = 120  # characters of an offending row's cell
_COLUMNS = 8
_HEAD, _TAIL = 20, 8  # lines of a long message
_LINE = 600  # characters of a long line

# What a severity is called, and how it looks.
_TAGS = {"error": ("error", "failed"), "warn": ("warning", "failed"), "info": ("note", "noted")}

_SECTIONS = {
    "funnel": "Funnel",
    "scores": "Scores",
    "winners": "Winners",
    "tokens": "Tokens",
    "balance": "Balance",
    "audit": "Audit",
    "examples": "Examples",
    "provenance": "Provenance",
}


def render(facts: Facts, drawn: Sequence[Drawn]) -> str:
    """The page."""
    by_name = {figure.name: figure for figure in drawn}
    name = facts.manifest.recipe
    style = files("immune_data.common").joinpath("page.css").read_text(encoding="utf-8")
    style += f"@media (prefers-color-scheme: dark){{{DARK}}}\n"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{name}: what the dataset is made of"),
        element("style", Markup(f"\n{style}")),
    )
    body = element(
        "body",
        _header(facts),
        Markup("\n"),
        element(
            "main",
            _keys(facts),
            _funnel(facts, by_name),
            _scores(facts, by_name),
            _winners(by_name),
            _tokens(facts, by_name),
            _balance(facts, by_name),
            _audit(facts),
            _examples(facts),
            _provenance(facts),
        ),
        element("footer", element("p", "Made by ", _code("python -m immune_data.report"), ".")),
    )
    return f"<!doctype html>\n{element('html', head, Markup(chr(10)), body, lang='en')}\n"


def _code(text: str) -> Markup:
    return element("code", text)


def _prose(text: str) -> list[str]:
    """Text whose every other part, between backquotes, is code."""
    parts = text.split("`")
    return [_code(part) if i % 2 else part for i, part in enumerate(parts)]


def _section(name: str, *content: str) -> Markup:
    heading = element("h2", _SECTIONS[name], id=f"{name}-heading")
    content = (heading, *(joined([Markup("\n"), part]) for part in content))
    return joined(
        [
            Markup("\n"),
            element("section", *content, id=name, aria_labelledby=f"{name}-heading"),
        ]
    )


def _figure(figure: Drawn) -> Markup:
    return element(
        "figure",
        element("div", Markup(figure.wide), class_="wide"),
        element("div", Markup(figure.narrow), class_="narrow"),
        element("figcaption", figure.description),
    )


def _header(facts: Facts) -> Markup:
    inputs = facts.manifest.inputs
    links = (
        element("li", element("a", title, href=f"#{name}")) for name, title in _SECTIONS.items()
    )
    return element(
        "header",
        element("p", f"immune {inputs.version} · dataset report", class_="kicker"),
        element("h1", facts.manifest.recipe),
        element("p", _sentence(inputs.settings["description"]), class_="lead"),
        *_made_up(facts),
        element("nav", element("ul", *links), aria_label="Sections"),
    )


def _made_up(facts: Facts) -> Iterator[Markup]:
    """What a page of synthetic data says on top."""
    if facts.manifest.synthetic:
        yield element(
            "p",
            element("span", "synthetic", class_="tag failed"),
            " A program made up every incident, answer and score on this page. Nothing of it "
            "happened, and no model and no judge was asked.",
        )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _keys(facts: Facts) -> Markup:
    overview = facts.overview
    failed = {
        severity: sum(
            offence.result.failed and offence.result.check.severity == severity
            for offence in facts.audit
        )
        for severity in ("error", "warn", "info")
    }
    keys = [
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
    return element(
        "dl",
        *(
            element(
                "div",
                element("dt", term),
                element("dd", value, element("span", of, class_="of")),
                class_="key",
            )
            for term, value, of in keys
        ),
        class_="keys",
    )


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


def _funnel(facts: Facts, drawn: dict[str, Drawn]) -> Markup:
    return _section(
        "funnel",
        element(
            "p",
            "An incident passes every step or is out, and the first one that it fails is its "
            "verdict. ",
            _code("python -m immune_data.why INCIDENT"),
            " tells any incident's way in full.",
        ),
        _legend(("kept", "stays"), ("lost", "lost at this step")),
        _figure(drawn["funnel"]),
        element(
            "details",
            element("summary", "The same as a table"),
            table(
                "The way of the incidents",
                ("step", "incidents", "records", "lost", "why"),
                [
                    [row["step"], row["incidents"], row["records"], row["lost"], row["why"]]
                    for row in facts.funnel
                ],
            ),
        ),
    )


def _legend(*entries: tuple[str, str]) -> Markup:
    parts = []
    for colour, said in entries:
        parts += [_swatch(colour), said]
    return element("p", *parts, class_="key-line")


def _swatch(colour: str) -> Markup:
    # An SVG, so that it takes on the figures' colours in the dark as well.
    rectangle = Markup(
        f'<svg viewBox="0 0 8 8" class="swatch" aria-hidden="true">'
        f'<path d="M0 0H8V8H0z" style="fill: {COLOURS[colour]}"/></svg>'
    )
    return rectangle


def _scores(facts: Facts, drawn: dict[str, Drawn]) -> Markup:
    looked_at = {
        "any": "The gates look at an incident's best score: an answer below the line does not lose "
        "its incident while another is above.",
        "winner": "The gates look at the answers that are used: one below the line is not used.",
    }
    return _section(
        "scores",
        element(
            "p",
            "What the judges gave each model's answers. ",
            looked_at[facts.manifest.inputs.settings["gates"]["look_at"]],
        ),
        _legend(("kept", "at the gate or above"), ("lost", "below it")),
        _figure(drawn["scores"]),
    )


def _winners(drawn: dict[str, Drawn]) -> Markup:
    return _section(
        "winners",
        element(
            "p",
            "The model with the best score gives the answer to learn from; between equals, the "
            "order of the judge's record decides. Where many lead by a point or not at all, "
            "another run of the judge may have chosen another model.",
        ),
        _figure(drawn["winners"]),
    )


def _tokens(facts: Facts, drawn: dict[str, Drawn]) -> Markup:
    columns = {
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
    return _section(
        "tokens",
        element(
            "p",
            f"A trainer sees the first {facts.overview['context']:,} tokens of a conversation. "
            "What is past them is not learnt, and it is always the answer that is last.",
        ),
        _legend(("kept", "within the context"), ("lost", "past it, or cut")),
        _figure(drawn["tokens"]),
        table(
            "Records by split and task, and what of them is lost",
            list(columns.values()),
            [[row[key] for key in columns] for row in facts.fit],
        ),
        _figure(drawn["evidence"]),
    )


def _balance(facts: Facts, drawn: dict[str, Drawn]) -> Markup:
    return _section(
        "balance",
        element("p", "Shares are of a split's records; unlike ones would make eval a poor guide."),
        _legend(("kept", "train"), ("other", "eval")),
        _figure(drawn["balance"]),
    )


def _audit(facts: Facts) -> Markup:
    found = [offence for offence in facts.audit if offence.result.failed]
    passed = [offence for offence in facts.audit if not offence.result.failed]
    return _section(
        "audit",
        element(
            "p",
            "A check is a query that returns the rows nobody wants. An ",
            element("strong", "error"),
            " makes a record wrong to train on or leaves an incident unaccounted for, a ",
            element("strong", "warning"),
            " wants a look, and a ",
            element("strong", "note"),
            " is there to be known.",
        ),
        *(_offence(offence) for offence in found),
        table(
            f"{counted(len(passed), 'check')} that found nothing",
            ("check", "severity", "what it looks for"),
            [
                [
                    _code(offence.result.check.name),
                    _TAGS[offence.result.check.severity][0],
                    joined(_prose(offence.result.check.sentence)),
                ]
                for offence in passed
            ],
        )
        if passed
        else element("p", "Every check found something."),
    )


def _offence(offence: Offence) -> Markup:
    result, check = offence.result, offence.result.check
    said, look = _TAGS[check.severity]
    bound = () if check.bound is None else (f" The bound is {check.bound:g}.",)
    summary = element(
        "summary",
        element("span", said, class_=f"tag {look}"),
        _code(check.name),
        element("span", counted(result.rows, "row"), class_="count"),
        element("span", *_prose(check.sentence), *bound, class_="what"),
    )
    columns, hidden = offence.columns[:_COLUMNS], len(offence.columns) - _COLUMNS
    more = () if hidden <= 0 else (f"; {hidden} more columns are not shown",)
    shown_rows = [[shortened(value, _CELL) for value in row[:_COLUMNS]] for row in offence.rows]
    several = " 1" if len(offence.rows) == 1 else f"s 1 to {len(offence.rows)}"
    unfolded = {"open": ""} if check.severity == "error" else {}
    return element(
        "details",
        summary,
        table("".join((f"Row{several} of {result.rows:,}", *more)), [*columns], shown_rows),
        **unfolded,
    )


def _examples(facts: Facts) -> Markup:
    return _section(
        "examples",
        element(
            "p",
            "The first conversation of each task as it is emitted"
            + (
                ", and the one that loses most of its answer past the context"
                if any(example["answer_tokens_lost"] for example in facts.examples)
                else ""
            )
            + ". What carries loss, the answer and its ",
            _code("<|im_end|>"),
            ", is set off by a bar and a tint; long evidence is shortened in the middle.",
        ),
        *(part for example in facts.examples for part in _example(example)),
    )


def _example(example: dict[str, Any]) -> Iterator[Markup]:
    yield element(
        "h3", f"{example['task'].capitalize()}, {example['split']} line {example['line']:,}"
    )
    facts = [
        ("incident ", _code(one_line(example["incident_id"], 80))),
        (f"answered by {one_line(example['model'], 80)}",),
        (f"score {shown(example['score'])}",),
        (f"{example['tokens']:,} tokens",),
        (f"{example['dag_tokens_shown']:,} of {example['dag_tokens']:,} evidence tokens shown",),
    ]
    if example["answer_tokens_lost"]:
        lost, whole = example["answer_tokens_lost"], example["answer_tokens"]
        said = f"{lost:,} of the answer's {whole:,} tokens are past {example['context']:,}"
        facts.append((element("strong", said),))
    yield element("p", joined((joined(fact) for fact in facts), " · "), class_="key-line")
    *asked, answer = chat.with_system([Message(**turn) for turn in example["messages"]])
    turns = [
        element(
            "div",
            element("div", turn.role, class_="role"),
            element("pre", *_lines(turn.content)),
            class_="turn",
        )
        for turn in asked
    ]
    end = element("span", "<|im_end|>", class_="left-out")
    turns.append(
        element(
            "div",
            element("div", f"{answer.role} · carries loss", class_="role"),
            element("pre", answer.content, end),
            class_="turn loss",
        )
    )
    yield element("div", *turns, class_="talk")


def _lines(content: str) -> list[str]:
    head, hidden, tail = middle_out(content.split("\n"), _HEAD, _TAIL)
    first, last = (
        "\n".join(middle_left_out(line, _LINE) for line in part) for part in (head, tail)
    )
    if not hidden:
        return [first]
    note = element("span", f"… {hidden:,} lines left out …", class_="left-out")
    return [f"{first}\n", note, f"\n{last}"]


def _provenance(facts: Facts) -> Markup:
    content = facts.manifest
    inputs = content.inputs
    versions = [
        ["immune", inputs.version],
        ["manifest schema", str(inputs.schema_version)],
        ["vocabulary, sha256", _hash(inputs.vocabulary_sha256)],
    ]
    return _section(
        "provenance",
        element(
            "p",
            "The same sources, settings and version give the same bytes. The manifest beside the "
            "emitted files says all of this, and ",
            _code("python -m immune_data.emit --check"),
            " verifies it.",
        ),
        table(
            "Source files",
            ("file", "sha256"),
            [[name, _hash(sha256)] for name, sha256 in inputs.sources.items()],
        ),
        table(
            "Emitted files",
            ("file", "bytes", "sha256"),
            [[name, file.bytes, _hash(file.sha256)] for name, file in content.outputs.items()],
        ),
        table("Versions", ("what", "value"), versions),
        _folded("Settings", list(_flat(inputs.settings))),
        _folded(
            "SQL and prompts, by sha256",
            [
                [name, _hash(sha256)]
                for part in (inputs.sql, inputs.prompts)
                for name, sha256 in part.items()
            ],
        ),
    )


def _hash(sha256: str) -> Markup:
    return element("code", sha256, class_="hash")


def _folded(title: str, rows: list[list[Any]]) -> Markup:
    return element("details", element("summary", title), table(title, ("what", "value"), rows))


def _flat(value: Any, path: str = "") -> Iterator[list[Any]]:
    if isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(entry, dict) for entry in value)
    ):
        entries = value.items() if isinstance(value, dict) else enumerate(value, start=1)
        for key, entry in entries:
            yield from _flat(entry, f"{path}.{key}" if path else str(key))
    else:
        said = ", ".join(map(str, value)) if isinstance(value, list) else shown(value)
        yield [path, said]
