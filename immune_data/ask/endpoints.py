"""The servers that are asked: a TOML file in, checked endpoints and their keys out.

    [[endpoints]]
    url = "https://api.openai.com/v1"
    model = "gpt-4o"
    key_env = "OPENAI_API_KEY"
    max_concurrency = 16
    price_in = 2.5
    price_out = 10.0

A key is named by its environment variable and read when it is first needed. It is never sent over
http, except to loopback, and it is removed from everything that is stored or printed.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Meta, Struct

from immune_data.common import textfile
from immune_data.common.errors import ImmuneError

_Name = Annotated[str, Meta(min_length=1)]
_Price = Annotated[float, Meta(ge=0, le=1e6)]
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY = re.compile(r"[!-~]{1,4096}")  # what is allowed in a header
_MODEL = re.compile(r"[^\x00-\x1f\x7f-\x9f]+")


class Endpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server of the chat-completions protocol, and one model that it serves.

    `model` is the model's name in requests, whichever endpoint they go to; `served_as` is its name
    on this server. Prices are for a million tokens.
    """

    url: _Name
    model: _Name
    served_as: _Name | None = None
    key_env: _Name | None = None
    max_concurrency: Annotated[int, Meta(ge=1, le=1024)] = 8
    price_in: _Price | None = None
    price_out: _Price | None = None
    timeout: Annotated[float, Meta(gt=0, le=86400)] = 600.0  # seconds for a whole reply
    limit_as: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    json_schema: bool = False  # whether the server makes replies follow a JSON schema

    @property
    def host(self) -> str:
        """The server's name, with its port if it is not the scheme's default."""
        return urlsplit(self.url).netloc.lower()

    @property
    def name(self) -> str:
        """The endpoint's name in tables and messages."""
        return f"{self.served_as or self.model} at {self.host}"

    @property
    def is_encrypted(self) -> bool:
        return urlsplit(self.url).scheme == "https"

    @property
    def is_local(self) -> bool:
        return _is_loopback(urlsplit(self.url).hostname or "")

    @property
    def counts_as_qwen(self) -> bool:
        """Whether the model's tokens are those of Qwen2.5's tokenizer."""
        return "qwen" in f"{self.model} {self.served_as or ''}".lower()

    @property
    def is_priced(self) -> bool:
        return self.price_in is not None and self.price_out is not None

    def cost(self, prompt_tokens: int, answer_tokens: int) -> float:
        """The cost of tokens; 0 where there is no price."""
        per_token = (self.price_in or 0) * prompt_tokens + (self.price_out or 0) * answer_tokens
        return per_token / 1e6


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    endpoints: Annotated[tuple[Endpoint, ...], Meta(min_length=1)]


def load(path: Path) -> tuple[Endpoint, ...]:
    """The endpoints of a file.

    Raises:
        ImmuneError: there is no such file, or an endpoint of it cannot be used.
    """
    if not path.is_file():
        raise ImmuneError(
            f"endpoints file {path} does not exist: write one with [[endpoints]], each with a url "
            "and a model"
        )
    try:
        endpoints = msgspec.convert(tomllib.loads(textfile.read(path)), _File).endpoints
    except tomllib.TOMLDecodeError as error:
        raise ImmuneError(f"{path} is not TOML: {error}") from None
    except msgspec.ValidationError as error:
        hint = "; a key is named by `key_env`" if "field `key`" in str(error) else ""
        raise ImmuneError(f"{path}: {str(error)[:1].lower()}{str(error)[1:]}{hint}") from None
    for number, endpoint in enumerate(endpoints, start=1):
        if complaint := _complaint(endpoint):
            raise ImmuneError(f"{path}: endpoint {number}: {complaint}")
    names = [(endpoint.url, endpoint.model) for endpoint in endpoints]
    for endpoint in endpoints:
        if names.count((endpoint.url, endpoint.model)) > 1:
            raise ImmuneError(f"{path} has two endpoints of {endpoint.name}: leave one out")
    return endpoints


def _complaint(endpoint: Endpoint) -> str | None:
    try:
        parts = urlsplit(endpoint.url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "its url cannot be read: write it like http://127.0.0.1:8000/v1"
    if parts.username is not None or parts.password is not None:
        return "its url contains a user or password: name a key with key_env"
    if parts.scheme not in ("http", "https") or not host:
        return "its url is not valid: write it like http://127.0.0.1:8000/v1"
    if (
        parts.query
        or parts.fragment
        or not endpoint.url.isascii()
        or not endpoint.url.isprintable()
    ):
        return "its url should end with its path, such as /v1, and contain nothing else"
    if parts.path.rstrip("/").endswith("/chat/completions"):
        return "its url should end before /chat/completions"
    for name in filter(None, (endpoint.model, endpoint.served_as)):
        if not _MODEL.fullmatch(name):
            return "its model's name contains a control character"
    if endpoint.key_env is not None:
        if not _VARIABLE.fullmatch(endpoint.key_env):
            return "key_env should be the name of an environment variable, not a key"
        if not endpoint.is_encrypted and not endpoint.is_local:
            return (
                f"its key would go unencrypted to {endpoint.host}: use https, or leave key_env out"
            )
    return None


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Keys:
    """The keys of endpoints, which are secret; `repr` shows only their names.

    Raises:
        ImmuneError: a key is missing in the environment, or is not a valid key.
    """

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._of: dict[str, str] = {}
        for endpoint in endpoints:
            name = endpoint.key_env
            if name is None:
                continue
            key = os.environ.get(name, "").strip()
            if not key:
                raise ImmuneError(
                    f"the environment has no {name}, which {endpoint.name} needs: set it"
                )
            if not _KEY.fullmatch(key):
                raise ImmuneError(
                    f"{name} in the environment is not a key: it contains white space, or "
                    "characters that are not ASCII"
                )
            self._of[name] = key

    def __repr__(self) -> str:
        return f"Keys of {', '.join(self._of) or 'nobody'}"

    def of(self, endpoint: Endpoint) -> str | None:
        return None if endpoint.key_env is None else self._of[endpoint.key_env]

    def removed(self, text: str) -> str:
        """`text` without the keys, which a server may have repeated."""
        for name, key in self._of.items():
            for form in {key, quote(key, safe="")}:
                text = text.replace(form, f"[{name}]")
        return text
