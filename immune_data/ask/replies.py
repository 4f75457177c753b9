"""What a server sent back: the bytes of a response in, a reply or the reason of its failure out.

A failure is never an answer. A response that is not a completion (an HTML page, an error object,
half a JSON text) is a `Failure`, like no response at all; a completion that cannot be used (empty,
cut off, an error message in place of an answer) is a reply with a problem.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

from immune_data.common.text import one_line
from immune_data.contract import error_text

# How a whole reply ends. Of a server that gives no reason we cannot know that nothing was cut.
_WHOLE = ("stop", "eos", "eos_token", "end_turn")
_PROBLEMS = {"length": "cut", "max_tokens": "cut", "content_filter": "filtered"}
_MOST_TOKENS = 1 << 40
_DETAIL = 300  # characters of a server's error message that are kept

# Where a proxy or server puts an error in place of an answer, the reply contains nothing else.
_LONGEST_ERROR = 600
_ERROR = re.compile(
    r"\A\W*(?:<!doctype|<html|<\?xml)"
    r"|\A\s*\{\s*\"(?:error|detail|message|code)\"\s*:"
    r"|\A\W*(?:(?:api|server|proxy|gateway|internal|fatal|stream|request|http|openai|upstream)"
    r"[\s_-]+)*(?:error|exception|timeout|failure)\b\W*[:(\[\d]"
    r"|\A\W*(?:error|exception)\b"
    r"|\b(?:rate[ _-]limit(?:ed)?|too many requests|quota (?:exceeded|reached)|bad gateway"
    r"|(?:exceeded|out of) (?:your |the )?(?:current )?quota|insufficient_quota"
    r"|service (?:temporarily )?unavailable|gateway time-?out|internal server error"
    r"|upstream connect error|model (?:is )?(?:currently )?overloaded"
    r"|connection (?:was )?(?:reset|refused|aborted|broken|error|closed|timed out)"
    r"|invalid api key|incorrect api key)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Usage:
    """Tokens as a server counted them; None where it did not, or not plausibly."""

    prompt: int | None = None
    answer: int | None = None
    cached: int | None = None


@dataclass(frozen=True)
class Reply:
    """A completion: what a model answered, and all that output files may say of it."""

    text: str
    finish: str | None
    model: str  # as served
    usage: Usage

    @property
    def digest(self) -> str:
        """A digest of the reply: of several replies to one key, the smallest wins."""
        fields = [self.text, self.finish, self.model, self.usage.prompt, self.usage.answer]
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()

    @property
    def problem(self) -> str | None:
        """Why it cannot be used, whatever the question was."""
        if self.finish not in _WHOLE:
            return _PROBLEMS.get(self.finish or "", "unfinished")
        if not self.text.strip():
            return "empty"
        if error_text.is_error_text(self.text) or (
            len(self.text) <= _LONGEST_ERROR and _ERROR.search(self.text)
        ):
            return "error_text"
        return None


@dataclass(frozen=True)
class Failure:
    """No completion arrived.

    `retry_after` is how many seconds the server asks us to wait. `is_final` says that it is useless
    to ask this endpoint anything again, `is_refusal` that it is useless to ask this question again,
    `may_cost` that the request may have been billed although no completion arrived.
    """

    reason: str
    detail: str = ""
    status: int | None = None
    retry_after: float | None = None
    is_final: bool = False
    is_refusal: bool = False
    may_cost: bool = False


class _Message(Struct):
    content: str | None = None


class _Choice(Struct):
    message: _Message
    finish_reason: str | None = None


class _Completion(Struct):
    choices: list[_Choice]
    model: str | None = None
    usage: Any = None


def read(body: bytes) -> Reply | Failure:
    """The reply in the body of a response with a good status, or why there is none."""
    try:
        completion = msgspec.json.decode(body, type=_Completion)
    except (ValueError, RecursionError):
        completion = None
    if completion is None or not completion.choices:
        reason = "html" if re.match(rb"\s*<", body) else "not_a_completion"
        return Failure(reason, detail(body), 200, may_cost=True)
    first = completion.choices[0]
    return Reply(
        text=first.message.content or "",
        finish=first.finish_reason,
        model=completion.model or "unknown",
        usage=_usage(completion.usage, first.message.content or ""),
    )


def detail(body: bytes) -> str:
    """The beginning of a server's message, on one line."""
    return one_line(body[: 4 * _DETAIL].decode(errors="replace").strip(), _DETAIL)


def _usage(usage: Any, text: str) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    prompt = _tokens(usage.get("prompt_tokens"))
    answer = _tokens(usage.get("completion_tokens"))
    details = usage.get("prompt_tokens_details")
    cached = _tokens(details.get("cached_tokens")) if isinstance(details, dict) else None
    if answer is not None and text and answer == 0:
        answer = None
    if cached is not None and (prompt is None or cached > prompt):
        cached = None
    return Usage(prompt or None, answer, cached)


def _tokens(number: Any) -> int | None:
    """A number of tokens; None if it cannot be one."""
    whole = isinstance(number, int) and not isinstance(number, bool)
    return number if whole and 0 <= number < _MOST_TOKENS else None
