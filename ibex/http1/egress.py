"""The HTTP proxy through which a provider is reached, by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and
NO_PROXY. Such a proxy resolves the provider's name itself. The loopback is never proxied."""

import base64
import urllib.request
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ibex.addresses import literal_address
from ibex.errors import ConfigurationError


@dataclass(frozen=True)
class Egress:
    host: str
    port: int
    authorization: str | None = None  # of the proxy-authorization header


def egress_to(base_url: str) -> Egress | None:
    """Raises ConfigurationError for a proxy that is not reached by plain HTTP."""
    parts = urlsplit(base_url)
    address = literal_address(parts.hostname or "")
    if address is not None and address.is_loopback:
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(parts.netloc):
        return None
    return _read(proxy if "://" in proxy else f"http://{proxy}")


def _read(proxy: str) -> Egress:
    parts = urlsplit(proxy)
    try:
        port = parts.port or 80
    except ValueError:
        port = 0
    if parts.scheme != "http" or not parts.hostname or not port:
        raise ConfigurationError(
            "The egress proxy of the environment has no address that starts with http://.",
            hint="Name the proxy as http://host:port; what goes through it to https:// addresses "
            "is encrypted all the same. Or leave the provider's host out of it by NO_PROXY.",
        )
    authorization = None
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        authorization = f"Basic {base64.b64encode(user).decode()}"
    return Egress(parts.hostname, port, authorization)
