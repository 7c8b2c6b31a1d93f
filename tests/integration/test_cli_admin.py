"""`ibex org|token|directive` on a real database: every option does what it says."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import redis.asyncio

from ibex.errors import (
    AgentNotFoundError,
    AuthenticationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
)
from ibex.stores import keys
from ibex.stores.identity import IdentityStore
from tests.command_line import ibex, refused, shown

pytestmark = pytest.mark.usefixtures("environment", "redis_server")


@pytest.fixture
async def shop(identity: IdentityStore) -> UUID:
    return UUID((await ibex("org", "create", "shop"))["org_id"])


async def test_an_organization_is_made_once(identity: IdentityStore, shop: UUID) -> None:
    assert await identity.organization("shop") == shop
    with pytest.raises(ConflictError):
        await ibex("org", "create", "shop")


async def test_a_token_has_the_agent_the_scopes_and_the_end_that_were_said(
    identity: IdentityStore, shop: UUID
) -> None:
    agent_id = await identity.create_agent(shop, "clerk")
    plain = await ibex("token", "create", "app", "--org", "shop")
    grant = await identity.verify_token(plain["token"])
    assert (grant.org_id, str(grant.token_id)) == (shop, plain["token_id"])
    assert (grant.agent_id, grant.scopes, grant.expires_at) == (None, ("chat",), None)
    bound = await ibex(
        *("token", "create", "app", "--org", "shop", "--agent", "clerk"),
        *("--scope", "read", "--scope", "content", "--days", "3"),
    )
    grant = await identity.verify_token(bound["token"])
    assert grant.agent_id == agent_id
    assert set(grant.scopes) == {"read", "content"}
    assert grant.expires_at is not None
    left = grant.expires_at - datetime.now(UTC)
    assert timedelta(days=2, hours=23) < left <= timedelta(days=3)


async def test_what_no_token_can_be_is_said(shop: UUID) -> None:
    with pytest.raises(InvalidRequestError, match="sing"):
        await ibex("token", "create", "app", "--org", "shop", "--scope", "sing")
    with pytest.raises(AgentNotFoundError):
        await ibex("token", "create", "app", "--org", "shop", "--agent", "nobody")
    with pytest.raises(NotFoundError, match="organization"):
        await ibex("token", "create", "app", "--org", "nobody")
    assert "--days" in await refused("token", "create", "app", "--org", "shop", "--days", "0")


async def test_a_revoked_token_is_refused_and_every_process_is_told(
    identity: IdentityStore, redis_client: redis.asyncio.Redis, shop: UUID
) -> None:
    made = await ibex("token", "create", "app", "--org", "shop")
    async with redis_client.pubsub() as channel:
        await channel.subscribe(keys.INVALIDATIONS)
        said = await shown("token", "revoke", made["token_id"], "--org", "shop")
        assert said == f"revoked: {made['token_id']}\n"
        told = None
        while told is None:
            told = await channel.get_message(ignore_subscribe_messages=True, timeout=5)
        assert told["data"].decode() == f"token:{made['token_id']}"
    with pytest.raises(AuthenticationError, match="revoked"):
        await identity.verify_token(made["token"])
    with pytest.raises(NotFoundError):
        await shown("token", "revoke", made["token_id"], "--org", "shop")
    with pytest.raises(InvalidRequestError, match="not the token itself"):
        await shown("token", "revoke", made["token"], "--org", "shop")


async def test_a_token_of_another_organization_stays(identity: IdentityStore, shop: UUID) -> None:
    other = await identity.create_organization("other")
    token = await identity.create_token(other, "app")
    with pytest.raises(NotFoundError):
        await shown("token", "revoke", str(token.id), "--org", "shop")
    assert (await identity.verify_token(token.text)).org_id == other


async def test_a_directive_comes_from_a_file_or_from_standard_input(
    identity: IdentityStore, shop: UUID, tmp_path: Path
) -> None:
    agent_id = await identity.create_agent(shop, "clerk")
    file = tmp_path / "directive.txt"
    file.write_text("  Be brief.\n")
    words = ("directive", "set", "clerk")
    assert await ibex(*words, str(file), "--org", "shop") == {"version": 1}
    directive = await identity.directive(shop, agent_id)
    assert directive is not None
    assert directive.content == "Be brief."
    assert await ibex(*words, "-", "--org", "shop", said="Be long.\n") == {"version": 2}
    directive = await identity.directive(shop, agent_id)
    assert directive is not None
    assert (directive.version, directive.content) == (2, "Be long.")
    file.write_text(" \n")
    with pytest.raises(InvalidRequestError, match="empty"):
        await ibex(*words, str(file), "--org", "shop")
    with pytest.raises(AgentNotFoundError):
        await ibex("directive", "set", "nobody", "-", "--org", "shop", said="x")
