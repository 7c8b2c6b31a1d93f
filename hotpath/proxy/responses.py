"""What the proxy itself answers: JSON, and errors in OpenAI's envelope."""

import math

import orjson

from hotpath.proxy.exchange import Exchange
from ibex.asgi import JSON
from ibex.errors import IbexError, ProviderPausedError, RateLimitedError


async def send_json(exchange: Exchange, status: int, value: object) -> None:
    await send_bytes(exchange, status, orjson.dumps(value), JSON)


async def send_bytes(exchange: Exchange, status: int, body: bytes, content_type: bytes) -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await exchange.start(status, headers, final=True)
    await exchange.send(body, more=False)


async def send_error(exchange: Exchange, error: IbexError) -> None:
    retry_after = _retry_after(error)
    if error.status in (429, 503) and retry_after is not None:
        exchange.set_header(b"retry-after", str(retry_after))
    if error.status == 401:
        exchange.set_header(b"www-authenticate", "Bearer")
    await send_json(exchange, error.status, error.envelope(exchange.request_id))


def _retry_after(error: IbexError) -> int | None:
    """Seconds; None: waiting does not help."""
    if isinstance(error, ProviderPausedError):
        return max(1, math.ceil(error.retry_after))
    return error.retry_after if isinstance(error, RateLimitedError) else 1
