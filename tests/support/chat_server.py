"""A loopback server that speaks the chat-completions protocol and misbehaves as it is told to.

In: a script, which says of each request what comes back; by default an answer that the request
alone decides. Out: every request that came, in `seen`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from immune_data.ask import client, replies
from immune_data.ask.replies import Failure, Reply
from immune_data.ask.request import Request

Body = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: Body

    @property
    def text(self) -> str:
        return "\n".join(message["content"] for message in self.body["messages"])

    @cached_property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(self.body, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Raw:
    """What to send: a status, headers and bytes, of which `cut` are left out at the end."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    seconds: float = 0.0  # to wait first
    dripping: float = 0.0  # seconds between bytes


class Hang:
    """Send nothing until the server ends."""


Script = Callable[[Seen, int], Raw | Hang]  # a request, and how often it came before


def answer(seen: Seen) -> str:
    """An answer that the request alone decides."""
    return f"Answer {seen.key[:12]} of a model. It says what was asked of it."


def completion(text: str | None, **changes: Any) -> Raw:
    """A completion with this text; `finish`, `model` and `usage` may be others."""
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": changes.get("model", "served-model"),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": changes.get("finish", "stop"),
            }
        ],
        "usage": changes.get("usage", usage),
    }
    return Raw(json.dumps(body).encode())


def well(seen: Seen, before: int) -> Raw:
    return completion(answer(seen))


def error(status: int, message: str = "no", **headers: str) -> Raw:
    body = json.dumps({"error": {"message": message, "type": "error"}}).encode()
    return Raw(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


HTML = Raw(b"<!DOCTYPE html><html><title>Sign in</title></html>", 200)


def answered_by(script: Script) -> type[client.Client]:
    """A client that asks the script without sending anything, at a third of the time.

    It is for tests of what is made of many replies: they put it in the place of `asking.Client`.
    """
    counts: Counter[str] = Counter()

    class Unsent(client.Client):
        async def _send(self, request: Request) -> Reply | Failure:
            seen = Seen("", {}, self._body(request))
            counts[seen.key] += 1
            raw = script(seen, counts[seen.key] - 1)
            assert isinstance(raw, Raw)
            return replies.read(raw.body)

    return Unsent


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Who connects while as many wait to be accepted tries again after a second.
    request_queue_size = 128


class ChatServer:
    """The server; `with` starts and ends it."""

    def __init__(self, script: Script = well) -> None:
        self.script = script
        self.seen: list[Seen] = []
        self.at_once = 0  # the most requests that were in flight together
        self._in_flight = 0
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> ChatServer:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        chat = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Or the body would wait 40 ms for the client's acknowledgement of the headers.
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(length))
                seen = Seen(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                with chat._lock:
                    chat.seen.append(seen)
                    before = chat._counts.get(seen.key, 0)
                    chat._counts[seen.key] = before + 1
                    chat._in_flight += 1
                    chat.at_once = max(chat.at_once, chat._in_flight)
                raw = chat.script(seen, before)
                chat._ended.wait(60 if isinstance(raw, Hang) else raw.seconds)
                with chat._lock:  # before anybody can know that it is answered
                    chat._in_flight -= 1
                if isinstance(raw, Hang):
                    self.close_connection = True
                    return
                try:
                    self._send(raw)
                except OSError:
                    self.close_connection = True

            def _send(self, raw: Raw) -> None:
                self.send_response(raw.status)
                for name, value in raw.headers.items():
                    self.send_header(name, value)
                if "Content-Type" not in raw.headers:
                    self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw.body)))
                self.end_headers()
                kept = raw.body[: len(raw.body) - raw.cut]
                if raw.dripping:
                    for byte in kept:
                        self.wfile.write(bytes([byte]))
                        self.wfile.flush()
                        if chat._ended.wait(raw.dripping):
                            break
                else:
                    self.wfile.write(kept)
                if raw.cut:
                    self.close_connection = True

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        return Handler
