"""A request to a model: what decides its reply in, one canonical text and its sha256 out.

Which endpoint is asked, when, and how often, decides nothing: two endpoints of one model are asked
the same request, and a reply to it is stored under the request's key alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from immune_data.prompts import Message


class Key(NamedTuple):
    """What a reply is stored under: a request's sha256, and which time of asking it this is."""

    request: str
    repeat: int


@dataclass(frozen=True)
class Request:
    """What is asked of a model; `schema` is the JSON schema that its reply should follow, if any.

    A request is held by its `key` for long, and as a whole only while it is asked.
    """

    model: str
    messages: tuple[Message, ...]
    parameters: Mapping[str, float | int]
    schema: Mapping[str, Any] | None = None

    @cached_property
    def canonical(self) -> str:
        """The request as canonical JSON: the same request is the same text."""
        return _canonical(
            {
                "model": self.model,
                "messages": _plain(self.messages),
                "parameters": dict(self.parameters),
                "schema": self.schema,
            }
        )

    @cached_property
    def sha256(self) -> str:
        return _sha256(self.canonical)

    @property
    def prompt_sha256(self) -> str:
        """The sha256 of the messages alone."""
        return _sha256(_canonical(_plain(self.messages)))


@dataclass(frozen=True)
class Question:
    """A request, what it is about, and what makes a reply to it none.

    `problem` is given a reply's text and says in one word why it is not an answer; else None.
    """

    request: Request
    about: str  # an incident
    problem: Callable[[str], str | None]
    repeat: int = 0

    @property
    def key(self) -> Key:
        return Key(self.request.sha256, self.repeat)


def _plain(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _canonical(value: Any) -> str:
    return json.dumps(
        value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
