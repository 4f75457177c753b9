"""Prompt templates: a folder of text files and an incident's facts in, chat messages out.

In the layout `documented` a template is named after its task and the role of its message:
`summary.system.txt`, `summary.user.txt`, `cause.user.txt`, `risk.user.txt`. In the layout
`evidence-first`, whose files are in a folder of that name, all tasks share `shared.system.txt` and
the beginning of the user message, `shared.user.txt`, which contains the evidence; the instructions
of a task follow, as in `risk.task.txt`. The prompts of an incident then differ only at their ends,
and a model that has read one needs to read only the end of the next.

The trainer and the deployed model build their prompts here too, so that all of them use the same
text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

from immune_data.common import textfile
from immune_data.common.errors import ImmuneError

TASKS = ("summary", "cause", "risk")
ROLES = ("system", "user")
LAYOUTS = ("documented", "evidence-first")

FACTS = ("incident_id", "source_ip", "timewindow", "threat_level", "timeline", "event_count")
_PLACEHOLDER = re.compile(r"\{(" + "|".join((*FACTS, "evidence")) + r")\}")


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation; the fields have the order of its keys in a record."""

    role: str
    content: str


@dataclass(frozen=True)
class Prompt:
    """The templates of one task: pairs of role and text, in the order they are sent."""

    task: str
    templates: tuple[tuple[str, str], ...]

    def render(self, facts: dict[str, str], evidence: str) -> list[Message]:
        """The messages that ask for this task's answer.

        Placeholders are replaced in one pass and values inserted as they are: braces, dollars and
        backslashes in a value, and braces in a template that are not placeholders, do not change.
        """
        values = {**facts, "evidence": evidence}
        return [
            Message(role, _PLACEHOLDER.sub(lambda match: values[match[1]], template))
            for role, template in self.templates
        ]

    def evidence_in(self, messages: Sequence[Message]) -> str | None:
        """The evidence in messages of this prompt; None for other messages."""
        if [message.role for message in messages] != [role for role, _ in self.templates]:
            return None
        evidence = None
        for message, (_, template) in zip(messages, self.templates, strict=True):
            if (match := _pattern(template).fullmatch(message.content)) is None:
                return None
            evidence = match.groupdict().get("evidence", evidence)
        return evidence


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """A pattern of what a template becomes: a fact is one line, the evidence any number of them."""
    texts = _PLACEHOLDER.split(template)
    pattern = re.escape(texts[0])
    for name, text in zip(texts[1::2], texts[2::2], strict=True):
        pattern += "(?P<evidence>(?s:.*))" if name == "evidence" else ".*"
        pattern += re.escape(text)
    return re.compile(pattern)


def files(folder: Path, layout: str = LAYOUTS[0]) -> list[Path]:
    """The template files of a layout in `folder`, sorted by name.

    Raises:
        ImmuneError: the folder is missing, or contains a text file that is not a template.
    """
    if layout == "documented":
        known = {f"{task}.{role}.txt" for task in TASKS for role in ROLES}
    else:
        folder = folder / layout
        known = {f"shared.{role}.txt" for role in ROLES} | {f"{task}.task.txt" for task in TASKS}
    if not folder.is_dir():
        raise ImmuneError(f"prompts folder {folder} does not exist")
    paths = sorted(folder.glob("*.txt"))
    for path in paths:
        if path.name not in known:
            raise ImmuneError(
                f"{path} is not a prompt: name prompts after task and role, "
                f"as {', '.join(sorted(known))}"
            )
    return paths


def load(folder: Path, layout: str = LAYOUTS[0]) -> dict[str, Prompt]:
    """The prompts of a layout in `folder` by task, without one final newline of each file.

    Raises:
        ImmuneError: a task has no user template, a file is not UTF-8, or a task's templates do
            not contain `{evidence}` exactly once, where the layout has it.
    """
    texts = {}
    for path in files(folder, layout):
        # Composed, so that a program that is sent a prompt as text sees the tokens of training.
        texts[path.name] = textfile.composed(textfile.read(path)).removesuffix("\n")
    if layout == "documented":
        return {task: _prompt(folder, task, texts) for task in TASKS}
    return _evidence_first(folder / layout, texts)


def _evidence_first(folder: Path, texts: dict[str, str]) -> dict[str, Prompt]:
    for name in ("shared.user.txt", *(f"{task}.task.txt" for task in TASKS)):
        if name not in texts:
            raise ImmuneError(f"{folder} has no {name}: add it")
    for name, text in texts.items():
        if text.count("{evidence}") != (name == "shared.user.txt"):
            raise ImmuneError(
                f"{folder / name}: {{evidence}} should appear exactly once, in shared.user.txt"
            )
    system = [("system", texts["shared.system.txt"])] if "shared.system.txt" in texts else []
    return {
        task: Prompt(
            task,
            (*system, ("user", f"{texts['shared.user.txt']}\n\n{texts[f'{task}.task.txt']}")),
        )
        for task in TASKS
    }


def _prompt(folder: Path, task: str, texts: dict[str, str]) -> Prompt:
    templates = tuple(
        (role, texts[f"{task}.{role}.txt"]) for role in ROLES if f"{task}.{role}.txt" in texts
    )
    if not any(role == "user" for role, _ in templates):
        raise ImmuneError(f"{folder} has no {task}.user.txt: add the prompt of task {task}")
    if sum(text.count("{evidence}") for _, text in templates) != 1:
        raise ImmuneError(
            f"the prompt of task {task} in {folder} should contain {{evidence}} exactly once"
        )
    return Prompt(task, templates)


def facts(
    incident_id: str,
    source_ip: str | None,
    timewindow: str | None,
    timeline: str | None,
    threat_level: float | None,
    event_count: int | None,
) -> dict[str, str]:
    """An incident's facts as text for `Prompt.render`; a missing one is `unknown`."""
    values = {
        "incident_id": incident_id,
        "source_ip": source_ip,
        "timewindow": timewindow,
        "timeline": timeline,
        "threat_level": None if threat_level is None else f"{threat_level:.2f}",
        "event_count": event_count,
    }
    return {key: "unknown" if value is None else str(value) for key, value in values.items()}
