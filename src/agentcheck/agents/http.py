"""An agent behind an HTTP endpoint: each turn is a POST, answered by an answer or by actions (`agents.protocol`).

The agent needs no memory of its own: every request holds the task, the results of all actions of this turn so far,
and the ``state`` that the agent's last response gave. Redirects are followed only on the same host.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
import uuid
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import Field

from agentcheck.agents.options import Options, read, secret
from agentcheck.agents.protocol import answer_in, broken, decode, encode, perform, task_message
from agentcheck.contracts import Session
from agentcheck.errors import AgentTransportError, SuiteError
from agentcheck.records import Case, Task

if TYPE_CHECKING:
    import httpx

#: Largest response, in bytes after decompression.
MAX_RESPONSE = 10_000_000
_REDIRECTS = 5
_SHOWN = 300


class HttpOptions(Options):
    """``url`` is posted to; ``key_env`` names the environment variable whose value is sent as a bearer token.

    ``timeout``: seconds for one request; ``rounds``: how often one turn may ask for actions.
    """

    url: str
    headers: dict[str, str] = Field(default_factory=dict)
    key_env: str = ""
    timeout: float = Field(30.0, gt=0, le=3600)
    rounds: int = Field(50, ge=1, le=10_000)
    max_response: int = Field(MAX_RESPONSE, ge=1000, le=1_000_000_000)


class Factory:
    """Makes the agents of ``[agent] use = "http"``."""

    def check(self, options: Mapping[str, Any]) -> HttpOptions:
        """Read the options, when a suite is collected.

        Raises:
            SuiteError: an unknown option, an URL that is none, or a key that is not in the environment.
        """
        chosen = read(HttpOptions, options, "the agent 'http'")
        parts = urlsplit(chosen.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SuiteError(f"the agent 'http', option 'url': {chosen.url!r} is no http:// or https:// address")
        if parts.username or parts.password:
            raise SuiteError("the agent 'http', option 'url': it holds a password", advice="use key_env")
        if chosen.key_env:
            secret(chosen.key_env, "the agent 'http'")
        return chosen

    def __call__(self, options: Mapping[str, Any], case: Case) -> HttpAgent:
        """The agent of one trial, which is one conversation."""
        return HttpAgent(self.check(options))


make = Factory()


class HttpAgent:
    """Implements `contracts.Agent` over HTTP."""

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._conversation = uuid.uuid4().hex
        self._state: Any = None
        self._client: httpx.AsyncClient | None = None
        self._posts = 0

    async def respond(self, task: Task, session: Session) -> str | None:
        """Post the task, carry out the actions of each response and post their results, until there is an answer.

        Raises:
            AgentTransportError: no connection, a timeout, a status other than 2xx, a redirect to another host, a
                response that is too large or breaks the protocol, or more rounds than allowed.
        """
        base = {**task_message(task, session), "conversation": self._conversation}
        results: list[dict[str, Any]] = []
        for _ in range(self._options.rounds):
            response, where = await self._post({**base, "results": results, "state": self._state})
            self._state = response.get("state")
            if "answer" in response:
                return answer_in(response, "answer", where)
            for action in _actions(response, where):
                result = await perform(action, session, where)
                if result is not None:
                    results.append({**result, "action": action})
        raise AgentTransportError(
            f"the agent asked for actions {self._options.rounds} times without an answer",
            where=self._options.url,
            advice="raise the option 'rounds' if it needs more",
        )

    async def _post(self, message: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        import httpx

        client = self._client = self._client or new_client(self._options.url, self._options.timeout)
        self._posts += 1
        where = f"{self._options.url}, response {self._posts}"
        body = encode(message, where)
        headers = {**self._options.headers, "content-type": "application/json"}
        if self._options.key_env:
            headers["authorization"] = f"Bearer {secret(self._options.key_env, 'the agent http')}"
        try:
            # httpx bounds each step; a response that drips in is bounded as a whole.
            exchange = _exchange(client, self._options, body, headers, where)
            content = await asyncio.wait_for(exchange, self._options.timeout)
        except (httpx.TimeoutException, asyncio.TimeoutError):
            raise AgentTransportError(f"no answer within {self._options.timeout:g} s", where=where) from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise AgentTransportError(f"{type(error).__name__}: {error}", where=where) from error
        return decode(content, where), where

    async def close(self) -> None:
        """Close the connections; safe to call again."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def new_client(url: str, timeout: float) -> httpx.AsyncClient:
    """A client that follows no redirect by itself, and goes through no proxy to this machine."""
    import httpx

    return httpx.AsyncClient(
        timeout=timeout, follow_redirects=False, trust_env=not _is_local(url), verify=_certificates()
    )


@lru_cache(maxsize=1)
def _certificates() -> ssl.SSLContext:
    """The trusted certificates, read once: reading them takes longer than a request."""
    import httpx

    return httpx.create_ssl_context()


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _exchange(
    client: httpx.AsyncClient, options: HttpOptions, body: str, headers: Mapping[str, str], where: str
) -> bytes:
    """One POST with its redirects; the body of a 2xx response."""
    import httpx

    url = httpx.URL(options.url)
    for _ in range(_REDIRECTS + 1):
        async with client.stream("POST", url, content=body.encode("ascii"), headers=dict(headers)) as response:
            content = await read_bounded(response, options.max_response, where)
            if 300 <= response.status_code < 400:
                url = _redirected(response, url, where)
                continue
            if not response.is_success:
                broken(f"HTTP {response.status_code} {response.reason_phrase}: {excerpt(content)}", where)
            return content
    raise AgentTransportError(f"more than {_REDIRECTS} redirects", where=where)


def _redirected(response: httpx.Response, url: httpx.URL, where: str) -> httpx.URL:
    target = url.join(response.headers.get("location", ""))
    if (target.scheme, target.host, target.port) != (url.scheme, url.host, url.port):
        broken(f"it redirects to another host ({target.scheme}://{target.netloc.decode('ascii', 'replace')})", where)
    if response.status_code not in (307, 308):
        broken(f"HTTP {response.status_code} redirects and would drop the body", where, "redirect with 307 or 308")
    return target


async def read_bounded(response: httpx.Response, most: int, where: str) -> bytes:
    """The body of a response, which is given up once it grows beyond ``most`` bytes."""
    content = bytearray()
    async for chunk in response.aiter_bytes(65536):
        content += chunk
        if len(content) > most:
            broken(f"the response is larger than {most} bytes", where)
    return bytes(content)


def excerpt(content: bytes) -> str:
    """The beginning of a body, on one line."""
    text = " ".join(content[: 4 * _SHOWN].decode("utf-8", "replace").split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _actions(response: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    actions = response.get("actions")
    if not isinstance(actions, list) or not actions or not all(isinstance(action, dict) for action in actions):
        broken(f"neither 'answer' nor a list of 'actions': {excerpt(json.dumps(response).encode())}", where)
    return actions
