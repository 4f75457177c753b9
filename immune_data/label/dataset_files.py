"""The dataset files of a labelling: incidents and their answers in, files that `read` takes out.

An incident has a row in both files. Next to an answer is how it came about: the model as served,
the parameters, the prompt's sha256, how it ended, and its tokens as the server counted them.
Endpoints, times and attempts are not in the files, so that the same replies give the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import msgspec

import immune_data
from immune_data.ask.incidents import Incident, Incidents, Reject
from immune_data.ask.replies import Reply
from immune_data.ask.request import Question
from immune_data.ask.store import Rejected, Store
from immune_data.common import files
from immune_data.common.errors import ImmuneError
from immune_data.label.questions import Labeller
from immune_data.prompts import TASKS
from immune_data.recipes import Recipe

REJECTS = "rejects.jsonl"
_MARK = "labelled"  # the first key of a file that we wrote
_FIELDS = {"summary": "summary", "cause": "cause_analysis", "risk": "risk_assessment"}


@dataclass
class Written:
    """What was written: answers by model and task, rejects by reason, and open questions."""

    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejects: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    open: int = 0


def check(folder: Path, recipe: Recipe) -> None:
    """Check, before any model is asked, that the files can be written.

    Raises:
        ImmuneError: a file of the same name, or a gzipped one, is not ours.
    """
    if folder.exists() and not folder.is_dir():
        raise ImmuneError(f"{folder} is a file: name a folder")
    for name in (recipe.sources.summaries, recipe.sources.cause_risk):
        packed = folder / f"{name}.gz"
        if packed.exists():
            raise ImmuneError(f"{packed} is in the way of {name}: name another folder")
        if (folder / name).exists() and not _is_ours(folder / name):
            raise ImmuneError(
                f"{folder / name} was not written by this command: name another folder"
            )


def _is_ours(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(len(_MARK) + 3) == f'{{"{_MARK}"'.encode()
    except OSError as error:
        raise ImmuneError(f"cannot read {file}: {error.strerror}") from None


def write(
    folder: Path,
    incidents: Incidents,
    models: Sequence[str],
    labeller: Labeller,
    store: Store,
) -> Written:
    """Write the recipe's two dataset files and, next to them, what gave no answer."""
    recipe = labeller.recipe
    written = Written()
    names = {"summaries": recipe.sources.summaries, "cause_risk": recipe.sources.cause_risk}
    with files.locked(folder), files.staging(folder) as hidden:
        with ExitStack() as stack:
            opened: dict[str, TextIO] = {
                kind: stack.enter_context((hidden / kind).open("w", encoding="utf-8"))
                for kind in (*names, "rejects")
            }
            for kind in names:
                opened[kind].write(_head(labeller, models, synthetic=incidents.synthetic))
            for number, incident in enumerate(incidents.incidents):
                summaries, cause_risk, rejects = _rows(incident, models, labeller, store, written)
                for kind, row in (("summaries", summaries), ("cause_risk", cause_risk)):
                    opened[kind].write((",\n" if number else "\n") + _line(row))
                _reject(opened["rejects"], rejects)
            for kind in names:
                opened[kind].write("\n]}\n")
            for reject in incidents.rejects:
                written.rows[reject.reason] += 1
            _reject(opened["rejects"], incidents.rejects)
        files.move(hidden / "rejects", folder / REJECTS)
        for kind, name in names.items():
            files.move(hidden / kind, folder / name)
    return written


def _head(labeller: Labeller, models: Sequence[str], *, synthetic: bool) -> str:
    """The beginning of a file, up to its first incident."""
    settings = {
        "version": immune_data.__version__,
        "recipe": labeller.recipe.name,
        "asking_sha256": labeller.asking_sha256,
        "models": list(models),
    }
    mark = '"synthetic": true, ' if synthetic else ""
    return f'{{"{_MARK}": {_line(settings)}, {mark}"incidents": ['


def _rows(
    incident: Incident,
    models: Sequence[str],
    labeller: Labeller,
    store: Store,
    written: Written,
) -> tuple[dict[str, Any], dict[str, Any], list[Reject]]:
    """An incident's row in either file, and its missing answers."""
    facts = msgspec.structs.asdict(incident)
    rows: dict[str, dict[str, Any]] = {"summaries": dict(facts), "cause_risk": dict(facts)}
    rejects: list[Reject] = []
    for model in models:
        declared = labeller.recipe.models[model]
        for task, question in labeller.questions(incident, model).items():
            if question is None:
                outcome: Reply | Rejected = Rejected("evidence_too_long", "", is_open=False)
            else:
                outcome = store.outcome(question)
            if question is not None and isinstance(outcome, Reply):
                kind = "summaries" if task == "summary" else "cause_risk"
                name = declared.summaries if task == "summary" else declared.cause_risk
                answer = rows[kind].setdefault(name, {})
                answer[_FIELDS[task]] = outcome.text
                answer.setdefault("asked", {})[_FIELDS[task]] = _asked(question, outcome)
                written.answers[model, task] += 1
            elif isinstance(outcome, Rejected):
                written.open += outcome.is_open
                written.rejects[model, task, outcome.reason] += 1
                rejects.append(
                    Reject(
                        incident_id=incident.incident_id,
                        task=task,
                        model=model,
                        reason=outcome.reason,
                        text=None if outcome.is_open else outcome.detail or None,
                    )
                )
    return rows["summaries"], rows["cause_risk"], rejects


def _asked(question: Question, reply: Reply) -> dict[str, Any]:
    """How an answer came about."""
    return {
        "model": reply.model,
        "parameters": dict(question.request.parameters),
        "prompt_sha256": question.request.prompt_sha256,
        "finish_reason": reply.finish,
        "prompt_tokens": reply.usage.prompt,
        "answer_tokens": reply.usage.answer,
    }


def _reject(file: TextIO, rejects: Sequence[Reject]) -> None:
    for reject in rejects:
        file.write(_line(msgspec.structs.asdict(reject)) + "\n")


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def reasons(written: Written) -> Iterator[tuple[str, str, str, int]]:
    """How often a model gave no answer to a task, by reason."""
    for model, task, reason in sorted(
        written.rejects, key=lambda key: (key[0], TASKS.index(key[1]), key[2])
    ):
        yield model, task, reason, written.rejects[model, task, reason]
