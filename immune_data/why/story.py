"""What happened to an incident: a recipe's connection and an id in, its story as plain data out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from immune_data.common import duck
from immune_data.common.errors import ImmuneError
from immune_data.common.text import counted, one_line
from immune_data.contract import chat
from immune_data.prompts import Message

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]

_NAMED = 5  # incidents that an error names

_SCALARS = ("incident", "split")
_PARTS = (
    *("incident", "read", "rejects", "dags", "answers", "scores", "calls", "choices", "gates"),
    *("split", "records"),
)


def find(connection: duckdb.DuckDBPyConnection, beginning: str) -> str:
    """The id of the only incident whose id begins like this, even if its rows were rejected.

    Raises:
        ImmuneError: there is none, or there are several.
    """
    ids = (
        "select incident_id from incidents "
        "union select incident_id from rejects where incident_id is not null"
    )
    matches = [
        name
        for (name,) in connection.execute(
            f"from ({ids}) where starts_with(incident_id, ?) order by incident_id", [beginning]
        ).fetchall()
    ]
    if beginning in matches:
        return beginning
    if len(matches) == 1 and beginning:
        return matches[0]
    prefix = one_line(beginning, 80)
    if matches:
        raise ImmuneError(
            f"{len(matches):,} incidents begin with {prefix!r}, such as {_names(matches)}: "
            "give more of the id"
        )
    examples = connection.execute(f"from ({ids}) order by incident_id limit {_NAMED}").fetchall()
    raise ImmuneError(
        f"no incident begins with {prefix!r}: there are "
        f"{_names([name for (name,) in examples]) or 'none at all'}"
    )


def _names(incidents: list[str]) -> str:
    more = " …" if len(incidents) >= _NAMED else ""
    return ", ".join(one_line(name, 80) for name in incidents[:_NAMED]) + more


def tell(connection: duckdb.DuckDBPyConnection, incident_id: str) -> Row:
    """The whole story of an incident, as plain data."""
    from immune_data.select import steps

    connection.execute(f"set variable incident = {duck.quoted(incident_id)}")
    parts = {part: duck.rows(connection, steps.text(f"why/{part}.sql")) for part in _PARTS}
    story: Row = {"incident_id": incident_id}
    for part, rows in parts.items():
        story[part] = (rows[0] if rows else None) if part in _SCALARS else rows
    for record in story["records"]:
        *prompt, answer = chat.with_system([Message(**turn) for turn in record.pop("messages")])
        record["messages"] = [
            {"role": turn.role, "content": turn.content, "carries_loss": turn is answer}
            for turn in (*prompt, answer)
        ]
    records = story.pop("records")
    return {**story, "way": _way(story, records), "records": records}


def _way(story: Row, records: list[Row]) -> list[Row]:
    """How far the incident got in either dataset, and what stopped it."""
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
    lost_before = None
    if not any(gate["dataset"] == "standalone" for gate in story["gates"]):
        lost_before = "not judged on causes and risks, or not in the cause and risk dataset"
    outcome = _outcome(story, emitted, "standalone", lost_before)
    way.append({"dataset": "standalone", "emitted": len(emitted), "outcome": outcome})
    return way


def _before_the_pool(story: Row) -> str | None:
    incident = story["incident"]
    judged_tasks = {score["task"] for score in story["scores"]}
    if not (incident["in_summaries"] and incident["in_cause_risk"]):
        only = "summaries" if incident["in_summaries"] else "cause and risk"
        return f"only the {only} dataset has it"
    if not {"cause", "risk"} <= judged_tasks:
        return "no cause and risk verdict"
    return None if "summary" in judged_tasks else "no summary verdict"


def order(split: Row) -> str:
    """The order in which a split has places."""
    return "the shuffle" if split["digest"] is None else "the hashes"


def _outcome(story: Row, emitted: list[Row], dataset: str, lost_before: str | None) -> str:
    if lost_before is not None:
        return f"lost before the gates: {lost_before}"
    failed = [
        gate for gate in story["gates"] if gate["dataset"] == dataset and gate["first_failed"]
    ]
    if failed:
        [gate] = failed
        value = "nothing" if gate["value"] is None else gate["value"]
        return f"lost at gate {gate['gate']}: {value} where the limit is {gate['limit']}"
    split = story["split"]
    if split["same_in_eval"] is not None:
        return f"left out of train: the evidence of {split['same_in_eval']}, which is in eval"
    prefix = "" if dataset == "unified" else "standalone_"
    place = f"{split[f'{prefix}split']}, place {split[f'{prefix}position']:,} of {order(split)}"
    if emitted:
        return f"{place}; {counted(len(emitted), 'record')} emitted"
    if dataset == "standalone" and split["dataset"] == "unified":
        if split["risk_only"]:
            return f"{place}; appended to train, yet without evidence no record"
        if split["augmentation"] == "none":
            return f"{place}; this recipe takes nothing from there"
        return f"{place}; not appended to train"
    return f"{place}; no record: a winner has no answer, or there is no evidence"
