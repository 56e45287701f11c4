"""A model behind an OpenAI-compatible ``/chat/completions`` endpoint, hosted or local, over httpx.

The wire format is that of OpenAI's chat completions API (https://platform.openai.com/docs/api-reference/chat), which
many servers speak. The key comes from the environment; no suite file holds one, and no message shows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import Field

from agentcheck.agents.http import MAX_RESPONSE, excerpt, new_client, read_bounded
from agentcheck.agents.options import Options, read, secret
from agentcheck.agents.protocol import broken, decode, encode, no_constant
from agentcheck.errors import AgentTransportError, SuiteError
from agentcheck.records import Case, ModelReply

if TYPE_CHECKING:
    import httpx

_MILLION = Decimal(1_000_000)
#: Statuses that are worth another try: too many requests, and servers that are busy or restarting.
_TRANSIENT = frozenset((408, 409, 429, 500, 502, 503, 504))
_LONGEST_WAIT = 30.0
_DECIMAL = r"^\d{1,9}(\.\d{1,9})?$"


class Price(Options):
    """US dollars per million tokens, as text."""

    input: str = Field(pattern=_DECIMAL)
    output: str = Field(pattern=_DECIMAL)


class OpenAIOptions(Options):
    """``key_env`` names the environment variable with the key; empty for servers that need none.

    ``parameters`` are sent with every request (temperature, seed, ...); an agent's own ones win. ``retries`` bounds how
    often a busy server is asked again, and ``retry_wait`` is the first pause in seconds, doubled each time.
    """

    model: str = Field(min_length=1)
    base_url: str = "https://api.openai.com/v1"
    key_env: str = "OPENAI_API_KEY"
    parameters: dict[str, Any] = Field(default_factory=dict)
    headers: dict[str, str] = Field(default_factory=dict)
    price: Price | None = None
    timeout: float = Field(60.0, gt=0, le=3600)
    retries: int = Field(2, ge=0, le=10)
    retry_wait: float = Field(1.0, ge=0, le=60)


class Factory:
    """Makes the models of ``[model] use = "openai"``."""

    def check(self, options: Mapping[str, Any]) -> OpenAIOptions:
        """Read the options.

        Raises:
            SuiteError: an unknown option, an address that is none, or a key that is not in the environment.
        """
        chosen = read(OpenAIOptions, options, "the model 'openai'")
        parts = urlsplit(chosen.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.password:
            raise SuiteError("the model 'openai', option 'base_url': no http:// or https:// address without a password")
        if chosen.key_env:
            secret(chosen.key_env, "the model 'openai'")
        return chosen

    def __call__(self, options: Mapping[str, Any], case: Case) -> OpenAIModel:
        """The model of one trial."""
        return OpenAIModel(self.check(options))


make = Factory()


class OpenAIModel:
    """Implements `contracts.Model`. ``name`` is the name of the model, as the ledger records it."""

    def __init__(self, options: OpenAIOptions) -> None:
        self.name = options.model
        self._options = options
        self._url = options.base_url.rstrip("/") + "/chat/completions"
        self._key = secret(options.key_env, "the model 'openai'") if options.key_env else ""

    async def complete(self, arguments: Mapping[str, Any]) -> ModelReply:
        """Ask for one completion.

        Arguments of tool calls come back as tables; where the model wrote no JSON they stay the text that it wrote.

        Raises:
            AgentTransportError: no connection, a timeout, a status other than 2xx, or a body that is no completion.
        """
        wanted = {**self._options.parameters, **arguments, "model": self._options.model, "stream": False}
        if wanted.get("tools"):
            wanted["tools"] = [_tool(tool) for tool in wanted["tools"]]
        body = encode(wanted, f"the request to {self._url}").encode("ascii")
        # No connection is kept between calls: a model has no end at which to close it.
        async with new_client(self._url, self._options.timeout) as client:
            content = await self._post(client, body)
        return self._reply(decode(content, self._url))

    async def _post(self, client: httpx.AsyncClient, body: bytes) -> bytes:
        headers = {**self._options.headers, "content-type": "application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        for attempt in range(self._options.retries + 1):
            status, content, wait = await self._try(client, body, headers)
            if 200 <= status < 300:
                return content
            if status not in _TRANSIENT or attempt == self._options.retries:
                break
            await asyncio.sleep(min(max(wait, self._options.retry_wait * 2**attempt), _LONGEST_WAIT))
        # Before it is cut: half of a key would no longer be known as one.
        said = excerpt(content.replace(self._key.encode() or b"\0", b"[key]"))
        raise AgentTransportError(f"HTTP {status}: {said}", where=self._url)

    async def _try(
        self, client: httpx.AsyncClient, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes, float]:
        """One request: status, body, and the pause that the server asks for."""
        import httpx

        async def exchange() -> tuple[int, bytes, float]:
            async with client.stream("POST", self._url, content=body, headers=dict(headers)) as response:
                content = await read_bounded(response, MAX_RESPONSE, self._url)
                return response.status_code, content, _seconds(response.headers.get("retry-after", ""))

        try:
            return await asyncio.wait_for(exchange(), self._options.timeout)
        except (httpx.TimeoutException, asyncio.TimeoutError):
            raise AgentTransportError(f"no completion within {self._options.timeout:g} s", where=self._url) from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise AgentTransportError(f"{type(error).__name__}: {error}", where=self._url) from error

    def _reply(self, completion: Mapping[str, Any]) -> ModelReply:
        choices = completion.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            broken(f"no completion: {excerpt(json.dumps(completion).encode())}", self._url)
        message = choices[0].get("message")
        if not isinstance(message, dict):
            broken("the completion's first choice has no 'message'", self._url)
        content = message.get("content")
        calls = message.get("tool_calls") or []
        if not (content is None or isinstance(content, str)) or not isinstance(calls, list):
            broken("the message's 'content' is no text, or its 'tool_calls' no list", self._url)
        usage = completion.get("usage")
        incoming, outgoing = (_count(usage, key) for key in ("prompt_tokens", "completion_tokens"))
        return ModelReply(
            text=content or "",
            tool_calls=tuple(_call(call, self._url) for call in calls),
            input_tokens=incoming,
            output_tokens=outgoing,
            cost=self._cost(incoming, outgoing),
        )

    def _cost(self, incoming: int, outgoing: int) -> str:
        price = self._options.price
        if price is None:
            return "0"
        dollars = (incoming * Decimal(price.input) + outgoing * Decimal(price.output)) / _MILLION
        return f"{dollars.normalize():f}"


def _tool(tool: Any) -> Any:
    """A tool as the API wants it; one written as ``name``, ``description`` and ``parameters`` is wrapped."""
    if isinstance(tool, Mapping) and "name" in tool and "function" not in tool:
        known = {key: tool[key] for key in ("name", "description", "parameters") if key in tool}
        return {"type": "function", "function": known}
    return tool


def _call(call: Any, where: str) -> Mapping[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        broken("a tool call of the message has no 'function' with a 'name'", where)
    arguments = function.get("arguments", "")
    with contextlib.suppress(TypeError, ValueError):  # where the model wrote no JSON, the agent sees the text
        arguments = json.loads(arguments, parse_constant=no_constant) if arguments else {}
    return {"id": str(call.get("id", "")), "name": function["name"], "arguments": arguments}


def _count(usage: Any, key: str) -> int:
    value = usage.get(key) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _seconds(text: str) -> float:
    try:
        return max(0.0, min(float(text), _LONGEST_WAIT))
    except ValueError:
        return 0.0
