"""`ibex agent create|set` on a real database, and on a proxy that runs meanwhile."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

from ibex.access_tokens import AccessToken
from ibex.cli import app
from ibex.errors import AgentNotFoundError, InvalidRequestError, NotFoundError
from ibex.rate_limits import Limits
from ibex.stores.identity import IdentityStore
from ibex.stores.limits import LimitStore
from ibex.stores.postgres import Database
from tests.command_line import ibex, refused, shown
from tests.proxying import ProxyClient, ScriptedUpstream, until

pytestmark = pytest.mark.usefixtures("environment", "redis_server")

PLAIN: dict[str, Any] = {
    "status": "active",
    "default_model": None,
    "allowed_models": [],
    "provider": "default",
    "fallbacks": [],
    "retries": 0,
    "first_byte_timeout": None,
    "memory_token_budget": None,
}
EVERYTHING = (
    *("--model", "m1", "--allow", "m1", "--allow", "m2", "--memory-tokens", "300"),
    *("--provider", "second", "--fallback", "default/m2", "--fallback", "third/m3"),
    *("--retries", "2", "--first-byte-seconds", "1.5"),
)
CHANGED = PLAIN | {
    "default_model": "m1",
    "allowed_models": ["m1", "m2"],
    "provider": "second",
    "fallbacks": [
        {"provider": "default", "model": "m2"},
        {"provider": "third", "model": "m3"},
    ],
    "retries": 2,
    "first_byte_timeout": 1.5,
    "memory_token_budget": 300,
}


@pytest.fixture
async def shop(identity: IdentityStore) -> UUID:
    return await identity.create_organization("shop")


async def clerk(*arguments: str) -> dict[str, Any]:
    """`ibex agent set` on the agent of that name: what holds then."""
    held: dict[str, Any] = await ibex("agent", "set", "clerk", "--org", "shop", *arguments)
    assert held.pop("name") == "clerk"
    del held["agent_id"]
    return held


async def test_an_agent_is_made_with_all_that_was_said(shop: UUID) -> None:
    made = await ibex("agent", "create", "clerk", "--org", "shop", *EVERYTHING)
    assert made["name"] == "clerk"
    assert await clerk() == CHANGED
    await ibex("agent", "create", "plain", "--org", "shop")
    held = await ibex("agent", "set", "plain", "--org", "shop")
    assert held.items() >= PLAIN.items()


async def test_what_is_named_changes_and_the_rest_stays(
    identity: IdentityStore, database: Database, shop: UUID
) -> None:
    agent_id = await identity.create_agent(shop, "clerk", description="Sells.")
    await LimitStore(database).set_agent(shop, agent_id, Limits(requests=9))
    assert await clerk() == PLAIN
    assert await clerk(*EVERYTHING) == CHANGED
    assert await clerk("--retries", "0", "--status", "suspended") == CHANGED | {
        "retries": 0,
        "status": "suspended",
    }
    replaced = await clerk("--allow", "m3", "--model", "m3", "--fallback", "third/m4")
    assert replaced["allowed_models"] == ["m3"]
    assert replaced["fallbacks"] == [{"provider": "third", "model": "m4"}]
    assert await clerk("--status", "active", "--description", "Buys.") == replaced | {
        "status": "active"
    }
    cleared = ("model", "allow", "memory-tokens", "provider", "fallback", "retries")
    left = await clerk(*(word for name in cleared for word in ("--clear", name)))
    assert left == PLAIN | {"first_byte_timeout": 1.5}
    assert await clerk("--clear", "first-byte-seconds", "--clear", "description") == PLAIN
    assert (await identity.agent(shop, "clerk")).limits == Limits(requests=9)
    async with database.tenant(shop) as connection:
        assert await connection.fetchval("SELECT description FROM ibex_core.agents") == ""


async def test_what_it_says_can_be_read(identity: IdentityStore, shop: UUID) -> None:
    agent_id = await identity.create_agent(shop, "clerk")
    text = await shown("agent", "set", str(agent_id), "--org", "shop", *EVERYTHING)
    lines = dict(line.split(": ", 1) for line in text.splitlines())
    assert lines["agent_id"] == str(agent_id)
    assert lines["allowed_models"] == "m1, m2"
    assert lines["fallbacks"] == "default/m2, third/m3"
    text = await shown("agent", "set", "clerk", "--org", "shop", "--clear", "memory-tokens")
    assert "memory_token_budget: the deployment's" in text.splitlines()


async def test_a_provider_that_the_settings_do_not_know_is_taken_and_said(shop: UUID) -> None:
    for arguments in (("create", "clerk"), ("set", "clerk")):
        words = ["agent", *arguments, "--org", "shop", "--fallback", "third/m3"]
        done = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--provider", "default"])
        assert done.exit_code == 0
        assert "IBEX_PROVIDERS has no third here" in done.stderr
        assert "default" not in done.stderr
    assert (await clerk())["fallbacks"] == [{"provider": "third", "model": "m3"}]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (["--model", "m9"], InvalidRequestError, "allowed_models"),
        (["--clear", "model", "--model", "m1"], InvalidRequestError, "--clear model"),
        (["--model", ""], InvalidRequestError, "--model is empty"),
        (["--allow", ""], InvalidRequestError, "--allow is empty"),
        (["--fallback", "m1"], InvalidRequestError, "PROVIDER/MODEL"),
        (["--fallback", "a/b"] * 6, InvalidRequestError, "more than 5"),
        (["--provider", "Not a name"], InvalidRequestError, "provider's name"),
        (["--fallback", "Not a name/m1"], InvalidRequestError, "provider's name"),
    ],
)
async def test_what_cannot_be_is_said_and_changes_nothing(
    identity: IdentityStore,
    shop: UUID,
    arguments: list[str],
    error: type[Exception],
    said: str,
) -> None:
    await identity.create_agent(shop, "clerk", allowed_models=["m1"])
    with pytest.raises(error, match=said):
        await clerk("--retries", "3", *arguments)
    assert await clerk() == PLAIN | {"allowed_models": ["m1"]}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--retries", "6"),
        ("--retries", "many"),
        ("--first-byte-seconds", "0"),
        ("--memory-tokens", "-1"),
        ("--status", "archived"),
        ("--clear", "name"),
    ],
)
async def test_a_value_out_of_bounds_names_its_option(shop: UUID, option: str, value: str) -> None:
    assert option in await refused("agent", "set", "clerk", "--org", "shop", option, value)


async def test_nobody_elses_agent_is_changed(identity: IdentityStore, shop: UUID) -> None:
    other = await identity.create_organization("other")
    agent_id = await identity.create_agent(other, "clerk")
    with pytest.raises(AgentNotFoundError):
        await clerk("--retries", "1")
    with pytest.raises(AgentNotFoundError):
        await ibex("agent", "set", str(agent_id), "--org", "shop", "--retries", "1")
    with pytest.raises(NotFoundError, match="organization"):
        await ibex("agent", "set", "clerk", "--org", "nobody", "--retries", "1")
    assert (await identity.agent(other, "clerk")).policy.retries == 0


async def test_a_running_proxy_follows_within_a_second(
    proxy: ProxyClient,
    upstream: ScriptedUpstream,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
    token: AccessToken,
) -> None:
    async with database.tenant(org_id) as connection:
        org: str = await connection.fetchval("SELECT name FROM ibex_core.organizations")

    async def status() -> int:
        return (await proxy.chat("x", model="m1")).status

    assert await status() == 200

    async def change(*arguments: str) -> None:
        await ibex("agent", "set", str(agent_id), "--org", org, *arguments)

    for arguments, expected in (
        (["--allow", "m2"], 403),
        (["--clear", "allow", "--provider", "gone"], 502),
        (["--clear", "provider"], 200),
        (["--status", "suspended"], 403),
        (["--status", "active"], 200),
    ):
        await change(*arguments)

        async def follows(expected: int = expected) -> bool:
            return await status() == expected

        await until(follows, 1)
    await change("--model", "m7")

    async def moved() -> bool:
        assert (await proxy.chat("x", model=None)).status == 200
        return bool(upstream.arrived[-1].body["model"] == "m7")

    await until(moved, 1)
