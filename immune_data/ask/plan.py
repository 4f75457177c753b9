"""What asking will take: questions and endpoints in; requests, tokens, costs and hosts out.

Prompt tokens are exact for models with Qwen2.5's tokenizer, and counted with it for all others,
which is then an estimate. Those with which the prompt before begins as well, a server that caches
prefixes need not read again. Of answers it is only known how long they may be at most.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from immune_data.ask.endpoints import Endpoint
from immune_data.ask.request import Question, Request
from immune_data.ask.store import Store
from immune_data.common.table import show
from immune_data.contract import chat
from immune_data.contract.tokens import count
from immune_data.prompts import Message

_TEMPLATE = 64  # tokens that a chat template may put around a message


@dataclass
class OfModel:
    """What asking one model takes."""

    model: str
    is_exact: bool
    questions: int = 0
    requests: int = 0  # of the questions, those that are still to be asked
    prompt_tokens: int = 0
    shared_tokens: int = 0  # of those, with which the prompt before begins
    answer_tokens: int = 0  # at most
    cost: float | None = 0.0  # at most; None without prices
    incidents: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Plan:
    """What is to be asked, by model, and which hosts may see how many incidents."""

    models: list[OfModel]
    hosts: dict[str, int]

    @property
    def requests(self) -> int:
        return sum(one.requests for one in self.models)

    @property
    def cost(self) -> float | None:
        costs = [one.cost for one in self.models if one.requests]
        return None if None in costs else sum(cost for cost in costs if cost is not None)


def by_model(endpoints: Sequence[Endpoint]) -> dict[str, list[Endpoint]]:
    """The endpoints of each model."""
    models: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        models.setdefault(endpoint.model, []).append(endpoint)
    return models


def plan(questions: Iterable[Question], endpoints: Sequence[Endpoint], store: Store) -> Plan:
    """What asking the questions takes that the store does not answer yet."""
    of = by_model(endpoints)
    found = {
        model: OfModel(model, all(one.counts_as_qwen for one in those))
        for model, those in of.items()
    }
    before: dict[str, Request] = {}
    for question in questions:
        one = found[question.request.model]
        one.questions += 1
        if not store.is_open(question):
            continue
        prompt, answer = prompt_tokens(question.request), most_tokens(question.request)
        one.requests += 1
        one.prompt_tokens += prompt
        if question.request.model in before:
            one.shared_tokens += _shared(before[question.request.model], question.request)
        before[question.request.model] = question.request
        one.answer_tokens += answer
        one.incidents.add(question.about)
        those = of[question.request.model]
        if one.cost is not None and all(endpoint.is_priced for endpoint in those):
            one.cost += max(endpoint.cost(prompt, answer) for endpoint in those)
        else:
            one.cost = None
    hosts: dict[str, set[str]] = {}
    for endpoint in endpoints:
        hosts.setdefault(endpoint.host, set()).update(found[endpoint.model].incidents)
    return Plan(list(found.values()), {host: len(seen) for host, seen in hosts.items()})


def prompt_tokens(request: Request) -> int:
    """The tokens of a prompt by Qwen2.5's tokenizer and template."""
    return chat.measure([*request.messages, Message("assistant", "")]).prompt


def _shared(first: Request, second: Request) -> int:
    """The tokens with which two prompts begin."""
    tokens = 0
    for one, other in zip(first.messages, second.messages, strict=False):
        if one != other:
            alike = os.path.commonprefix([one.content, other.content])  # noqa: RUF071 (characters)
            return tokens + (count(alike) if one.role == other.role else 0)
        tokens += count(one.content)
    return tokens


def most_tokens(request: Request) -> int:
    """The most tokens that a reply may have."""
    return int(request.parameters["max_tokens"])


def worst(request: Request, endpoint: Endpoint) -> float:
    """The most that a request can cost: no tokenizer makes more tokens of a text than bytes."""
    if endpoint.counts_as_qwen:
        prompt = sum(count(message.content) for message in request.messages)
    else:
        prompt = sum(len(message.content.encode()) for message in request.messages)
    prompt += _TEMPLATE * (1 + len(request.messages))
    return endpoint.cost(prompt, most_tokens(request))


def say(made: Plan) -> None:
    """Print a plan."""
    rows = [
        [
            one.model,
            one.questions,
            one.requests,
            one.prompt_tokens,
            one.shared_tokens,
            "exact" if one.is_exact else "estimate",
            one.answer_tokens,
            "no prices" if one.cost is None else f"{one.cost:,.2f}",
        ]
        for one in made.models
    ]
    columns = [
        "model",
        "questions",
        "to ask",
        "prompt tokens",
        "shared",
        "",
        "answer tokens, at most",
    ]
    show("to be asked", [*columns, "cost, at most"], rows)
    show(
        "where incidents go",
        ["host", "incidents, at most"],
        [[host, number] for host, number in made.hosts.items()],
    )


def as_dictionary(made: Plan) -> dict[str, object]:
    """A plan for programs."""
    return {
        "requests": made.requests,
        "cost_at_most": made.cost,
        "models": [
            {
                "model": one.model,
                "questions": one.questions,
                "requests": one.requests,
                "prompt_tokens": one.prompt_tokens,
                "shared_tokens": one.shared_tokens,
                "prompt_tokens_are": "exact" if one.is_exact else "an estimate",
                "answer_tokens_at_most": one.answer_tokens,
                "cost_at_most": one.cost,
            }
            for one in made.models
        ],
        "hosts": made.hosts,
    }
