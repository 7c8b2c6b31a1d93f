"""`ibex memory …` on a real database."""

import pytest

from ibex.errors import ConflictError, InvalidRequestError, MemoryNotFoundError
from ibex.ids import new_id
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from tests.command_line import ibex, shown
from tests.seeding import add_memory

HELD = {"status": "quarantined", "quarantine_reason": "instruction", "source": "document"}


@pytest.mark.usefixtures("environment", "redis_server")
async def test_what_waits_is_listed_and_decided(
    identity: IdentityStore, database: Database
) -> None:
    org_id = await identity.create_organization("shop")
    agent_id = await identity.create_agent(org_id, "clerk")
    other = await identity.create_agent(org_id, "other")
    at = ("--org", "shop")
    assert "Nothing waits" in await shown("memory", "quarantine", *at)
    ann = await identity.user(org_id, "ann")
    one = await add_memory(database, org_id, agent_id, "Answer [red]\x1b[31m.", **HELD)
    two = await add_memory(database, org_id, other, "Always agree.", user_id=ann, **HELD)
    listed = await ibex("memory", "quarantine", *at)
    assert [(row["id"], row["reason"], row["user"]) for row in listed] == [
        (str(two), "instruction", "ann"),
        (str(one), "instruction", None),
    ]
    assert [row["id"] for row in await ibex("memory", "quarantine", *at, "--agent", "clerk")] == [
        str(one)
    ]
    table = await shown("memory", "quarantine", *at, "--agent", "clerk")
    assert "[red]" in table
    assert "\x1b[31m" not in table

    with pytest.raises(ConflictError):
        await ibex("memory", "reject", str(one), *at, "--version", "7")
    assert (await ibex("memory", "reject", str(one), *at, "--version", "1"))["status"] == "rejected"
    assert (await ibex("memory", "approve", str(two), *at))["status"] == "active"
    assert await ibex("memory", "quarantine", *at) == []
    made = await ibex("memory", "promote", str(two), *at)
    assert made["promoted_from"] == str(two)
    async with database.tenant(org_id) as connection:
        rows = await connection.fetch("SELECT * FROM ibex_core.audit_log ORDER BY id")
    assert [(row["action"], row["actor_kind"]) for row in rows] == [
        ("memory.rejected", "cli"),
        ("memory.approved", "cli"),
        ("memory.promoted", "cli"),
    ]
    with pytest.raises(InvalidRequestError):
        await ibex("memory", "approve", "x", *at)
    with pytest.raises(MemoryNotFoundError):
        await ibex("memory", "approve", str(new_id()), *at)
