"""A request to a model: everything that its reply depends on in, a canonical text and sha256 out.

It does not matter which endpoint is asked, when, and how often: two endpoints of one model get the
same request, and a reply is stored under the request's key alone.
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
    """What a reply is stored under: a request's sha256, and the number of its repeat."""

    request: str
    repeat: int


@dataclass(frozen=True)
class Request:
    """What is asked of a model; `schema` is the JSON schema that its reply should follow, if any.

    For long, only its key is kept in memory; the whole request only while it is asked.
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
    """A request, the incident it is about, and a check of replies to it.

    `problem` takes the text of a reply and gives one word for why it is not an answer, or None.
    """

    request: Request
    about: str  # an incident's id
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
