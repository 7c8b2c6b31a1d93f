"""The Auth service over a real channel, with the client that the proxy uses."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from ibex.access_tokens import new_token
from ibex.embedded.probes import grpc_serving
from ibex.errors import (
    AgentNotFoundError,
    AssemblerUnavailableError,
    AuthenticationError,
    PermissionDeniedError,
)
from ibex.ids import new_id
from ibex.policy import Fallback
from ibex.rpc import AuthClient
from ibex.rpc.clients import open_channel
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore


@pytest.fixture
async def auth(assembler_server: Settings) -> AsyncIterator[AuthClient]:
    async with open_channel(assembler_server.assembler_target) as channel:
        yield AuthClient(channel)


async def test_a_token_is_told_with_all_it_allows(
    auth: AuthClient, identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    token = await identity.create_token(
        org_id, "app", agent_id=agent_id, scopes=("chat", "read"), expires_at=expires
    )
    verified = await auth.verify_token(token.text)
    assert (verified.org_id, verified.token_id, verified.agent_id) == (org_id, token.id, agent_id)
    assert verified.scopes == {"chat", "read"}
    assert verified.expires_at == expires

    unbound = await auth.verify_token((await identity.create_token(org_id, "all")).text)
    assert (unbound.agent_id, unbound.expires_at) == (None, None)


async def test_a_wrong_token_is_refused_without_being_repeated(
    auth: AuthClient, identity: IdentityStore, org_id: UUID
) -> None:
    revoked = await identity.create_token(org_id, "app")
    await identity.revoke_token(org_id, revoked.id)
    for text in ("", "sk-123", new_token(new_id()).text, revoked.text):
        with pytest.raises(AuthenticationError) as refused:
            await auth.verify_token(text)
        assert not text or text not in str(refused.value)


async def test_a_suspended_organization_is_denied(
    auth: AuthClient, identity: IdentityStore, org_id: UUID, settings: Settings
) -> None:
    token = await identity.create_token(org_id, "app")
    await _as_admin(settings, "UPDATE ibex_core.organizations SET status = 'suspended'")
    with pytest.raises(PermissionDeniedError, match="suspended"):
        await auth.verify_token(token.text)


async def test_an_agent_is_found_by_id_and_name_in_its_organization_only(
    auth: AuthClient, identity: IdentityStore, org_id: UUID
) -> None:
    agent_id = await identity.create_agent(
        org_id, "helper", default_model="gpt-4o", allowed_models=("gpt-4o", "gpt-4o-mini")
    )
    for name in ("helper", str(agent_id)):
        agent = await auth.verify_agent(org_id, name)
        assert (agent.id, agent.name, agent.default_model) == (agent_id, "helper", "gpt-4o")
        assert agent.allowed_models == {"gpt-4o", "gpt-4o-mini"}
        assert (agent.provider, agent.fallbacks) == ("default", ())
        assert (agent.retries, agent.first_byte_timeout) == (0, None)
    other = await identity.create_organization(f"other-{new_id()}")
    for org, name in ((org_id, "nobody"), (org_id, str(new_id())), (other, str(agent_id))):
        with pytest.raises(AgentNotFoundError):
            await auth.verify_agent(org, name)


async def test_an_agents_policy_reaches_whoever_asks(
    auth: AuthClient, identity: IdentityStore, org_id: UUID
) -> None:
    fallbacks = (Fallback("second", "b"), Fallback("default", "c"))
    await identity.create_agent(
        org_id, "x", provider="main", fallbacks=fallbacks, retries=2, first_byte_timeout=1.5
    )
    agent = await auth.verify_agent(org_id, "x")
    assert (agent.provider, agent.fallbacks) == ("main", fallbacks)
    assert (agent.retries, agent.first_byte_timeout) == (2, 1.5)


async def test_a_suspended_agent_is_denied(
    auth: AuthClient, org_id: UUID, agent_id: UUID, settings: Settings
) -> None:
    await _as_admin(settings, "UPDATE ibex_core.agents SET status = 'suspended'")
    with pytest.raises(PermissionDeniedError, match="suspended"):
        await auth.verify_agent(org_id, str(agent_id))


async def test_nobody_is_verified_while_postgresql_is_away(
    auth: AuthClient, identity: IdentityStore, org_id: UUID, settings: Settings
) -> None:
    token = await identity.create_token(org_id, "app")
    await auth.verify_token(token.text)
    # A database that refuses connections looks like a PostgreSQL that is away.
    await _as_admin(
        settings,
        """DO $$ BEGIN
             EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 0', current_database());
           END $$""",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND usename = 'ibex_app'",
    )
    with pytest.raises(AssemblerUnavailableError, match="UNAVAILABLE"):
        await auth.verify_token(token.text)


async def test_the_process_is_not_ready_without_its_embedder(
    auth: AuthClient, assembler_server: Settings
) -> None:
    assert not await grpc_serving(assembler_server.assembler_target)


async def _as_admin(settings: Settings, *statements: str) -> None:
    connection = await asyncpg.connect(settings.admin_dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
