"""The connections to one provider, tied to an address that was checked.

A name that suddenly resolves to the machine's own network or to a cloud's metadata service would
turn the proxy into a way in. So the name is resolved here, every address is checked, and the pool
connects to that one answer (TLS still names and verifies the host): nothing resolves it a second
time between the check and the connection. The answer is renewed once a minute, and at once when the
address cannot be connected to. Behind an egress proxy of the environment that proxy resolves, and
the check is its own to make.
"""

import asyncio
import ipaddress
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from ibex.addresses import is_permitted, literal_address
from ibex.errors import ProviderAddressError, ProviderUnavailableError
from ibex.http1.egress import egress_to
from ibex.http1.pool import Origin, Pool, tls_context
from ibex.providers import Provider
from ibex.settings import Settings

_BELIEVED: Final = 60.0  # seconds for which a resolved address is used


@dataclass
class Link:
    pool: Pool
    address: str | None = None  # None: nothing was resolved
    until: float = float("inf")  # on the monotonic clock


class Connector:
    def __init__(self, provider: Provider, settings: Settings) -> None:
        """Raises ConfigurationError when the way out is no HTTP proxy."""
        parts = urlsplit(provider.base_url)
        encrypted = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if encrypted else 80)
        self._origin = Origin(self._host, self._port, tls_context() if encrypted else None)
        self._egress = egress_to(provider.base_url)
        self._allow_private = provider.allow_private
        self._connect_timeout = settings.upstream_connect_timeout
        self._idle_timeout = settings.upstream_idle_timeout
        self._renewing = asyncio.Lock()
        self._failed_address: str | None = None
        self._link: Link | None = None
        if self._egress is not None or literal_address(self._host) is not None:
            self._link = Link(self._pool(None))  # configured_providers has checked a literal

    async def acquire(self) -> Link:
        """Raises ProviderAddressError, ProviderUnavailableError."""
        link = self._link
        if link is None or time.monotonic() >= link.until:
            async with self._renewing:
                link = await self._renewed()
        return link

    async def failed(self, link: Link) -> bool:
        """Its address could not be connected to. True: another one may be tried."""
        if link.address is None:
            return False
        self._failed_address = link.address
        if self._link is link:
            await self.close()
        return True

    async def close(self) -> None:
        """What is in use is closed when it ends."""
        link, self._link = self._link, None
        if link is not None:
            await link.pool.close()

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
                limit=self._connect_timeout,
            )
        except ProviderAddressError:
            await self.close()
            raise
        except ProviderUnavailableError:
            if link is None:
                raise
            link.until = now + _BELIEVED  # the resolver is away; the address was checked
            return link
        if link is None or link.address not in addresses:
            await self.close()
            others = [one for one in addresses if one != self._failed_address]
            address = (others or addresses)[0]
            link = self._link = Link(self._pool(address), address)
        link.until = now + _BELIEVED
        return link

    def _pool(self, address: str | None) -> Pool:
        return Pool(
            self._origin,
            address=address,
            egress=self._egress,
            connect_timeout=self._connect_timeout,
            idle_timeout=self._idle_timeout,
        )


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
