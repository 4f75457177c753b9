"""Tell one incident's way through every step: its id in, its story out.

    python -m immune_data.why 01080c37 --recipe unified-v2

In: `immune.duckdb` of an output folder, and an incident's id or the beginning of one. Out: where
it was read, what the judges gave, each gate's value against its limit, the choice, the split and
the final conversations, in which what carries loss is set off from what does not. What is told is
asked by the queries in `sql/why/`; an incident that was lost on the way is told up to there.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from immune_data import recipes
from immune_data.common import cli
from immune_data.common.errors import ImmuneError
from immune_data.common.table import aligned, numeric, widths
from immune_data.common.text import middle_out, one_line, visible
from immune_data.contract import chat
from immune_data.prompts import Message

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]

_NAMED = 5  # incidents that a complaint names
_HEAD, _TAIL = 20, 8  # lines of a long message
_LINE = 400  # characters of a long line

_SCALARS = ("incident", "split")
_PARTS = (
    *("incident", "read", "rejects", "dags", "answers", "scores", "choices", "gates", "split"),
    "records",
)
_SUB_SCORES = (
    *("evidence_grounding", "cause_specificity", "alternative_hypotheses"),
    *("risk_calibration", "actionability", "business_impact"),
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "immune_data.why",
        summary="Tell one incident's way from the source files to its conversations.",
        example="python -m immune_data.why 01080c37 --recipe unified-v2",
    )
    parser.add_argument("incident", help="an incident's id, or the beginning of one")
    cli.add_out(parser)
    cli.add_recipe(parser)
    parser.add_argument("--full", action="store_true", help="shorten no message")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return cli.run(parser, _command, argv)


def _command(arguments: argparse.Namespace) -> None:
    recipe = recipes.load(arguments.recipe)
    from immune_data.select.database import reading

    with reading(arguments.out, recipe) as connection:
        story = tell(connection, find(connection, arguments.incident))
    if arguments.json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(story)).decode())
    else:
        for line in Page(arguments.full, _colourful()).lines(recipe.name, story):
            print(line)


def _colourful() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def find(connection: duckdb.DuckDBPyConnection, beginning: str) -> str:
    """The id of the one incident whose id begins so, wherever it was named.

    Raises:
        ImmuneError: there is none, or there are several.
    """
    known = (
        "select incident_id from incidents "
        "union select incident_id from rejects where incident_id is not null"
    )
    found = [
        name
        for (name,) in connection.execute(
            f"from ({known}) where starts_with(incident_id, ?) order by incident_id", [beginning]
        ).fetchall()
    ]
    if beginning in found:
        return beginning
    if len(found) == 1 and beginning:
        return found[0]
    said = one_line(beginning, 80)
    if found:
        raise ImmuneError(
            f"{len(found):,} incidents begin with {said!r}, such as {_names(found)}: "
            "give more of the id"
        )
    examples = connection.execute(f"from ({known}) order by incident_id limit {_NAMED}").fetchall()
    raise ImmuneError(
        f"no incident begins with {said!r}: there are "
        f"{_names([name for (name,) in examples]) or 'none at all'}"
    )


def _names(incidents: list[str]) -> str:
    more = " …" if len(incidents) >= _NAMED else ""
    return ", ".join(one_line(name, 80) for name in incidents[:_NAMED]) + more


def tell(connection: duckdb.DuckDBPyConnection, incident_id: str) -> Row:
    """Everything there is to say about an incident, as plain data."""
    from immune_data.select.steps import sql_folder

    quoted = incident_id.replace("'", "''")
    connection.execute(f"set variable incident = '{quoted}'")
    parts = {
        part: _asked(connection, (sql_folder() / "why" / f"{part}.sql").read_text(encoding="utf-8"))
        for part in _PARTS
    }
    story: Row = {"incident_id": incident_id}
    for part, rows in parts.items():
        story[part] = (rows[0] if rows else None) if part in _SCALARS else rows
    for record in story["records"]:
        *asked, answer = chat.with_system([Message(**turn) for turn in record.pop("messages")])
        record["messages"] = [
            {"role": turn.role, "content": turn.content, "carries_loss": turn is answer}
            for turn in (*asked, answer)
        ]
    records = story.pop("records")
    return {**story, "way": _way(story, records), "records": records}


def _asked(connection: duckdb.DuckDBPyConnection, query: str) -> list[Row]:
    found = connection.execute(query)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _way(story: Row, records: list[Row]) -> list[Row]:
    """How far the incident came in either dataset, and what stopped it."""
    incident, split = story["incident"], story["split"]
    if incident is None:
        reason = "was never taken: every row that names it was rejected"
        return [{"dataset": "sources", "emitted": 0, "outcome": reason}]
    way = []
    if split["dataset"] == "unified":
        emitted = [record for record in records if record["origin"] == "unified"]
        outcome = _outcome(story, emitted, "unified", _before_the_pool(story))
        way.append({"dataset": "unified", "emitted": len(emitted), "outcome": outcome})
    emitted = [record for record in records if record["origin"] == "risk_only"]
    before = None
    if not any(gate["dataset"] == "standalone" for gate in story["gates"]):
        before = "not judged on causes and risks, or not in the cause and risk dataset"
    outcome = _outcome(story, emitted, "standalone", before)
    way.append({"dataset": "standalone", "emitted": len(emitted), "outcome": outcome})
    return way


def _before_the_pool(story: Row) -> str | None:
    incident = story["incident"]
    judged = {score["task"] for score in story["scores"]}
    if not (incident["in_summaries"] and incident["in_cause_risk"]):
        present = "summaries" if incident["in_summaries"] else "cause and risk"
        return f"only the {present} dataset has it"
    if not {"cause", "risk"} <= judged:
        return "no cause and risk verdict"
    return None if "summary" in judged else "no summary verdict"


def _outcome(story: Row, emitted: list[Row], dataset: str, before: str | None) -> str:
    if before is not None:
        return f"lost before the gates: {before}"
    failed = [
        gate for gate in story["gates"] if gate["dataset"] == dataset and gate["first_failed"]
    ]
    if failed:
        [gate] = failed
        value = "nothing" if gate["value"] is None else gate["value"]
        return f"lost at gate {gate['gate']}: {value} where the limit is {gate['limit']}"
    split = story["split"]
    prefix = "" if dataset == "unified" else "standalone_"
    place = f"{split[f'{prefix}split']}, place {split[f'{prefix}position']:,} of the shuffle"
    if emitted:
        return f"{place}; {_count(len(emitted), 'record')} emitted"
    if dataset == "standalone" and split["dataset"] == "unified":
        if split["risk_only"]:
            return f"{place}; appended to train, yet without evidence no record"
        if split["augmentation"] == "none":
            return f"{place}; this recipe takes nothing from there"
        return f"{place}; not appended to train"
    return f"{place}; no record: a winner has no answer, or there is no evidence"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


class Page:
    """The story as lines of text."""

    def __init__(self, full: bool, colourful: bool) -> None:
        self._full = full
        self._colourful = colourful

    def lines(self, recipe: str, story: Row) -> Iterator[str]:
        """All of it, in the order of the steps."""
        yield self._bold(f"incident {one_line(story['incident_id'])} in {recipe}")
        for way in story["way"]:
            yield f"  {way['dataset']}: {one_line(way['outcome'])}"
        yield from self._read(story)
        yield from self._judged(story)
        yield from self._gates(story)
        yield from self._choice(story)
        yield from self._split(story)
        yield from self._records(story)

    def _bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self._colourful else text

    def _heading(self, text: str) -> Iterator[str]:
        yield ""
        yield self._bold(text)

    def _table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
        rows = list(rows)
        cells = [[_cell(value) for value in row] for row in rows]
        right = numeric(rows, len(columns))
        wide = widths([columns, *cells])
        head = aligned(columns, wide, right)
        yield f"  \x1b[2m{head}\x1b[0m" if self._colourful else f"  {head}"
        for row in cells:
            yield f"  {aligned(row, wide, right)}"

    def _read(self, story: Row) -> Iterator[str]:
        yield from self._heading("read")
        if story["read"]:
            columns = ("file", "role", "row")
            yield from self._table(
                columns, ([row[key] for key in columns] for row in story["read"])
            )
        if story["rejects"]:
            columns = ("rejected from", "row", "scope", "reason", "detail")
            keys = ("file", "row", "scope", "reason", "detail")
            yield from self._table(
                columns, ([row[key] for key in keys] for row in story["rejects"])
            )
        incident = story["incident"]
        if incident is None:
            return
        yield from self._heading("facts")
        for key in ("category", "source_ip", "timewindow", "timeline", "event_count"):
            yield f"  {key:<13} {_cell(incident[key])}"
        threat = incident["threat_level"]
        yield f"  {'threat_level':<13} {'-' if threat is None else f'{threat:.2f}'}"
        for dag in story["dags"]:
            used = "shown in records" if dag["used"] else "not used"
            yield (
                f"  {'dag':<13} {dag['tokens']:,} tokens, {dag['chars']:,} characters "
                f"in {dag['dataset']}, {used}"
            )
        if not story["dags"]:
            yield f"  {'dag':<13} none"

    def _judged(self, story: Row) -> Iterator[str]:
        if story["scores"]:
            yield from self._heading("judged")
            yield from self._table(
                ("task", "model", "score", "of", "rank", "judge", "file", "row", "run"),
                (
                    [
                        score["task"],
                        score["model"],
                        score["score"],
                        _sub_scores(score),
                        score["rank"],
                        f"{score['judge']}, {score['provider']}",
                        score["judge_run"],
                        score["row"],
                        "stands" if score["stands"] else "an earlier run stands",
                    ]
                    for score in story["scores"]
                ),
            )
        if story["answers"]:
            yield from self._heading("answers")
            yield from self._table(
                ("task", "model", "tokens", "words", "chars4", "level", "cleaning"),
                (
                    [
                        *(answer[key] for key in ("task", "model", "tokens", "words", "chars4")),
                        answer["risk_level"] if answer["task"] == "risk" else "",
                        _cleaning(answer),
                    ]
                    for answer in story["answers"]
                ),
            )

    def _gates(self, story: Row) -> Iterator[str]:
        for dataset in ("unified", "standalone"):
            gates = [gate for gate in story["gates"] if gate["dataset"] == dataset]
            if not gates:
                continue
            model = gates[0]["model"]
            of = f" of the standalone dataset, on {model or 'no model ranked first'}"
            yield from self._heading("gates" + (of if dataset == "standalone" else ""))
            yield from self._table(
                ("gate", "value", "limit", "result"),
                (
                    [
                        gate["gate"],
                        gate["value"],
                        gate["limit"],
                        _result(gate),
                    ]
                    for gate in gates
                ),
            )

    def _choice(self, story: Row) -> Iterator[str]:
        if not story["choices"]:
            return
        yield from self._heading("choice")
        yield from self._table(
            ("task", "used", "score", "lead", "over", ""),
            (
                [
                    *(choice[key] for key in ("task", "model", "score")),
                    *_lead(choice),
                    _remark(choice),
                ]
                for choice in story["choices"]
            ),
        )

    def _split(self, story: Row) -> Iterator[str]:
        split = story["split"]
        if split is None:
            return
        yield from self._heading("split")
        for name, prefix in (("unified", ""), ("standalone", "standalone_")):
            where = split[f"{prefix}split"]
            place = (
                "" if where is None else f", place {split[f'{prefix}position']:,} of the shuffle"
            )
            yield f"  {name:<13} {where or 'not in it'}{place}"
        yield (
            f"  {'group':<13} {_count(split['group_incidents'], 'incident')}: "
            f"{split['group_in_train']:,} in train, {split['group_in_eval']:,} in eval; "
            f"named after {one_line(split['group_id'])}"
        )
        appended = "appends it to train" if split["risk_only"] else "does not append it"
        yield f"  {'augmentation':<13} {split['augmentation']}: {appended}"

    def _records(self, story: Row) -> Iterator[str]:
        records = story["records"]
        yield from self._heading("records")
        if not records:
            yield "  none"
            return
        yield from self._table(
            (
                *("file", "line", "task", "model", "origin", "copy"),
                *("tokens", "prompt", "answer", "dag shown"),
            ),
            (
                [
                    f"{record['split']}.jsonl",
                    *(record[key] for key in ("line", "task", "model", "origin")),
                    record["copy"] or "",
                    *(record[key] for key in ("tokens", "prompt_tokens", "answer_tokens")),
                    f"{record['dag_tokens_shown']:,} of {record['dag_tokens']:,}",
                ]
                for record in records
            ),
        )
        for record in records:
            for warning in record["warnings"]:
                yield f"  warning: {record['split']}.jsonl line {record['line']:,}: {warning}"
        for record in records:
            if record["copy"] == 0:
                yield from self._conversation(record)

    def _conversation(self, record: Row) -> Iterator[str]:
        yield from self._heading(
            f"{record['split']}.jsonl line {record['line']:,}: {record['task']} by "
            f"{one_line(record['model'])}"
        )
        if record["tokens_past_context"]:
            lost = record["answer_tokens_past_context"]
            whole = ", the whole answer" if lost == record["answer_tokens"] else ""
            yield (
                f"  the last {record['tokens_past_context']:,} tokens are past the context of "
                f"{record['context']:,}, {lost:,} of them the answer's{whole}: "
                "no trainer sees them"
            )
        for turn in record["messages"]:
            loss = turn["carries_loss"]
            head = f"<|im_start|>{one_line(turn['role'])}"
            yield self._line(head, loss=False)
            for line in self._content(turn["content"], whole=loss):
                yield self._line(line, loss=loss)
            yield self._line("<|im_end|>", loss=loss)

    def _content(self, content: str, *, whole: bool) -> Iterator[str]:
        lines = [visible(line) for line in content.split("\n")]
        if self._full or whole:
            yield from lines
            return
        head, hidden, tail = middle_out(lines, _HEAD, _TAIL)
        yield from map(_shortened, head)
        if hidden:
            yield f"… {hidden:,} lines left out, --full shows them …"
            yield from map(_shortened, tail)

    def _line(self, text: str, *, loss: bool) -> str:
        if not self._colourful:
            return f"▌ {text}".rstrip() if loss else f"  {text}".rstrip()
        return f"\x1b[1;32m▌ {text}\x1b[0m" if loss else f"\x1b[2m  {text}\x1b[0m"


def _shortened(line: str) -> str:
    if len(line) <= _LINE:
        return line
    half = _LINE // 2
    return f"{line[:half]} … {len(line) - 2 * half:,} characters … {line[-half:]}"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else one_line(str(value), 160)


def _sub_scores(score: Row) -> str:
    values = [score[key] for key in _SUB_SCORES if score[key] is not None]
    return " + ".join(f"{value:g}" for value in values)


def _cleaning(answer: Row) -> str:
    if answer["refused_by"] is not None:
        return f"refused by {answer['refused_by']}"
    if answer["changed_by"]:
        return f"changed by {', '.join(answer['changed_by'])}"
    return "" if answer["answered"] else "no answer"


def _result(gate: Row) -> str:
    """What came of a gate, and whose answer it was that passed."""
    if gate["first_failed"]:
        return "FAILS, first"
    if not gate["passes"]:
        return "fails too"
    if gate["used_passes"]:
        return "passes"
    return f"another answer passes; the one used has {_cell(gate['used'])}"


def _lead(choice: Row) -> list[Any]:
    """By how much, and over whom; a risk answer was not chosen by a score of its own."""
    return ["", ""] if choice["task"] == "risk" else [choice["lead"], choice["runner_up"]]


def _remark(choice: Row) -> str:
    if not choice["answered"]:
        return "it has no answer that can be used"
    if choice["task"] == "risk":
        return "comes with the cause"
    if choice["model"] != choice["winner"]:
        return f"stands in for the winner, {choice['winner']}"
    return "a tie, decided by the order of the judge's scores" if choice["lead"] == 0 else ""


if __name__ == "__main__":
    sys.exit(main())
