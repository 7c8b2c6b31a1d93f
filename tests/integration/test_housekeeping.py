"""What is kept for a while only goes, in small steps and of every organization."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from ibex.ids import new_id
from ibex.settings import Settings
from ibex.stores.housekeeping import Housekeeping
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from ibex.stores.queries import load
from tests.pipeline import output, run_job

NOW = datetime.now(UTC)


async def note(database: Database, org_id: UUID, name: str, days: float, count: int = 1) -> None:
    """Keys `try:{name}-0`, … of that age."""
    async with database.tenant(org_id) as connection:
        await connection.execute(
            "INSERT INTO ibex_core.idempotency_keys (org_id, key, request_sha256, created_at)"
            " SELECT $1, 'try:' || $2 || '-' || n, '\\x00', $3"
            " FROM generate_series(0, $4::int - 1) n",
            org_id,
            name,
            NOW - timedelta(days=days),
            count,
        )


async def kept(database: Database, org_id: UUID) -> Sequence[str]:
    async with database.tenant(org_id) as connection:
        rows = await connection.fetch(
            "SELECT key FROM ibex_core.idempotency_keys WHERE org_id = $1 ORDER BY key", org_id
        )
    return [row["key"] for row in rows]


async def test_old_keys_of_every_organization_go_in_batches_and_young_ones_stay(
    database: Database, identity: IdentityStore, org_id: UUID
) -> None:
    other = await identity.create_organization(f"org-{new_id()}")
    for owner, count in ((org_id, 7), (other, 4)):
        await note(database, owner, "old", 31, count)
        await note(database, owner, "young", 29)
    before = NOW - timedelta(days=30)
    assert await Housekeeping(database, batch=2, most=4).prune_idempotency_keys(before) == 8
    assert len(await kept(database, org_id)) == 3 + 1
    assert await kept(database, other) == ["try:young-0"]
    assert await Housekeeping(database, batch=2).prune_idempotency_keys(before) == 3
    assert await kept(database, org_id) == ["try:young-0"]
    assert await Housekeeping(database).prune_idempotency_keys(before) == 0


async def test_a_key_that_somebody_holds_keeps_nobody_waiting(
    database: Database, org_id: UUID
) -> None:
    await note(database, org_id, "old", 31, 3)
    before = NOW - timedelta(days=30)
    async with database.tenant(org_id) as connection:
        await connection.execute(
            "SELECT 1 FROM ibex_core.idempotency_keys WHERE key = 'try:old-1' FOR UPDATE"
        )
        assert await Housekeeping(database).prune_idempotency_keys(before) == 2
    assert await Housekeeping(database).prune_idempotency_keys(before) == 1


async def test_what_is_old_is_found_by_the_index(
    database: Database, identity: IdentityStore, org_id: UUID
) -> None:
    other = await identity.create_organization(f"org-{new_id()}")
    await note(database, other, "old", 60, 5_000)
    await note(database, org_id, "young", 1, 5_000)
    await note(database, org_id, "old", 31, 20)
    async with database.tenant(org_id) as connection:
        plan = await connection.fetch(
            "EXPLAIN " + load("housekeeping")["prune_idempotency_keys"],
            org_id,
            NOW - timedelta(days=30),
            1_000,
        )
    text = "\n".join(row[0] for row in plan)
    assert "ix_idempotency_keys_age" in text, text
    assert "Seq Scan" not in text, text


@pytest.mark.usefixtures("redis_server")
async def test_the_hourly_job_does_it_by_the_setting(
    settings: Settings, database: Database, org_id: UUID
) -> None:
    await note(database, org_id, "old", 3)
    await note(database, org_id, "young", 1)

    two_days = settings.model_copy(update={"idempotency_days": 2})
    assert output(await run_job(two_days, "housekeeping"))["deleted"] == 1
    assert await kept(database, org_id) == ["try:young-0"]
