"""Where a name in the settings may lead."""

import ipaddress

import pytest

from hotpath.proxy.providers.connector import resolve
from ibex.addresses import is_permitted, literal_address
from ibex.errors import ProviderAddressError, ProviderUnavailableError


@pytest.mark.parametrize(
    ("address", "public", "private"),
    [
        ("8.8.8.8", True, True),
        ("2606:4700::1111", True, True),
        ("10.1.2.3", False, True),
        ("172.16.0.1", False, True),
        ("192.168.0.1", False, True),
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("fd12::1", False, True),
        ("100.64.0.1", False, True),
        ("::ffff:10.0.0.1", False, True),
        ("::ffff:8.8.8.8", True, True),
        ("64:ff9b::a00:1", False, True),
        ("2002:a00:1::", False, True),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("fe80::1", False, False),
        ("fd00:ec2::254", False, False),
        ("100.100.100.200", False, False),
        ("0.0.0.0", False, False),  # noqa: S104  nothing listens there
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("255.255.255.255", False, False),
    ],
)
def test_addresses(address: str, public: bool, private: bool) -> None:
    parsed = ipaddress.ip_address(address)
    assert is_permitted(parsed, allow_private=False) is public
    assert is_permitted(parsed, allow_private=True) is private


def test_what_is_written_out() -> None:
    assert str(literal_address("localhost")) == "127.0.0.1"
    assert str(literal_address("::1")) == "::1"
    for name in ("api.openai.com", "127.1", "2130706433", "0x7f.1", "localhost.evil.test", ""):
        assert literal_address(name) is None


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1"])
async def test_another_spelling_of_the_loopback_is_no_way_around(host: str) -> None:
    with pytest.raises(ProviderAddressError):
        await resolve(host, 80, allow_private=False, limit=5)
    assert await resolve(host, 80, allow_private=True, limit=5) == ["127.0.0.1"]


async def test_a_name_that_nobody_knows() -> None:
    for host in ("nobody.invalid", "a" * 300, "\udcff"):
        with pytest.raises(ProviderUnavailableError) as caught:
            await resolve(host, 80, allow_private=True, limit=5)
        assert caught.value.code == "provider_unavailable"
