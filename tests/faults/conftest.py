"""A proxy between a client and an upstream, with parts that can be taken away."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from ibex.settings import Settings
from tests.conftest import free_port
from tests.faults.relay import Relay


@pytest.fixture
def proxy_changes() -> Mapping[str, Any]:
    """More patient than elsewhere: what is slow here is slow because a test holds it up."""
    return {
        "assembler_port": free_port(),
        "proxy_port": free_port(),
        "upstream_idle_timeout": 120.0,
        "assembly_timeout_ms": 10_000.0,
        "retrieval_deadline_ms": 2_000.0,
    }


@pytest.fixture
async def relay(proxy_settings: Settings) -> AsyncIterator[Relay]:
    """Between the proxy and the assembler: `proxy_settings` with `relay.address`."""
    relay = Relay("127.0.0.1", proxy_settings.assembler_port)
    server = await asyncio.start_server(relay.connected, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    yield relay
    server.close()
    await relay.close()
