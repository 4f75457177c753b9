"""The request for a chat server that runs the model: a question in, the request's JSON out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from immune_data.common import files, textfile
from immune_data.common.errors import ImmuneError
from immune_data.contract import control_tokens
from immune_data.contract.chat import with_system
from immune_data.contract.incident import Incident
from immune_train.edge import grammar
from immune_train.edge.ending import Ending
from immune_train.edge.questions import Asker, Question
from immune_train.edge.sampling import NEVER_WRITTEN
from immune_train.generate.answers import Settings, evidence_shown, say


def show(
    incident: Incident,
    task: str,
    asker: Asker,
    settings: Settings,
    *,
    model: str | None,
    output: Path | None,
) -> None:
    """Print or write the request for a task's answer about an incident.

    Raises:
        ImmuneError: a server would read the prompt differently.
    """
    (question,) = asker.questions(incident, [task])
    say(evidence_shown([question]))
    text = json.dumps(request(question, settings, model), ensure_ascii=False)
    if output is None:
        print(text)
    else:
        with files.replacing(output) as temporary:
            temporary.write_text(f"{text}\n", encoding="utf-8")
        print(f"wrote {output}")


def request(question: Question, settings: Settings, model: str | None) -> dict[str, Any]:
    """The request with which a chat server answers as `generate` does.

    It sets everything that decides an answer, because servers have their own defaults. Texts are
    composed, which Qwen2.5's tokenizer does and llama.cpp does not.

    Raises:
        ImmuneError: the prompt contains a control token as text, which a server would obey, or
            there is too little room for an answer under the grammar.
    """
    for message in question.messages:
        if control_tokens.contains(message.content):
            raise ImmuneError(
                "the prompt contains a control token as text, which a server would obey: ask "
                "without --request, or with a recipe that neutralises them"
            )
    body = {
        "messages": [
            {"role": message.role, "content": textfile.composed(message.content)}
            for message in with_system(question.messages)
        ],
        "max_tokens": settings.limit(question),
        "temperature": settings.temperature,
        "seed": settings.seed,
        # No filter and no penalty, because answers must repeat addresses and counts.
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "repeat_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "mirostat_mode": 0,
        # An answer is text: the only added tokens that can be chosen are those that end it.
        "logit_bias": {str(token): -100.0 for token in NEVER_WRITTEN},
        "stream": False,
    }
    if form := settings.grammar(question):
        Ending(form, settings.limit(question))  # fails if the limit is too small for it
        body["grammar"] = grammar.gbnf(form)
    return {"model": model, **body} if model else body
