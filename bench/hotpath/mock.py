"""`python -m bench.hotpath.mock PORT`: a model's server that costs next to nothing.

HTTP/1.1 on asyncio's protocols: `POST` anything gets one completion, or with `"stream": true` 31
server-sent events and `[DONE]`, each written by itself as a model's server would.
"""

import asyncio
import sys
from typing import Final, cast

import httptools
import orjson
import uvloop

EVENTS: Final = 31
_WORDS: Final = ("The", "service", "runs", "in", "Lisbon", "and", "has", "since", "March.")
_USAGE: Final = {"prompt_tokens": 120, "completion_tokens": 30, "total_tokens": 150}


def completion() -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": " ".join(_WORDS * 4), "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
    }
    return orjson.dumps(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1_790_000_000,
            "model": "gpt-4o-mini",
            "choices": [choice],
            "usage": _USAGE,
        }
    )


def events() -> list[bytes]:
    """Each with its blank line; `[DONE]` is one more."""
    deltas: list[dict[str, object]] = [
        {"delta": {"content": f"{_WORDS[number % len(_WORDS)]} "}, "finish_reason": None}
        for number in range(EVENTS - 1)
    ]
    deltas.append({"delta": {}, "finish_reason": "stop"})
    lines = []
    for number, choice in enumerate(deltas):
        value: dict[str, object] = {
            "id": "chatcmpl-bench",
            "object": "chat.completion.chunk",
            "created": 1_790_000_000,
            "model": "gpt-4o-mini",
            "choices": [{"index": 0, **choice}],
        }
        if number == EVENTS - 1:
            value["usage"] = _USAGE
        lines.append(b"data: " + orjson.dumps(value) + b"\n\n")
    return [*lines, b"data: [DONE]\n\n"]


def _chunked(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


_BODY: Final = completion()
_PLAIN: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: bench\r\ncontent-length: "
    + str(len(_BODY)).encode()
    + b"\r\n\r\n"
    + _BODY
)
_CHUNKS: Final = [_chunked(event) for event in events()]
_STREAM: Final = [
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: bench\r\n"
    b"transfer-encoding: chunked\r\n\r\n" + _CHUNKS[0],
    *_CHUNKS[1:-1],
    _CHUNKS[-1] + b"0\r\n\r\n",
]


class Mock(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        body, self._body = b"".join(self._body), []
        if b'"stream":true' in body or b'"stream": true' in body:
            self._next(0)
        else:
            self._transport.write(_PLAIN)

    def _next(self, number: int) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(_STREAM[number])
        if number + 1 < len(_STREAM):
            self._loop.call_soon(self._next, number + 1)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Mock, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
