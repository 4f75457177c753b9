"""Ask one endpoint: a request in, a reply or the failure out; nothing is ever raised for a server.

The client is the `openai` package, which works with any server of the chat-completions protocol.
It follows no redirect, retries nothing by itself, and takes nothing from the environment except the
proxy for https: an incident goes to the named endpoint, with its key and no other.
"""

from __future__ import annotations

import asyncio
import email.utils
import time
from dataclasses import replace
from typing import Any

from immune_data.ask import replies
from immune_data.ask.endpoints import Endpoint, Keys
from immune_data.ask.replies import Failure, Reply
from immune_data.ask.request import Request
from immune_data.common.errors import ImmuneError

_LONGEST = 1 << 24  # bytes of a response
_CONNECT = 30.0  # seconds
_FINAL = {401, 402, 403, 404, 405}  # the endpoint answers so, whatever it is asked
_SPENT = ("insufficient_quota", "billing_hard_limit_reached")
_NO_KEY = "none"  # a key for servers that need none, as in their documents


class Client:
    """An open connection to an endpoint; `close` it.

    Raises:
        ImmuneError: the openai package is missing.
    """

    def __init__(self, endpoint: Endpoint, keys: Keys) -> None:
        try:
            import openai
        except ImportError:
            raise ImmuneError(
                "asking models needs the openai package: pip install 'immune-sft[ask]'"
            ) from None
        self.endpoint = endpoint
        self._keys = keys
        self._openai = openai
        self._client = openai.AsyncOpenAI(
            api_key=keys.of(endpoint) or _NO_KEY,
            base_url=endpoint.url,
            max_retries=0,
            timeout=endpoint.timeout,
            http_client=openai.DefaultAsyncHttpxClient(
                follow_redirects=False, trust_env=endpoint.is_encrypted, timeout=endpoint.timeout
            ),
        )

        # What the package takes from the environment is for OpenAI only.
        self._client.organization = self._client.project = None
        self._client._custom_headers = {}

    async def close(self) -> None:
        await self._client.close()

    async def ask(self, request: Request) -> Reply | Failure:
        """The outcome of a request, with the endpoint's key removed from every text."""
        outcome = await self._send(request)
        removed = self._keys.removed
        if isinstance(outcome, Failure):
            return replace(outcome, detail=removed(outcome.detail))
        return replace(
            outcome,
            text=removed(outcome.text),
            model=removed(outcome.model),
            finish=None if outcome.finish is None else removed(outcome.finish),
        )

    async def _send(self, request: Request) -> Reply | Failure:
        openai = self._openai
        try:
            async with (
                asyncio.timeout(self.endpoint.timeout),
                self._client.chat.completions.with_streaming_response.create(
                    **self._body(request)
                ) as response,
            ):
                body = bytearray()
                async for part in response.iter_bytes():
                    body += part
                    if len(body) > _LONGEST:
                        return Failure("too_long", f"over {_LONGEST:,} bytes", may_cost=True)
        except (TimeoutError, openai.APITimeoutError):
            return Failure("timeout", f"after {self.endpoint.timeout:g} s", may_cost=True)
        except openai.APIStatusError as error:
            return _status(error.response)
        except openai.APIConnectionError as error:
            return _broken(error.__cause__ or error)
        except (openai.OpenAIError, UnicodeError) as error:
            return Failure("not_sent", type(error).__name__, is_refusal=True)
        except Exception as error:  # of the HTTP library, while the body is read
            return _broken(error)
        return replies.read(bytes(body))

    def _body(self, request: Request) -> dict[str, Any]:
        endpoint = self.endpoint
        parameters = dict(request.parameters)
        if "max_tokens" in parameters:
            parameters[endpoint.limit_as] = parameters.pop("max_tokens")
        body: dict[str, Any] = {
            "model": endpoint.served_as or endpoint.model,
            "messages": [
                {"role": message.role, "content": message.content} for message in request.messages
            ],
            "extra_body": parameters,
        }
        if request.schema is not None and endpoint.json_schema:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "reply", "strict": True, "schema": dict(request.schema)},
            }
        return body


def _broken(error: BaseException) -> Failure:
    """The failure of a connection that was not made, or that broke."""
    name = type(error).__name__
    if "Timeout" in name and not name.startswith(("Connect", "Pool")):
        return Failure("timeout", name, may_cost=True)
    reached = not name.startswith(("Connect", "Pool", "Proxy", "UnsupportedProtocol", "LocalProto"))
    detail = f"{name}: {error}" if str(error) else name
    return Failure("broken" if reached else "unreachable", detail[:300], may_cost=reached)


def _status(response: Any) -> Failure:
    """The failure that a response's status tells of."""
    code = int(response.status_code)
    detail = replies.detail(response.content)
    if code < 400:
        to = response.headers.get("location", "nowhere")
        return Failure("redirected", f"to {to[:200]}", code, is_final=True)
    if code == 429:
        return Failure(
            "busy",
            detail,
            code,
            retry_after=_retry_after(response.headers.get("retry-after")),
            is_final=any(word in detail for word in _SPENT),
        )
    if code in _FINAL:
        return Failure("refused", detail, code, is_final=True)
    if code >= 500 or code == 408:
        return Failure(
            "server_error",
            detail,
            code,
            retry_after=_retry_after(response.headers.get("retry-after")),
        )
    return Failure("refused", detail, code, is_refusal=True)


def _retry_after(header: str | None) -> float | None:
    """The seconds of a `Retry-After` header, which is a number or a date."""
    if header is None:
        return None
    try:
        return max(0.0, min(float(header), 1e9))
    except ValueError:
        pass
    try:
        when = email.utils.parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    return max(0.0, when.timestamp() - time.time())
