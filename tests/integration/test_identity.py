from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from ibex.access_tokens import new_token
from ibex.errors import AgentNotFoundError, AuthenticationError, ConflictError, NotFoundError
from ibex.ids import new_id
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database


async def test_a_token_is_verified_by_its_own_text_only(
    identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    token = await identity.create_token(org_id, "app", agent_id=agent_id)
    grant = await identity.verify_token(token.text)
    assert (grant.org_id, grant.agent_id, grant.scopes) == (org_id, agent_id, ("chat",))

    with pytest.raises(AuthenticationError, match="unknown"):
        await identity.verify_token(new_token(token.id).text)


async def test_revoked_and_expired_tokens_are_refused(
    identity: IdentityStore, org_id: UUID
) -> None:
    token = await identity.create_token(org_id, "app")
    await identity.revoke_token(org_id, token.id)
    with pytest.raises(AuthenticationError, match="revoked"):
        await identity.verify_token(token.text)
    with pytest.raises(NotFoundError):
        await identity.revoke_token(org_id, token.id)

    past = datetime.now(UTC) - timedelta(seconds=1)
    expired = await identity.create_token(org_id, "old", expires_at=past)
    with pytest.raises(AuthenticationError, match="expired"):
        await identity.verify_token(expired.text)


async def test_agents_are_found_by_id_and_name_inside_their_organization_only(
    identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    assert (await identity.agent(org_id, "assistant")).id == agent_id
    assert (await identity.agent(org_id, agent_id)).name == "assistant"
    other = await identity.create_organization(f"other-{new_id()}")
    with pytest.raises(AgentNotFoundError):
        await identity.agent(other, agent_id)
    with pytest.raises(ConflictError):
        await identity.create_agent(org_id, "assistant")


async def test_directives_are_versioned(
    identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    assert await identity.directive(org_id, agent_id) is None
    assert await identity.set_directive(org_id, agent_id, "Be brief.") == 1
    assert await identity.set_directive(org_id, agent_id, "Be kind.") == 2
    directive = await identity.directive(org_id, agent_id)
    assert directive is not None
    assert (directive.version, directive.content) == (2, "Be kind.")


async def test_the_same_user_is_one_row(identity: IdentityStore, org_id: UUID) -> None:
    assert await identity.user(org_id, "u-1") == await identity.user(org_id, "u-1")
    assert await identity.user(org_id, "u-1") != await identity.user(org_id, "u-2")


async def test_the_application_role_cannot_leave_its_tenant(
    database: Database, org_id: UUID, agent_id: UUID
) -> None:
    async with database.tenant(new_id()) as connection:
        assert await connection.fetch("SELECT * FROM ibex_core.agents") == []
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(
                "INSERT INTO ibex_core.agents (org_id, id, name) VALUES ($1, $2, 'x')",
                org_id,
                new_id(),
            )


async def test_the_system_role_sees_no_content(database: Database) -> None:
    for table in ("memories", "session_turns", "directive_versions", "users"):
        async with database.system() as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"SELECT * FROM ibex_core.{table}")  # noqa: S608
