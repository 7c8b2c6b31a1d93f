"""The connections to one provider, tied to an address that was checked.

A name that suddenly resolves to the machine's own network or to a cloud's metadata service would
turn the proxy into a way in. So the name is resolved here, every address is checked, and the client
is built with that one answer (TLS still names and verifies the host): nothing resolves it a second
time between the check and the connection. The answer is renewed once a minute, and at once when the
address cannot be connected to. Behind an egress proxy of the environment (HTTPS_PROXY) that proxy
resolves, and the check is its own to make.
"""

import asyncio
import ipaddress
import socket
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from pyreqwest.client import Client, ClientBuilder

from ibex.addresses import is_permitted, literal_address
from ibex.errors import ProviderAddressError, ProviderUnavailableError
from ibex.providers import Provider
from ibex.settings import Settings

_BELIEVED: Final = 60.0  # seconds for which a resolved address is used


@dataclass
class Link:
    """A client for one address, closed when it is retired and nobody uses it any more."""

    client: Client
    address: str | None = None  # None: nothing was resolved
    until: float = float("inf")  # on the monotonic clock
    users: int = 0
    retired: bool = False


class Connector:
    def __init__(self, provider: Provider, settings: Settings) -> None:
        parts = urlsplit(provider.base_url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._allow_private = provider.allow_private
        self._settings = settings
        self._renewing = asyncio.Lock()
        self._failed_address: str | None = None
        self._link: Link | None = None
        self._proxied = _is_proxied(parts.scheme, parts.netloc)
        if self._proxied or literal_address(self._host) is not None:
            self._link = Link(self._build(None))  # configured_providers has checked a literal

    async def acquire(self) -> Link:
        """Whoever takes it gives it back. Raises ProviderAddressError, ProviderUnavailableError."""
        link = self._link
        if link is None or time.monotonic() >= link.until:
            async with self._renewing:
                link = await self._renewed()
        link.users += 1
        return link

    async def release(self, link: Link) -> None:
        link.users -= 1
        if link.retired and link.users == 0:
            await link.client.close()

    async def failed(self, link: Link) -> bool:
        """Its address could not be connected to. True: another one may be tried."""
        if link.address is None:
            return False
        self._failed_address = link.address
        if self._link is link:
            await self._retire()
        return True

    async def close(self) -> None:
        if self._link is not None:
            await self._link.client.close()

    async def _renewed(self) -> Link:
        link = self._link
        now = time.monotonic()
        if link is not None and now < link.until:
            return link
        try:
            addresses = await resolve(
                self._host,
                self._port,
                allow_private=self._allow_private,
                limit=self._settings.upstream_connect_timeout,
            )
        except ProviderAddressError:
            await self._retire()
            raise
        except ProviderUnavailableError:
            if link is None:
                raise
            link.until = now + _BELIEVED  # the resolver is away; the address was checked
            return link
        if link is None or link.address not in addresses:
            await self._retire()
            others = [one for one in addresses if one != self._failed_address]
            address = (others or addresses)[0]
            link = self._link = Link(self._build(address), address)
        link.until = now + _BELIEVED
        return link

    async def _retire(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.retired = True
            if link.users == 0:
                await link.client.close()

    def _build(self, address: str | None) -> Client:
        builder = (
            ClientBuilder()
            .connect_timeout(timedelta(seconds=self._settings.upstream_connect_timeout))
            .read_timeout(timedelta(seconds=self._settings.upstream_idle_timeout))
            .gzip(False)
            .brotli(False)
            .zstd(False)
            .deflate(False)
            .follow_redirects(False)  # the key stays with its host
            .referer(False)
            .user_agent("ibex")
        )
        if not self._proxied:
            builder = builder.no_proxy()
        if address is not None:
            builder = builder.resolve(self._host, address, self._port)
        return builder.build()


async def resolve(host: str, port: int, *, allow_private: bool, limit: float) -> Sequence[str]:
    """The addresses of a name that a provider may be at, in the resolver's order.

    Raises ProviderAddressError when one of them is refused, ProviderUnavailableError when the name
    is unknown or the answer takes longer than `limit` seconds.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limit):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        raise ProviderUnavailableError("The name of the model's server was not resolved.") from None
    addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
    if not addresses or not all(
        is_permitted(ipaddress.ip_address(one), allow_private=allow_private) for one in addresses
    ):
        raise ProviderAddressError
    return addresses


def _is_proxied(scheme: str, netloc: str) -> bool:
    """As the client sees it: by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY. Never the
    loopback."""
    address = literal_address(urlsplit(f"//{netloc}").hostname or "")
    if address is not None and address.is_loopback:
        return False
    proxies = urllib.request.getproxies()
    return bool(proxies.get(scheme) or proxies.get("all")) and not bool(
        urllib.request.proxy_bypass(netloc)
    )
