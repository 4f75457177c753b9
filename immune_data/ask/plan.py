"""What asking will take: questions and endpoints in; requests, tokens, costs and hosts out.

Prompt tokens are exact for models with Qwen2.5's tokenizer, and an estimate by that tokenizer for
all others. The tokens that a prompt shares with the beginning of the one before it need not be read
again by a server that caches prefixes. Of answers only the greatest length is known.
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
class ModelPlan:
    """What asking one model takes."""

    model: str
    is_exact: bool
    questions: int = 0
    requests: int = 0  # the questions that are still to be asked
    prompt_tokens: int = 0
    shared_tokens: int = 0  # those at the beginning of the prompt before as well
    answer_tokens: int = 0  # at most
    cost: float | None = 0.0  # at most; None without prices
    incidents: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Plan:
    """What is to be asked, by model, and which hosts may see how many incidents."""

    models: list[ModelPlan]
    hosts: dict[str, int]

    @property
    def requests(self) -> int:
        return sum(of_model.requests for of_model in self.models)

    @property
    def cost(self) -> float | None:
        costs = [of_model.cost for of_model in self.models if of_model.requests]
        return None if None in costs else sum(cost for cost in costs if cost is not None)


def by_model(endpoints: Sequence[Endpoint]) -> dict[str, list[Endpoint]]:
    """The endpoints of each model."""
    models: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        models.setdefault(endpoint.model, []).append(endpoint)
    return models


def plan(questions: Iterable[Question], endpoints: Sequence[Endpoint], store: Store) -> Plan:
    """What it takes to ask the questions that the store does not answer yet."""
    models = by_model(endpoints)
    plans = {
        model: ModelPlan(model, all(server.counts_as_qwen for server in servers))
        for model, servers in models.items()
    }
    previous: dict[str, Request] = {}
    for question in questions:
        request = question.request
        of_model = plans[request.model]
        of_model.questions += 1
        if not store.is_open(question):
            continue
        prompt, answer = prompt_tokens(request), most_tokens(request)
        of_model.requests += 1
        of_model.prompt_tokens += prompt
        if request.model in previous:
            of_model.shared_tokens += _shared(previous[request.model], request)
        previous[request.model] = request
        of_model.answer_tokens += answer
        of_model.incidents.add(question.about)
        servers = models[request.model]
        if of_model.cost is not None and all(server.is_priced for server in servers):
            of_model.cost += max(server.cost(prompt, answer) for server in servers)
        else:
            of_model.cost = None
    hosts: dict[str, set[str]] = {}
    for endpoint in endpoints:
        hosts.setdefault(endpoint.host, set()).update(plans[endpoint.model].incidents)
    return Plan(list(plans.values()), {host: len(incidents) for host, incidents in hosts.items()})


def prompt_tokens(request: Request) -> int:
    """The tokens of a prompt by Qwen2.5's tokenizer and template."""
    return chat.measure([*request.messages, Message("assistant", "")]).prompt


def _shared(first: Request, second: Request) -> int:
    """The number of tokens with which both prompts begin."""
    tokens = 0
    for message, other in zip(first.messages, second.messages, strict=False):
        if message != other:
            prefix = os.path.commonprefix(  # noqa: RUF071 (characters)
                [message.content, other.content]
            )
            return tokens + (count(prefix) if message.role == other.role else 0)
        tokens += count(message.content)
    return tokens


def most_tokens(request: Request) -> int:
    """The most tokens that a reply may have."""
    return int(request.parameters["max_tokens"])


def worst(request: Request, endpoint: Endpoint) -> float:
    """The most that a request can cost: no tokenizer gives more tokens than a text has bytes."""
    if endpoint.counts_as_qwen:
        prompt = sum(count(message.content) for message in request.messages)
    else:
        prompt = sum(len(message.content.encode()) for message in request.messages)
    prompt += _TEMPLATE * (1 + len(request.messages))
    return endpoint.cost(prompt, most_tokens(request))


def print_tables(planned: Plan) -> None:
    """Print a plan."""
    rows = [
        [
            of_model.model,
            of_model.questions,
            of_model.requests,
            of_model.prompt_tokens,
            of_model.shared_tokens,
            "exact" if of_model.is_exact else "estimate",
            of_model.answer_tokens,
            "no prices" if of_model.cost is None else f"{of_model.cost:,.2f}",
        ]
        for of_model in planned.models
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
        [[host, number] for host, number in planned.hosts.items()],
    )


def as_dictionary(planned: Plan) -> dict[str, object]:
    """A plan for programs."""
    return {
        "requests": planned.requests,
        "cost_at_most": planned.cost,
        "models": [
            {
                "model": of_model.model,
                "questions": of_model.questions,
                "requests": of_model.requests,
                "prompt_tokens": of_model.prompt_tokens,
                "shared_tokens": of_model.shared_tokens,
                "prompt_tokens_are": "exact" if of_model.is_exact else "an estimate",
                "answer_tokens_at_most": of_model.answer_tokens,
                "cost_at_most": of_model.cost,
            }
            for of_model in planned.models
        ],
        "hosts": planned.hosts,
    }
