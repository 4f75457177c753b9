"""Print a story: the story of `tell` in, lines of text out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from immune_data.common.table import aligned, numeric, widths
from immune_data.common.text import are, counted, one_line, split_middle, visible, without_middle
from immune_data.why.story import Row, order

_HEAD, _TAIL = 20, 8  # lines of a long message
_LINE = 400  # characters of a long line

_SUB_SCORES = (
    *("evidence_grounding", "cause_specificity", "alternative_hypotheses"),
    *("risk_calibration", "actionability", "business_impact"),
)


class Page:
    """The story as lines of text."""

    def __init__(self, full: bool, colourful: bool) -> None:
        self._full = full
        self._colourful = colourful

    def lines(self, recipe: str, story: Row) -> Iterator[str]:
        """The whole story, in the order of the steps."""
        yield self._bold(f"incident {one_line(story['incident_id'])} in {recipe}")
        for way in story["way"]:
            yield f"  {way['dataset']}: {one_line(way['outcome'])}"
        yield from self._read(story)
        yield from self._evidence(story)
        yield from self._scores(story)
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
        column_widths = widths([columns, *cells])
        heading = aligned(columns, column_widths, right)
        yield f"  \x1b[2m{heading}\x1b[0m" if self._colourful else f"  {heading}"
        for row in cells:
            yield f"  {aligned(row, column_widths, right)}"

    def _read(self, story: Row) -> Iterator[str]:
        yield from self._heading("read")
        if story["read"]:
            keys: tuple[str, ...] = ("file", "role", "row")
            yield from self._table(keys, ([row[key] for key in keys] for row in story["read"]))
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
                f"  {'dag':<13} {counted(dag['tokens'], 'token')}, "
                f"{counted(dag['chars'], 'character')} "
                f"in {dag['dataset']}, {used}"
            )
            if dag["condensed"] is not None:
                yield f"  {'':<13} condensed: {counted(dag['condensed_tokens'], 'token')}"
        if not story["dags"]:
            yield f"  {'dag':<13} none"

    def _evidence(self, story: Row) -> Iterator[str]:
        """The evidence in both forms, if records show it condensed."""
        for dag in story["dags"]:
            if not dag["used"] or dag["condensed"] is None:
                continue
            for name, tokens, text in (
                ("as its lines", dag["tokens"], dag["text"]),
                ("condensed", dag["condensed_tokens"], dag["condensed"]),
            ):
                yield from self._heading(f"evidence {name}: {counted(tokens, 'token')}")
                for line in self._content(text, whole=False):
                    yield self._line(line, loss=False)

    def _scores(self, story: Row) -> Iterator[str]:
        if story["scores"]:
            yield from self._heading("judged")
            call_columns = ("calls", "spread") if story["calls"] else ()
            yield from self._table(
                (
                    "task",
                    "model",
                    "score",
                    "of",
                    *call_columns,
                    "rank",
                    "judge",
                    "file",
                    "row",
                    "run",
                ),
                (
                    [
                        score["task"],
                        score["model"],
                        score["score"],
                        _sub_scores(score),
                        *([score["calls"], _spread(score)] if call_columns else []),
                        score["rank"],
                        f"{score['judge']}, {score['provider']}",
                        score["judge_run"],
                        score["row"],
                        _stands(score),
                    ]
                    for score in story["scores"]
                ),
            )
        if story["calls"]:
            yield from self._heading("calls of judges, answers in the order shown")
            yield from self._table(
                ("task", "file", "call", "answers"),
                (
                    [
                        *(call[key] for key in ("task", "judge_run", "call")),
                        ", ".join(
                            f"{answer['model']} {answer['score']:g}" for answer in call["answers"]
                        ),
                    ]
                    for call in story["calls"]
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
            models = list(dict.fromkeys(gate["model"] for gate in gates if gate["model"]))
            suffix = (
                f" of the standalone dataset, on {' and '.join(models) or 'no model ranked first'}"
            )
            yield from self._heading("gates" + (suffix if dataset == "standalone" else ""))
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
        for choice in story["choices"]:
            for reason in choice["passed_over"]:
                yield f"  {choice['task']} passed over, {one_line(reason, 240)}"

    def _split(self, story: Row) -> Iterator[str]:
        split = story["split"]
        if split is None:
            return
        yield from self._heading("split")
        for name, prefix in (("unified", ""), ("standalone", "standalone_")):
            side = split[f"{prefix}split"]
            position = split[f"{prefix}position"]
            place = "" if side is None else f", place {position:,} of {order(split)}"
            yield f"  {name:<13} {side or 'not in it'}{place}"
        yield (
            f"  {'group':<13} {counted(split['group_incidents'], 'incident')}: "
            f"{split['group_in_train']:,} in train, {split['group_in_eval']:,} in eval; "
            f"named after {one_line(split['group_id'])}"
        )
        if split["digest"] is not None:
            same_evidence = split["same_in_eval"]
            remark = (
                ""
                if same_evidence is None
                else f", but out: the evidence of {one_line(same_evidence)} in eval"
            )
            yield f"  {'hash':<13} {split['digest'][:13]}: {split['side']}{remark}"
        effect = "appends it to train" if split["risk_only"] else "does not append it"
        yield f"  {'augmentation':<13} {split['augmentation']}: {effect}"

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
            past, answer_past = (
                record["tokens_past_context"],
                record["answer_tokens_past_context"],
            )
            remark = ", the whole answer" if answer_past == record["answer_tokens"] else ""
            yield (
                f"  the last {counted(past, 'token')} {are(past)} past the context of "
                f"{record['context']:,}, {answer_past:,} of them the answer's{remark}: "
                "no trainer sees them"
            )
        for turn in record["messages"]:
            carries_loss = turn["carries_loss"]
            head = f"<|im_start|>{one_line(turn['role'])}"
            yield self._line(head, loss=False)
            for line in self._content(turn["content"], whole=carries_loss):
                yield self._line(line, loss=carries_loss)
            yield self._line("<|im_end|>", loss=carries_loss)

    def _content(self, content: str, *, whole: bool) -> Iterator[str]:
        lines = [visible(line) for line in content.split("\n")]
        if self._full or whole:
            yield from lines
            return
        head, hidden, tail = split_middle(lines, _HEAD, _TAIL)
        yield from (without_middle(line, _LINE) for line in head)
        if hidden:
            yield f"… {hidden:,} lines left out, --full shows them …"
            yield from (without_middle(line, _LINE) for line in tail)

    def _line(self, text: str, *, loss: bool) -> str:
        if not self._colourful:
            return f"▌ {text}".rstrip() if loss else f"  {text}".rstrip()
        return f"\x1b[1;32m▌ {text}\x1b[0m" if loss else f"\x1b[2m  {text}\x1b[0m"


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


def _stands(score: Row) -> str:
    if not score["stands"]:
        return "an earlier run stands"
    if score["mean"] is None:
        return "stands"
    return f"one of {score['runs']}, whose mean is {score['mean']:g}"


def _spread(score: Row) -> str | None:
    return None if score["spread"] is None else f"{score['spread']:.2f}"


def _cleaning(answer: Row) -> str:
    if answer["refused_by"] is not None:
        return f"refused by {answer['refused_by']}"
    if answer["changed_by"]:
        return f"changed by {', '.join(answer['changed_by'])}"
    return "" if answer["answered"] else "no answer"


def _result(gate: Row) -> str:
    """The result of a gate, and whether it was the used answer that passed."""
    if gate["first_failed"]:
        return "FAILS, first"
    if not gate["passes"]:
        return "fails too"
    if gate["used_passes"]:
        return "passes"
    return f"another answer passes; the one used has {_cell(gate['used'])}"


def _lead(choice: Row) -> list[Any]:
    """The lead, and over whom; a risk answer was not chosen by a score of its own."""
    return [choice["lead"], choice["runner_up"]] if choice["decides"] else ["", ""]


def _remark(choice: Row) -> str:
    if not choice["answered"]:
        return "it has no answer that can be used"
    if not choice["decides"]:
        return "comes with the cause"
    return "; ".join(_on_winning(choice))


def _on_winning(choice: Row) -> Iterator[str]:
    """Why a model was chosen, and what is doubtful about that."""
    lead, margin = choice["lead"], choice["margin"]
    if choice["model"] != choice["winner"]:
        yield f"stands in for the winner, {choice['winner']}"
    elif lead == 0:
        yield "a tie, decided by the order of the judge's scores"
    elif lead is not None and round(lead, 9) < margin:
        distance = "a lead of" if lead > 0 else "behind by"
        yield (
            f"{distance} less than the margin {margin:g}, decided by the order of the judge's "
            "scores"
        )
    if choice["within_noise"]:
        yield f"within the judge's noise, a standard error of {choice['standard_error']:.2g}"
