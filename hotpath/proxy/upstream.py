"""The model's server: sends the request on and hands its bytes back as they arrive.

Silence is limited per read, never the whole: an answer may take as long as it keeps coming. The
client's own credentials and cookies stay here; only headers that mean something to a model's server
go on, and the stored key goes to the configured server alone (redirects are not followed).
"""

import ipaddress
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError, RequestTimeoutError
from pyreqwest.http import HeaderMap
from pyreqwest.response import Response

from ibex.errors import ProviderTimeoutError, ProviderUnavailableError
from ibex.settings import Settings

Header = tuple[bytes, bytes]

_PASSED_ON: Final = frozenset(
    {
        "accept",
        "user-agent",
        "openai-organization",
        "openai-project",
        "openai-beta",
        "idempotency-key",
        "x-client-request-id",
    }
)
_PASSED_ON_PREFIX: Final = "x-stainless-"
# Of one connection and not of the response (RFC 9110, section 7.6.1), or the proxy's own to say.
_KEPT_HERE: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "date",
        "server",
        "server-timing",
        "set-cookie",
        "alt-svc",
        "strict-transport-security",
    }
)
_RENAMED: Final = {"x-request-id": "x-upstream-request-id"}


class UpstreamResponse:
    def __init__(self, response: Response) -> None:
        self._response = response
        self.status = response.status
        self.headers = response_headers(_readable(response.headers))

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_stream(self) -> bool:
        kind = self._response.get_header("content-type") or ""
        return self.succeeded and kind.lower().startswith("text/event-stream")

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """As they arrive. Raises ProviderUnavailableError when the server hangs up before the
        end, ProviderTimeoutError when it falls silent."""
        while True:
            try:
                chunk = await self._response.body_reader.read_chunk()
            except PyreqwestError as error:
                raise _named(error) from None
            if chunk is None:
                return
            yield bytes(chunk)

    async def body(self) -> bytes:
        """The whole of it; raises as `chunks` does."""
        return b"".join([chunk async for chunk in self.chunks()])


class Upstream:
    def __init__(self, settings: Settings) -> None:
        self._base = settings.provider_url.rstrip("/")
        self._key = settings.provider_key
        self._client = _client(settings, self._base)

    async def close(self) -> None:
        await self._client.close()

    @asynccontextmanager
    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[UpstreamResponse]:
        """`path` below the provider's /v1, `headers` the client's by lower-case name.

        Leaving the block early hangs up. Raises ProviderUnavailableError, ProviderTimeoutError.
        """
        request = (
            self._client.post(self._base + path)
            .headers(request_headers(headers, self._key))
            .body_bytes(body)
            .streamed_read_buffer_limit(0)  # or the first bytes wait for a full buffer
            .build_streamed()
        )
        try:
            response = await request.__aenter__()
        except PyreqwestError as error:
            raise _named(error) from None
        try:
            yield UpstreamResponse(response)
        finally:
            await request.__aexit__(None, None, None)


def request_headers(headers: Mapping[str, str], key: str) -> dict[str, str]:
    passed = {
        name: value
        for name, value in headers.items()
        if (name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIX)) and value.isascii()
    }
    return {
        "accept": "*/*",
        **passed,
        "content-type": "application/json",
        "accept-encoding": "identity",  # the answer is read on its way
        "authorization": f"Bearer {key}",
    }


def response_headers(headers: Sequence[tuple[str, str]]) -> list[Header]:
    named = {
        token.strip().lower()
        for name, value in headers
        if name.lower() == "connection"
        for token in value.split(",")
    }
    return [
        (_RENAMED.get(lower, lower).encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in headers
        if (lower := name.lower()) not in _KEPT_HERE
        and lower not in named
        and not lower.startswith("x-ibex-")
    ]


def _readable(headers: HeaderMap) -> list[tuple[str, str]]:
    """Without those whose value is not ASCII: the library cannot read them."""
    try:
        return list(headers.items())
    except ValueError:
        pairs = []
        for name in headers:
            with suppress(ValueError):
                pairs += [(name, value) for value in headers.getall(name)]
        return pairs


def _client(settings: Settings, base: str) -> Client:
    builder = (
        ClientBuilder()
        .connect_timeout(timedelta(seconds=settings.upstream_connect_timeout))
        .read_timeout(timedelta(seconds=settings.upstream_idle_timeout))
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
        .follow_redirects(False)
        .referer(False)
        .user_agent("ibex")
    )
    if _is_loopback(urlsplit(base).hostname or ""):
        builder = builder.no_proxy()
    return builder.build()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _named(error: PyreqwestError) -> ProviderUnavailableError:
    if isinstance(error, RequestTimeoutError):
        return ProviderTimeoutError()
    return ProviderUnavailableError(
        f"The model's server refused the connection or hung up ({type(error).__name__})."
    )
