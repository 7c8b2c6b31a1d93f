"""A proxy in front of an upstream that does what the test says.

A module that wants other settings says so in a fixture of its own, `proxy_changes`.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

import pytest

from ibex.access_tokens import AccessToken
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from ibex.stores.sessions import SessionStore
from tests.proxying import (
    ProxyClient,
    Recorded,
    ScriptedUpstream,
    proxy_client,
    running_proxy,
)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream().running() as upstream:
        yield upstream


@pytest.fixture
def proxy_changes() -> Mapping[str, Any]:
    """Settings of the proxy, over those that every test of it has."""
    return {}


@pytest.fixture
def proxy_settings(
    settings: Settings, upstream: ScriptedUpstream, proxy_changes: Mapping[str, Any]
) -> Settings:
    """Patient: how busy the machine is must not decide what a test sees."""
    return settings.model_copy(
        update={
            "provider_base_url": upstream.url,
            "upstream_idle_timeout": 1.0,
            "assembly_timeout_ms": 5_000.0,
            "retrieval_deadline_ms": 1_000.0,
            "rate_limit_timeout_ms": 5_000.0,
            "provider_circuit_failures": 1_000,
            **proxy_changes,
        }
    )


@pytest.fixture
async def token(identity: IdentityStore, org_id: UUID, agent_id: UUID) -> AccessToken:
    return await identity.create_token(org_id, "app", agent_id=agent_id)


@pytest.fixture
async def proxy(
    proxy_settings: Settings, assembler_server: Settings, token: AccessToken
) -> AsyncIterator[ProxyClient]:
    async with running_proxy(proxy_settings) as base, proxy_client(base, token.text) as client:
        yield client


@pytest.fixture
def recorded(database: Database, org_id: UUID, agent_id: UUID) -> Recorded:
    return Recorded(SessionStore(database), org_id, agent_id)
