import asyncio
from uuid import UUID

import pytest

from ibex.errors import LeaseLostError
from ibex.ids import new_id
from ibex.stores.identity import IdentityStore
from ibex.stores.jobs import ClaimedSession, JobStore
from ibex.stores.postgres import Database
from tests.integration.recorded import add_session, add_turn
from tests.pipeline import expire_leases

LEASE = 60.0


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return JobStore(database)


async def job_row(database: Database, org_id: UUID, session_id: UUID) -> dict[str, object]:
    async with database.tenant(org_id) as connection:
        row = await connection.fetchrow(
            """
            SELECT j.status, j.attempts, j.last_error, j.lease_owner, s.last_extracted_turn,
              j.available_at > now() AS later
            FROM ibex_core.extraction_jobs j
            JOIN ibex_core.sessions s ON s.org_id = j.org_id AND s.id = j.session_id
            WHERE j.org_id = $1 AND j.session_id = $2
            """,
            org_id,
            session_id,
        )
    assert row is not None
    return dict(row)


async def test_two_claimers_at_once_never_share(
    database: Database, jobs: JobStore, org_id: UUID, agent_id: UUID
) -> None:
    sessions = {await add_session(database, org_id, agent_id, said=["hi"]) for _ in range(12)}
    assert await jobs.claimable() == 12
    claims = await asyncio.gather(*(jobs.claim(f"run-{n}", 5, LEASE) for n in range(4)))
    claimed = [job.session_id for claim in claims for job in claim]
    assert len(claimed) == len(set(claimed))
    claimed += [job.session_id for job in await jobs.claim("run-last", 50, LEASE)]
    assert set(claimed) == sessions
    assert len(claimed) == len(sessions)
    assert await jobs.claimable() == 0
    assert await jobs.counts() == {"waiting": 0, "leased": 12, "done": 0, "dead": 0}


async def test_an_active_session_is_not_claimed(
    database: Database, jobs: JobStore, org_id: UUID, agent_id: UUID
) -> None:
    await add_session(database, org_id, agent_id, completed=False)
    assert await jobs.claim("run", 10, LEASE) == []


async def test_a_claim_tells_what_was_imported(
    database: Database, jobs: JobStore, org_id: UUID, agent_id: UUID
) -> None:
    live = await add_session(database, org_id, agent_id)
    imported = await add_session(database, org_id, agent_id)
    async with database.tenant(org_id) as connection:
        await connection.execute(
            "UPDATE ibex_core.sessions SET origin = 'import' WHERE id = $1", imported
        )
    claimed = {job.session_id: job.imported for job in await jobs.claim("run", 10, LEASE)}
    assert claimed == {live: False, imported: True}


async def test_an_expired_lease_is_claimed_again_and_its_first_owner_may_not_finish(
    database: Database, jobs: JobStore, org_id: UUID, agent_id: UUID
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    (first,) = await jobs.claim("run-1", 10, LEASE)
    assert await jobs.claim("run-2", 10, LEASE) == []
    await expire_leases(database)
    assert await jobs.claimable() == 1
    (second,) = await jobs.claim("run-2", 10, LEASE)
    assert (first.attempt, second.attempt) == (1, 2)

    with pytest.raises(LeaseLostError):
        await jobs.finish(first, 2)
    with pytest.raises(LeaseLostError):
        await jobs.fail(first, "x", 3, 1.0)
    assert (await job_row(database, org_id, session_id))["last_extracted_turn"] == 0
    await jobs.finish(second, 2)
    row = await job_row(database, org_id, session_id)
    assert (row["status"], row["last_extracted_turn"]) == ("done", 2)
    with pytest.raises(LeaseLostError):
        await jobs.finish(second, 2)


async def test_the_same_run_claiming_again_does_not_revive_its_old_claim(
    database: Database, jobs: JobStore, org_id: UUID, agent_id: UUID
) -> None:
    await add_session(database, org_id, agent_id)
    (first,) = await jobs.claim("run", 10, LEASE)
    await expire_leases(database)
    await jobs.claim("run", 10, LEASE)
    with pytest.raises(LeaseLostError):
        await jobs.finish(first, 2)


async def test_a_renewed_lease_holds(
    database: Database, jobs: JobStore, org_id: UUID, agent_id: UUID
) -> None:
    await add_session(database, org_id, agent_id)
    await jobs.claim("run-1", 10, LEASE)
    assert await jobs.holds_lease("run-1")
    await expire_leases(database, LEASE - 1)
    await jobs.renew("run-1", LEASE)
    await expire_leases(database, LEASE - 1)
    assert await jobs.claim("run-2", 10, LEASE) == []
    await expire_leases(database)
    assert not await jobs.holds_lease("run-1")


async def test_turns_that_came_meanwhile_wait_for_the_next_run(
    database: Database, jobs: JobStore, org_id: UUID, agent_id: UUID
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    (job,) = await jobs.claim("run", 10, LEASE)
    await add_turn(database, org_id, session_id, "One more thing.")
    await jobs.finish(job, job.turn_count)
    row = await job_row(database, org_id, session_id)
    assert (row["status"], row["attempts"], row["last_extracted_turn"]) == ("waiting", 0, 2)
    (again,) = await jobs.claim("run", 10, LEASE)
    assert (again.last_extracted_turn, again.turn_count) == (2, 3)


async def test_a_session_is_tried_again_later_and_at_last_is_a_dead_letter(
    database: Database, jobs: JobStore, org_id: UUID, agent_id: UUID
) -> None:
    session_id = await add_session(database, org_id, agent_id)

    async def claim() -> ClaimedSession:
        async with database.tenant(org_id) as connection:
            await connection.execute("UPDATE ibex_core.extraction_jobs SET available_at = now()")
        (job,) = await jobs.claim("run", 10, LEASE)
        return job

    assert await jobs.fail(await claim(), "provider_unavailable", 3, 5.0) == "waiting"
    assert (await job_row(database, org_id, session_id))["later"]
    assert await jobs.claim("run", 10, LEASE) == []
    assert await jobs.fail(await claim(), "provider_unavailable", 3, 5.0) == "waiting"
    assert await jobs.fail(await claim(), "malformed_extraction", 3, 5.0) == "dead"
    row = await job_row(database, org_id, session_id)
    assert (row["status"], row["last_error"]) == ("dead", "malformed_extraction")
    assert (await jobs.counts(org_id))["dead"] == 1

    assert await jobs.requeue(org_id, session_id=session_id) == 1
    assert await jobs.requeue(org_id) == 0
    assert (await claim()).attempt == 1


async def test_a_try_while_a_part_is_away_does_not_count_until_patience_ends(
    database: Database, jobs: JobStore, org_id: UUID, agent_id: UUID
) -> None:
    session_id = await add_session(database, org_id, agent_id)

    async def claim() -> ClaimedSession:
        async with database.tenant(org_id) as connection:
            await connection.execute("UPDATE ibex_core.extraction_jobs SET available_at = now()")
        (job,) = await jobs.claim("run", 10, LEASE)
        return job

    async def defer(job: ClaimedSession, at_least: float = 0.0) -> bool:
        return await jobs.defer(
            job, "provider_unavailable", patience=60.0, backoff=5.0, at_least=at_least
        )

    for deferred in range(5):
        job = await claim()
        assert (job.attempt, job.deferrals) == (1, deferred)
        assert job.last_error == ("provider_unavailable" if deferred else None)
        assert await defer(job)
        assert not await defer(job)  # the lease is gone
    row = await job_row(database, org_id, session_id)
    assert (row["status"], row["last_error"], row["later"]) == (
        "waiting",
        "provider_unavailable",
        True,
    )

    assert await defer(await claim(), at_least=900.0)
    async with database.tenant(org_id) as connection:
        far = await connection.fetchval(
            "SELECT available_at > now() + interval '890 s' FROM ibex_core.extraction_jobs"
        )
        assert far
        await connection.execute(
            "UPDATE ibex_core.extraction_jobs SET deferred_since = now() - interval '61 s'"
        )
    job = await claim()
    assert not await defer(job)
    assert await jobs.fail(job, "provider_unavailable", 1, 5.0) == "dead"
    await jobs.requeue(org_id, session_id=session_id)
    assert await defer(await claim())


@pytest.mark.parametrize("end", ["fail", "release", "expire"])
async def test_turns_that_came_during_the_last_try_have_tries_of_their_own(
    database: Database, jobs: JobStore, org_id: UUID, agent_id: UUID, end: str
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    (job,) = await jobs.claim("run", 1, LEASE, max_attempts=1)
    await add_turn(database, org_id, session_id, "One more thing.")
    if end == "fail":
        assert await jobs.fail(job, "malformed_extraction", 1, 0.0) == "waiting"
    elif end == "release":
        assert await jobs.release("run", "run_ended", 1, 0.0) == 1
    else:
        await expire_leases(database)
    (again,) = await jobs.claim("next", 1, LEASE, max_attempts=1)
    assert (again.attempt, again.turn_count) == (1, 3)
    assert await jobs.fail(again, "malformed_extraction", 1, 0.0) == "dead"


async def test_runs_that_die_without_a_word_end_in_a_dead_letter(
    database: Database, jobs: JobStore, org_id: UUID, agent_id: UUID
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    for _ in range(3):
        assert len(await jobs.claim("run", 10, LEASE, max_attempts=3)) == 1
        await expire_leases(database)
    assert await jobs.claim("run", 10, LEASE, max_attempts=3) == []
    row = await job_row(database, org_id, session_id)
    assert (row["status"], row["last_error"]) == ("dead", "lease_expired")


async def test_a_run_that_ends_gives_back_what_it_holds(
    database: Database, jobs: JobStore, org_id: UUID, agent_id: UUID
) -> None:
    kept = await add_session(database, org_id, agent_id)
    (job,) = await jobs.claim("run-1", 1, LEASE)
    await jobs.finish(job, 2)
    given = await add_session(database, org_id, agent_id)
    await jobs.claim("run-1", 1, LEASE)
    assert await jobs.release("run-1", "run_ended", 3, 0.0) == 1
    assert (await job_row(database, org_id, kept))["status"] == "done"
    assert (await job_row(database, org_id, given))["last_error"] == "run_ended"
    assert await jobs.claimable() == 1


async def test_an_organization_requeues_its_own_dead_letters_only(
    database: Database, jobs: JobStore, identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    (job,) = await jobs.claim("run", 1, LEASE)
    await jobs.fail(job, "x", 1, 0.0)
    other = await identity.create_organization(f"other-{new_id()}")
    assert await jobs.requeue(other) == 0
    assert await jobs.requeue(other, session_id=session_id) == 0
    assert (await jobs.counts(other))["dead"] == 0
    assert (await jobs.counts())["dead"] == 1
