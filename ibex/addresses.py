"""Which network addresses the proxy may be led to by a name in its settings."""

import ipaddress
from typing import Final

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Link-local is refused as a whole; these stand outside it.
_METADATA: Final = frozenset(
    {
        ipaddress.ip_address("fd00:ec2::254"),  # AWS
        ipaddress.ip_address("fd20:ce::254"),  # Google Cloud
        ipaddress.ip_address("100.100.100.200"),  # Alibaba Cloud
    }
)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


def literal_address(host: str) -> IpAddress | None:
    """The address that a host of a URL spells out; `localhost` spells out the loopback."""
    if host.lower() == "localhost":
        return ipaddress.ip_address("127.0.0.1")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_permitted(address: IpAddress, *, allow_private: bool) -> bool:
    """Whether a server of others may be there. Never: metadata services, link-local, multicast."""
    address = _meant(address)
    if (
        address in _METADATA
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
    ):
        return False
    return address.is_global or (allow_private and (address.is_loopback or not address.is_reserved))


def _meant(address: IpAddress) -> IpAddress:
    """The IPv4 address inside an IPv6 one, where that is what is reached."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
