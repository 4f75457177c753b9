"""A small corpus to be labelled by a scripted server, which answers as models should."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from chat_server import Raw, Seen, completion
from corpus import Corpus, answer

from immune_data.contract import prompting
from immune_data.recipes import load

LABEL = (sys.executable, "-m", "immune_data.label")
_ID = re.compile(r"Incident:? ([\w-]+)")


def corpus(ids: Sequence[str], **how: object) -> Corpus:
    """Incidents that are judged, each of a host of its own."""
    made = Corpus()
    for number, incident_id in enumerate(ids):
        facts = {"source_ip": f"10.0.{number // 250}.{number % 250}", "timewindow": str(number)}
        made.incident(incident_id, facts=facts, **how)  # type: ignore[arg-type]
    return made


def task_of(seen: Seen) -> str:
    """Which task a request asks for."""
    if "Possible Causes" in seen.text:
        return "cause"
    return "risk" if "Business Impact" in seen.text else "summary"


def model_answers(seen: Seen, before: int = 0) -> Raw:
    """The answer of `corpus` to what is asked."""
    found = _ID.search(seen.text)
    assert found
    said = answer(task_of(seen), found[1], seen.body["model"])
    return completion(said, model=f"{seen.body['model']}-as-served")


def endpoints(file: Path, *tables: tuple[str, str], **more: object) -> Path:
    """An endpoints file of pairs of url and model."""
    lines = "".join(f"{name} = {value!r}\n".lower() for name, value in more.items())
    file.write_text(
        "".join(
            f'[[endpoints]]\nurl = "{url}"\nmodel = "{model}"\n{lines}' for url, model in tables
        )
    )
    return file


def student(recipe: str, task: str, row: dict[str, object]) -> list[tuple[str, str]]:
    """The prompt that the recipe's records of a task hold, as pairs of role and text."""
    made = prompting.load(load(recipe))
    facts = made.facts(row)
    dag = made.evidence(str(row["dag_analysis"]))
    context = load(recipe).records.max_sequence_tokens
    shown = made.shown_by_task(facts, dag, context, [task])[task]
    return [(one.role, one.content) for one in made.messages(task, facts, shown.text)]
