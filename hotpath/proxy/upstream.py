"""The model's server: sends the request on and hands its bytes back as they arrive.

Silence is limited per read, never the whole: an answer may take as long as it keeps coming. The
client's own credentials and cookies stay here; only headers that mean something to a model's server
go on, and the stored key goes to the configured server alone (redirects are not followed).
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from pyreqwest.exceptions import DetailedPyreqwestError, PyreqwestError, RequestTimeoutError
from pyreqwest.http import HeaderMap
from pyreqwest.response import Response

from hotpath.proxy.providers.connector import Connector
from ibex.errors import ProviderTimeoutError, ProviderUnavailableError
from ibex.providers import Provider
from ibex.settings import Settings
from ibex.telemetry import outgoing

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
    def __init__(self, response: Response, end: Callable[[], Awaitable[None]]) -> None:
        """`end` hangs up, or gives the connection back when all was read."""
        self._response = response
        self._end = end
        self._begun: bytes | None = None
        self._whole = False
        self.status = response.status
        self.headers = response_headers(_readable(response.headers))
        self.provider = ""  # who answered, by its name in the settings
        self.model: str | None = None  # which was asked for

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_stream(self) -> bool:
        return self.succeeded and self._type.startswith("text/event-stream")

    @property
    def _type(self) -> str:
        return (self._response.get_header("content-type") or "").lower()

    async def begin(self) -> None:
        """Read the first bytes of a stream, or the whole of anything else: as long as nothing has
        gone out, another try is possible. Raises as `chunks` does."""
        said_length = self._response.get_header("content-length") is not None
        self._whole = not self.is_stream and (
            said_length or not self.succeeded or self._type.startswith("application/json")
        )
        if self._whole:
            self._begun = b"".join([chunk async for chunk in self._read()])
            await self.close()
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

    async def close(self) -> None:
        end, self._end = self._end, _nothing
        await end()

    async def _read(self) -> AsyncGenerator[bytes, None]:
        while (chunk := await self._chunk()) is not None:
            yield chunk

    async def _chunk(self) -> bytes | None:
        try:
            chunk = await self._response.body_reader.read_chunk()
        except PyreqwestError as error:
            raise _named(error) from None
        return None if chunk is None else bytes(chunk)


class Upstream:
    """One provider."""

    def __init__(self, provider: Provider, settings: Settings) -> None:
        self._base = provider.base_url
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
            building = link.client.request(method, self._base + path).headers(dict(headers))
            if body is not None:
                building = building.body_bytes(body)
            # Without a limit of 0 the first bytes wait for a full buffer.
            request = building.streamed_read_buffer_limit(0).build_streamed()
            response = await request.__aenter__()
        except BaseException as error:
            elsewhere = _unreached(error) and await self._connector.failed(link)
            await self._connector.release(link)
            if not isinstance(error, PyreqwestError):
                raise
            if elsewhere:
                raise _ElsewhereError(_named(error)) from None
            raise _named(error) from None

        async def end() -> None:
            try:
                await request.__aexit__(None, None, None)
            finally:
                await self._connector.release(link)

        begun = UpstreamResponse(response, end)
        try:
            await begun.begin()
        except BaseException:
            await begun.close()
            raise
        return begun


class _ElsewhereError(Exception):
    """This address cannot be connected to; the name may have another."""

    def __init__(self, reason: ProviderUnavailableError) -> None:
        self.reason = reason


async def _nothing() -> None:
    pass


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


def _unreached(error: BaseException) -> bool:
    """There was no connection yet, so nothing was sent. Its type does not tell: a connection that
    is lost while an answer is waited for is a ConnectError too."""
    return isinstance(error, DetailedPyreqwestError) and any(
        cause["message"] == "client error (Connect)" for cause in error.details["causes"] or ()
    )


def _named(error: PyreqwestError) -> ProviderUnavailableError:
    if isinstance(error, RequestTimeoutError):
        return ProviderTimeoutError()
    return ProviderUnavailableError(
        f"The model's server refused the connection or hung up ({type(error).__name__})."
    )
