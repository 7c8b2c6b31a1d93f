"""The model's server: sends the request on and hands its bytes back as they arrive.

Silence is limited per read, never the whole: an answer may take as long as it keeps coming. The
client's own credentials and cookies stay here; only headers that mean something to a model's server
go on, and the stored key goes to the configured server alone (redirects are not followed).
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Final
from urllib.parse import quote, urlsplit

from hotpath.proxy.providers.connector import Connector
from ibex.errors import ProviderTimeoutError, ProviderUnavailableError
from ibex.http1.pool import Response
from ibex.http1.wire import (
    Header,
    SilenceError,
    UnreachedError,
    WireError,
    is_value,
)
from ibex.providers import Provider
from ibex.settings import Settings
from ibex.telemetry import outgoing

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
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"content-length",
        b"date",
        b"server",
        b"server-timing",
        b"set-cookie",
        b"alt-svc",
        b"strict-transport-security",
    }
)
_RENAMED: Final = {b"x-request-id": b"x-upstream-request-id"}


class UpstreamResponse:
    def __init__(self, response: Response) -> None:
        self._response = response
        self._begun: bytes | None = None
        self._whole = False
        self._said = dict(response.headers)
        self.status = response.status
        self.headers = response_headers(response.headers)
        self.provider = ""  # who answered, by its name in the settings
        self.model: str | None = None  # which was asked for

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_stream(self) -> bool:
        return self.succeeded and self._type.startswith(b"text/event-stream")

    @property
    def _type(self) -> bytes:
        return self._said.get(b"content-type", b"").lower()

    async def begin(self) -> None:
        """Read the first bytes of a stream, or the whole of anything else: as long as nothing has
        gone out, another try is possible. Raises as `chunks` does."""
        self._whole = not self.is_stream and (
            b"content-length" in self._said
            or not self.succeeded
            or self._type.startswith(b"application/json")
        )
        if self._whole:
            self._begun = b"".join([chunk async for chunk in self._read()])
            self.close()
        else:
            self._begun = await self._chunk()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """As they arrive. Raises ProviderUnavailableError when the server hangs up before the
        end, ProviderTimeoutError when it falls silent."""
        if self._begun is None:
            return
        yield self._begun
        if not self._whole:
            async for chunk in self._read():
                yield chunk

    async def body(self) -> bytes:
        """The whole of it; raises as `chunks` does."""
        return b"".join([chunk async for chunk in self.chunks()])

    def close(self) -> None:
        """Hangs up, or gives the connection back when all was read."""
        self._response.close()

    async def _read(self) -> AsyncGenerator[bytes, None]:
        while (chunk := await self._chunk()) is not None:
            yield chunk

    async def _chunk(self) -> bytes | None:
        try:
            return await self._response.read()
        except WireError as error:
            raise _named(error) from None


class Upstream:
    """One provider."""

    def __init__(self, provider: Provider, settings: Settings) -> None:
        self._path = quote(urlsplit(provider.base_url).path, safe="/%:@!$&'()*+,;=~")
        self._key = provider.key
        self._connector = Connector(provider, settings)
        self._traced = settings.trace_provider

    async def close(self) -> None:
        await self._connector.close()

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        key: str | None = None,
    ) -> UpstreamResponse:
        """`path` below the provider's /v1, `headers` the client's by lower-case name, `key` the
        caller's own instead of the stored one. The response has begun; whoever gets it closes it.

        Raises ProviderUnavailableError, ProviderTimeoutError, ProviderAddressError.
        """
        sent = request_headers(headers, key or self._key)
        if self._traced:
            sent |= outgoing()
        if body is None:
            del sent["content-type"]
        try:
            return await self._send(method, path, body, sent)
        except _ElsewhereError:
            # Nobody was reached, so nothing was sent.
            try:
                return await self._send(method, path, body, sent)
            except _ElsewhereError as error:
                raise error.reason from None

    async def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> UpstreamResponse:
        link = await self._connector.acquire()
        try:
            response = await link.pool.request(method, self._path + path, headers, body)
        except UnreachedError as error:
            if await self._connector.failed(link):
                raise _ElsewhereError(_named(error)) from None
            raise _named(error) from None
        except WireError as error:
            raise _named(error) from None
        begun = UpstreamResponse(response)
        try:
            await begun.begin()
        except BaseException:
            begun.close()
            raise
        return begun


class _ElsewhereError(Exception):
    """This address cannot be connected to; the name may have another."""

    def __init__(self, reason: ProviderUnavailableError) -> None:
        self.reason = reason


def request_headers(headers: Mapping[str, str], key: str) -> dict[str, str]:
    passed = {
        name: value
        for name, value in headers.items()
        if (name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIX)) and is_value(value)
    }
    return {
        "accept": "*/*",
        "user-agent": "ibex",
        **passed,
        "content-type": "application/json",
        "accept-encoding": "identity",  # the answer is read on its way
        "authorization": f"Bearer {key}",
    }


def response_headers(headers: Sequence[Header]) -> list[Header]:
    """What of the provider's headers, by lower-case names, is the client's to see."""
    named = {
        token.strip().lower()
        for name, value in headers
        if name == b"connection"
        for token in value.split(b",")
    }
    return [
        (_RENAMED.get(name, name), value)
        for name, value in headers
        if name not in _KEPT_HERE and name not in named and not name.startswith(b"x-ibex-")
    ]


def _named(error: WireError) -> ProviderUnavailableError:
    if isinstance(error, SilenceError):
        return ProviderTimeoutError()
    return ProviderUnavailableError(f"The model's server could not be talked to: {error}")
