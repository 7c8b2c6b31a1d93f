"""A proxy between a client and an upstream, with parts that can be taken away."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from ibex.access_tokens import AccessToken
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from ibex.stores.sessions import SessionStore
from tests.conftest import free_port
from tests.faults.relay import Relay
from tests.proxying import Recorded, ScriptedUpstream


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream().running() as upstream:
        yield upstream


@pytest.fixture
def proxy_settings(settings: Settings, upstream: ScriptedUpstream) -> Settings:
    """Patient: what is slow here is slow because a test holds it up."""
    return settings.model_copy(
        update={
            "provider_base_url": upstream.url,
            "assembler_port": free_port(),
            "proxy_port": free_port(),
            "assembly_timeout_ms": 10_000.0,
            "retrieval_deadline_ms": 2_000.0,
        }
    )


@pytest.fixture
async def token(identity: IdentityStore, org_id: UUID, agent_id: UUID) -> AccessToken:
    return await identity.create_token(org_id, "app", agent_id=agent_id)


@pytest.fixture
def recorded(database: Database, org_id: UUID, agent_id: UUID) -> Recorded:
    return Recorded(SessionStore(database), org_id, agent_id)


@pytest.fixture
async def relay(proxy_settings: Settings) -> AsyncIterator[Relay]:
    """Between the proxy and the assembler: `proxy_settings` with `relay.address`."""
    relay = Relay("127.0.0.1", proxy_settings.assembler_port)
    server = await asyncio.start_server(relay.connected, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    yield relay
    server.close()
    await relay.close()
