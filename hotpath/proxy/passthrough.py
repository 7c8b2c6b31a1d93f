"""`/v1/models`, `/v1/embeddings`, `/v1/completions`: to the agent's provider and back, untouched.

The caller is checked, the model is held to the agent's policy, usage is read on the side for the
trace. Nothing is recorded and nothing goes in. Embeddings have no fallbacks: the vectors of another
model mean something else.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final
from urllib.parse import unquote

import orjson

from hotpath.proxy.answers import Answer, read_completion
from hotpath.proxy.bodies import parse_object, read_whole
from hotpath.proxy.caller import Caller
from hotpath.proxy.disconnects import while_connected
from hotpath.proxy.exchange import Exchange
from hotpath.proxy.limits import RateLimits
from hotpath.proxy.policy import Plan, check_model, plan_of
from hotpath.proxy.providers.routing import Call, Providers
from hotpath.proxy.sse import SseReader
from hotpath.proxy.upstream import UpstreamResponse
from ibex.errors import InvalidRequestError, NotFoundError

# By the GenAI conventions of OpenTelemetry; a list of models is none.
_OPERATIONS: Final = {"/v1/embeddings": "embeddings", "/v1/completions": "text_completion"}

Handler = Callable[[Exchange, Caller], Awaitable[None]]


class PassThrough:
    def __init__(self, providers: Providers, limits: RateLimits, max_body: int) -> None:
        self._providers = providers
        self._limits = limits
        self._max_body = max_body

    def route(self, name: bytes, rest: Sequence[bytes]) -> tuple[str, Handler]:
        """The method and the handler of /v1/{name}/{rest}. Raises NotFoundError."""
        if name == b"models":
            return "GET", self.models
        if rest:
            raise NotFoundError("There is nothing at this address.", hint="Check the base URL.")
        return "POST", self.embeddings if name == b"embeddings" else self.completions

    async def models(self, exchange: Exchange, caller: Caller) -> None:
        """The address as it came, below /v1."""
        path = models_path(exchange.scope["raw_path"], exchange.scope["query_string"])
        if self._limits.limited(caller):
            await self._limits.admit(exchange, caller, b"", {}, generates=False)
        plan = plan_of(caller.agent, None, caller.wishes.provider_key, fallbacks=False)
        call = Call("GET", path, exchange.headers, tried=exchange.tried)
        await while_connected(self._forward(exchange, plan, call), exchange.receive)

    async def embeddings(self, exchange: Exchange, caller: Caller) -> None:
        await self._post(exchange, caller, "/embeddings", generates=False)

    async def completions(self, exchange: Exchange, caller: Caller) -> None:
        await self._post(exchange, caller, "/completions", generates=True)

    async def _post(
        self, exchange: Exchange, caller: Caller, path: str, *, generates: bool
    ) -> None:
        raw = await read_whole(exchange, self._max_body)
        fields = parse_object(raw)
        if self._limits.limited(caller):
            await self._limits.admit(exchange, caller, raw, fields, generates=generates)
        model = fields.get("model")
        check_model(caller.agent, model)
        exchange.facts.model = model or ""
        exchange.facts.stream = bool(fields.get("stream"))

        def body(wanted: str | None) -> bytes:
            return raw if wanted == model else orjson.dumps({**fields, "model": wanted})

        plan = plan_of(caller.agent, model, caller.wishes.provider_key, fallbacks=generates)
        call = Call("POST", path, exchange.headers, body, exchange.tried)
        await while_connected(self._forward(exchange, plan, call), exchange.receive)

    async def _forward(self, exchange: Exchange, plan: Plan, call: Call) -> None:
        if (operation := _OPERATIONS.get(exchange.route)) is not None:
            exchange.calling(operation)
        sent_at = exchange.elapsed
        async with self._providers.open(plan, call) as response:
            exchange.milliseconds["upstream"] = exchange.elapsed - sent_at
            exchange.answered_by(response.provider, response.model)
            if response.is_stream:
                await _stream(exchange, response)
            else:
                await _whole(exchange, response)


async def _whole(exchange: Exchange, response: UpstreamResponse) -> None:
    body = await response.body()
    if response.succeeded:
        _note(exchange, read_completion(body), complete=True)
        if exchange.facts.prompt_tokens is None:
            exchange.facts.answer_bytes = len(_text_of(body).encode())
    else:
        exchange.facts.error = f"provider_status_{response.status}"
    headers = [*response.headers, (b"content-length", str(len(body)).encode())]
    await exchange.start(response.status, headers, final=True)
    await exchange.send(body, more=False)


async def _stream(exchange: Exchange, response: UpstreamResponse) -> None:
    reader = SseReader()
    await exchange.start(response.status, response.headers, final=False)
    async with aclosing(response.chunks()) as chunks:
        async for chunk in chunks:
            reader.feed(chunk)
            # About a token an event, of four bytes, should the provider not count.
            exchange.facts.answer_bytes += 4 * chunk.count(b"data:")
            await exchange.send(chunk, more=True)
    _note(exchange, reader.answer(), complete=reader.done)
    await exchange.send(b"", more=False)


def _text_of(body: bytes) -> str:
    """What a `text_completion` says; empty for anything else."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    choices = value.get("choices") if isinstance(value, dict) else None
    texts = [
        one.get("text")
        for one in (choices if isinstance(choices, list) else ())
        if isinstance(one, dict)
    ]
    return "".join(text for text in texts if isinstance(text, str))


def _note(exchange: Exchange, answer: Answer, *, complete: bool) -> None:
    facts = exchange.facts
    facts.complete = complete
    facts.prompt_tokens, facts.completion_tokens = answer.prompt_tokens, answer.completion_tokens
    facts.response_model, facts.finish_reason = answer.model, answer.finish_reason


def models_path(raw_path: bytes, query: bytes) -> str:
    """`/models…` as the client wrote it. Raises InvalidRequestError for an address that could lead
    anywhere else at the provider, where the stored key counts too."""
    path, asked = raw_path.removeprefix(b"/v1"), query
    if not (path + asked).isascii() or not (path + asked).decode().isprintable():
        raise InvalidRequestError("The address is not printable ASCII.")
    meant = unquote(unquote(path.decode()))
    parts = meant.split("/")[1:]
    if (
        parts[0] != "models"
        or any(part in ("", ".", "..") for part in parts)
        or any(char in meant for char in "\\?#%")
        or not meant.isprintable()
    ):
        raise InvalidRequestError("The address does not name a model.")
    return path.decode() + (f"?{asked.decode()}" if asked else "")
