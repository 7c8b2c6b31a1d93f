"""The request's body: read with a cap, parsed once, changed only where context goes in."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from hotpath.proxy.decompression import ACCEPTED, BodyUnpacker
from hotpath.proxy.exchange import Exchange
from ibex.asgi import body_chunks, read_body
from ibex.errors import InvalidRequestError, UnsupportedEncodingError
from ibex.rpc import Insertion

_READ_LIMIT: Final = 60.0  # seconds for the whole body to arrive
_LONGEST_MODEL: Final = 200  # characters
# orjson reads 1,024 levels and writes 254: what is read must be writable, to be sent and stored.
_WRITABLE_DEPTH: Final = 254


@dataclass(frozen=True)
class ChatRequest:
    raw: bytes = field(repr=False)
    fields: dict[str, Any] = field(repr=False)

    @property
    def messages(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.fields["messages"]
        return messages

    @property
    def model(self) -> str | None:
        return self.fields.get("model")

    @property
    def stream(self) -> bool:
        return bool(self.fields.get("stream"))

    @property
    def max_answer_tokens(self) -> int:
        """0: the client did not say."""
        asked = self.fields.get("max_completion_tokens") or self.fields.get("max_tokens")
        return asked if isinstance(asked, int) and 0 < asked < 2**31 else 0


async def read_chat(exchange: Exchange, limit: int) -> ChatRequest:
    """Raises what `read_whole` and `parse_chat` do."""
    return parse_chat(await read_whole(exchange, limit))


async def read_whole(exchange: Exchange, limit: int) -> bytes:
    """The body, unpacked. Raises InvalidRequestError, UnsupportedEncodingError,
    RequestTooLargeError above `limit` bytes, packed or not, and ClientDisconnectedError."""
    encoding = exchange.headers.get("content-encoding", "").strip().lower()
    try:
        async with asyncio.timeout(_READ_LIMIT):
            if encoding in ("", "identity"):
                return await read_body(exchange.scope, exchange.receive, limit)
            return await _unpacked(exchange, encoding, limit)
    except TimeoutError:
        raise InvalidRequestError("The request body did not arrive in time.") from None


async def _unpacked(exchange: Exchange, encoding: str, limit: int) -> bytes:
    try:
        unpacker = BodyUnpacker(encoding, limit)
    except UnsupportedEncodingError:
        exchange.set_header(b"accept-encoding", ACCEPTED)
        raise
    async with aclosing(body_chunks(exchange.scope, exchange.receive, limit)) as chunks:
        async for chunk in chunks:
            for _ in unpacker.feed(chunk):
                await asyncio.sleep(0)  # a large body does not hold the others up
    return unpacker.whole()


def parse_object(raw: bytes) -> dict[str, Any]:
    """With a 'model' and a 'stream' of the right type, if any. Raises InvalidRequestError."""
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise InvalidRequestError("The request body is not valid JSON in UTF-8.") from None
    if not isinstance(fields, dict):
        raise InvalidRequestError("The request body is not a JSON object.")
    model = fields.get("model")
    if model is not None and not _is_model(model):
        raise InvalidRequestError("'model' is not a model's name.")
    if not isinstance(fields.get("stream"), bool | None):
        raise InvalidRequestError("'stream' is neither true nor false.")
    if raw.count(b"{") + raw.count(b"[") > _WRITABLE_DEPTH:
        try:
            orjson.dumps(fields)
        except TypeError:
            raise InvalidRequestError("The request body is nested too deeply.") from None
    return fields


def parse_chat(raw: bytes) -> ChatRequest:
    """Raises InvalidRequestError."""
    fields = parse_object(raw)
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequestError("'messages' is not a list of at least one message.")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidRequestError("A message is not an object with a 'role'.")
    return ChatRequest(raw, fields)


def with_context(chat: ChatRequest, model: str, insertions: Sequence[Insertion]) -> bytes:
    """The body to send on: the client's own bytes when nothing changes."""
    if not insertions and chat.model == model:
        return chat.raw
    return orjson.dumps(
        {**chat.fields, "model": model, "messages": splice(chat.messages, insertions)}
    )


def splice(
    messages: Sequence[dict[str, Any]], insertions: Sequence[Insertion]
) -> list[dict[str, Any]]:
    """Each insertion stands before the client's message at its position, or at the end."""
    spliced: list[dict[str, Any]] = []
    done = 0
    for insertion in sorted(insertions, key=lambda one: one.position):
        position = min(max(insertion.position, 0), len(messages))
        spliced += messages[done:position]
        spliced.append({"role": insertion.role, "content": insertion.content})
        done = position
    return [*spliced, *messages[done:]]


def _is_model(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_MODEL and value.isprintable()
