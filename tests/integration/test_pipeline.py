"""The assets in process, on the real stores, the real embedder and the sandbox model."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
import redis.asyncio

from ibex.settings import Settings
from ibex.stores.hot import HotCache
from ibex.stores.identity import IdentityStore
from ibex.stores.jobs import JobStore
from ibex.stores.objects import ObjectStore
from ibex.stores.pipeline import PipelineReader
from ibex.stores.postgres import Database
from ibex.stores.sessions import NewTurn, SessionStore
from tests.conftest import free_port
from tests.integration.recorded import TALK, add_session
from tests.pipeline import contents, learn, metadata

pytestmark = pytest.mark.usefixtures(
    "redis_server", "s3_server", "embedder_server", "sandbox_server"
)


async def test_a_completed_session_becomes_memories_hot_memories_and_an_archive(
    settings: Settings,
    database: Database,
    redis_client: redis.asyncio.Redis,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    result = await learn(settings)

    found = await contents(database, org_id)
    assert any("db.smoketest.example.com" in one for one in found)
    assert await JobStore(database).counts() == {"waiting": 0, "leased": 0, "done": 1, "dead": 0}
    session = await SessionStore(database).session(org_id, session_id)
    assert (session.last_extracted_turn, session.archived_turn) == (2, 2)
    hot = await HotCache(redis_client, database).read(org_id, agent_id, None)
    assert sorted(one.candidate.content for one in hot) == sorted(found)
    key = f"{org_id}/{agent_id}/{session_id}/{session_id}.ndjson"
    archived = await ObjectStore(settings).get(settings.sessions_bucket, key)
    assert len(archived.splitlines()) == 2

    made = metadata(result)
    assert made["completed_sessions"]["sessions"] == 1
    assert made["session_facts"]["prompt_tokens"] > 0
    learned = made["memories"]["memories"] + made["session_episodes"]["episodes"]
    assert learned == len(found)
    assert made["hot_memories"]["memories"] == len(found)
    assert made["session_archive"]["bytes"] == len(archived)
    assert not any(one in str(made) for one in (*found, *TALK))

    async with database.tenant(org_id) as connection:
        runs = await connection.fetch("SELECT DISTINCT run_id, session_id FROM ibex_core.memories")
    assert [tuple(run) for run in runs] == [(result.run_id, session_id)]


async def test_the_model_judges_what_no_rule_could(
    settings: Settings,
    database: Database,
    redis_client: redis.asyncio.Redis,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    """The sandbox takes the same words in any order for the same; the rules do not."""
    said = ["The billing service needs the tax service."]
    said.append("The tax service needs the billing service.")
    sessions = SessionStore(database)
    session = await sessions.open_session(org_id, agent_id, None, "s-1")
    for number, text in enumerate(said):
        await sessions.record_turn(
            NewTurn(
                org_id=org_id,
                session_id=session.id,
                request_id=f"r-{number}",
                messages=[{"role": "user", "content": text}],
                response={"role": "assistant", "content": "Noted."},
                model="sandbox",
            )
        )
    await sessions.complete(org_id, session.id)
    unasked = settings.model_copy(update={"conflict_questions": 0})
    made = metadata(await learn(unasked))
    assert (made["memories"]["undecided"], made["memory_conflicts"]["pairs"]) == (1, 0)

    await sessions.record_turn(
        NewTurn(
            org_id=org_id,
            session_id=session.id,
            request_id="r-2",
            messages=[{"role": "user", "content": "My favourite colour is teal."}],
            response={"role": "assistant", "content": "Noted."},
            model="sandbox",
        )
    )
    await sessions.complete(org_id, session.id)
    made = metadata(await learn(settings))
    assert made["memory_conflicts"]["verdicts"] == {"duplicate": 1}
    assert made["memory_conflicts"]["prompt_tokens"] > 0
    assert not any(text in str(made) for text in said)
    async with database.tenant(org_id) as connection:
        rows = await connection.fetch(
            "SELECT content FROM ibex_core.memories WHERE org_id = $1 AND category = 'declarative' "
            "AND valid_to IS NULL ORDER BY valid_from",
            org_id,
        )
    assert [row["content"] for row in rows] == [said[0], "User's favourite colour is teal."]
    hot = [
        one.candidate.content
        for one in await HotCache(redis_client, database).read(org_id, agent_id, None)
    ]
    assert said[0] in hot


async def test_a_second_run_changes_nothing_and_a_session_that_goes_on_adds_what_is_new(
    settings: Settings, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    sessions = SessionStore(database)
    session = await sessions.open_session(org_id, agent_id, None, "s-1")

    async def say(request: str, text: str) -> None:
        await sessions.record_turn(
            NewTurn(
                org_id=org_id,
                session_id=session.id,
                request_id=request,
                messages=[{"role": "user", "content": text}],
                response={"role": "assistant", "content": "Noted."},
                model="sandbox",
            )
        )
        await sessions.complete(org_id, session.id)

    await say("r-1", TALK[0])
    await learn(settings)
    once = await contents(database, org_id)
    assert len(once) > 0
    await learn(settings)
    assert await contents(database, org_id) == once

    await say("r-2", "My favourite colour is teal.")
    result = await learn(settings)
    assert metadata(result)["completed_sessions"]["turns"] == 1
    more = await contents(database, org_id)
    assert more[: len(once)] == once
    assert any("teal" in one for one in more[len(once) :])
    assert (await sessions.session(org_id, session.id)).archived_turn == 2


async def test_a_model_that_is_down_makes_its_sessions_wait_and_the_archive_goes_on(
    settings: Settings, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    down = settings.model_copy(update={"provider_base_url": f"http://127.0.0.1:{free_port()}/v1"})
    result = await learn(down)
    made = metadata(result)
    assert (made["session_facts"]["sessions"], made["session_facts"]["failed"]) == (0, 1)
    assert sorted(await contents(database, org_id)) == sorted(f"User: {text}" for text in TALK)
    assert made["hot_memories"]["memories"] == len(TALK)
    assert made["session_archive"]["sessions"] == 1
    async with database.tenant(org_id) as connection:
        job = await connection.fetchrow(
            "SELECT status, attempts, deferrals, last_error, available_at "
            "FROM ibex_core.extraction_jobs"
        )
    assert job is not None
    assert (job["status"], job["attempts"], job["deferrals"]) == ("waiting", 0, 1)
    assert job["last_error"] == "provider_unavailable"
    assert job["available_at"] > datetime.now(UTC) + timedelta(seconds=1)
    assert (await SessionStore(database).session(org_id, session_id)).last_extracted_turn == 0


async def test_without_the_embedder_nothing_is_written_and_the_session_waits(
    settings: Settings, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    await add_session(database, org_id, agent_id)
    down = settings.model_copy(update={"embedder_url": f"http://127.0.0.1:{free_port()}"})
    made = metadata(await learn(down))
    assert (made["session_episodes"]["failed"], made["session_facts"]["sessions"]) == (1, 0)
    assert await contents(database, org_id) == []
    async with database.tenant(org_id) as connection:
        job = await connection.fetchrow("SELECT * FROM ibex_core.extraction_jobs")
    assert job is not None
    assert (job["status"], job["attempts"], job["last_error"]) == (
        "waiting",
        0,
        "embedder_unavailable",
    )


async def test_what_a_session_is_to_blame_for_counts_and_what_it_cost_is_booked(
    settings: Settings, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    """Also what a failed try cost, of which nothing else is left."""
    session_id = await add_session(database, org_id, agent_id)
    priced = settings.model_copy(
        update={
            "extraction_model": "sandbox-garbage",
            "model_prices": {"ibex-sandbox": (Decimal(1), Decimal(2))},
        }
    )
    made = metadata(await learn(priced))
    async with database.tenant(org_id) as connection:
        job = await connection.fetchrow("SELECT * FROM ibex_core.extraction_jobs")
        (spent,) = await connection.fetch("SELECT * FROM ibex_core.extraction_usage")
    assert job is not None
    assert (job["status"], job["attempts"], job["last_error"]) == (
        "waiting",
        1,
        "malformed_extraction",
    )
    assert (spent["session_id"], spent["agent_id"]) == (session_id, agent_id)
    assert (spent["purpose"], spent["model"]) == ("facts", "ibex-sandbox")
    assert (spent["calls"], spent["succeeded"]) == (2, False)
    tokens = spent["prompt_tokens"] + 2 * spent["completion_tokens"]
    assert spent["cost_usd"] == Decimal(tokens) / 1_000_000 > 0
    facts = made["session_facts"]
    assert (facts["calls"], facts["models"]) == (2, ["ibex-sandbox"])
    assert facts["cost_usd"] == pytest.approx(float(spent["cost_usd"]))


async def test_a_session_that_took_the_model_too_long_is_read_in_smaller_parts(
    settings: Settings, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    await add_session(database, org_id, agent_id, said=["My cat is called Tom. " * 250] * 4)
    async with database.tenant(org_id) as connection:
        await connection.execute(
            "UPDATE ibex_core.extraction_jobs SET last_error = 'provider_timeout', deferrals = 2"
        )
    assert metadata(await learn(settings))["session_facts"]["calls"] == 4
    assert (await JobStore(database).counts())["done"] == 1


async def test_without_s3_the_run_fails_visibly_and_the_memories_are_there(
    settings: Settings, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    down = settings.model_copy(update={"s3_url": f"http://127.0.0.1:{free_port()}"})
    result = await learn(down, fails=True)
    assert "session_archive" not in metadata(result)
    assert len(await contents(database, org_id)) > 0
    assert (await SessionStore(database).session(org_id, session_id)).archived_turn == 0
    # It is due, but not before a moment has passed.
    assert (await JobStore(database).waiting_work()).unarchived == 0


async def test_what_a_run_cannot_finish_it_gives_back(
    settings: Settings, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    jobs = PipelineReader(database)
    for only, claimed in (
        (["completed_sessions"], 0),
        (["completed_sessions", "session_archive"], 0),
        (["completed_sessions", "session_episodes"], 1),
    ):
        made = metadata(await learn(settings, only=only))
        assert made["completed_sessions"]["sessions"] == claimed
        job = await jobs.job(org_id, session_id)
        assert job is not None
        assert (job.status, job.attempts) == ("waiting", claimed)


async def test_users_and_organizations_stay_apart(
    settings: Settings,
    database: Database,
    identity: IdentityStore,
    redis_client: redis.asyncio.Redis,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    ann = await identity.user(org_id, "ann")
    other = await identity.create_organization("other")
    other_agent = await identity.create_agent(other, "assistant")
    await add_session(database, org_id, agent_id, said=TALK[:1], user_id=ann)
    await add_session(database, other, other_agent, said=["My favourite colour is teal."])
    await learn(settings)

    assert not any("teal" in one for one in await contents(database, org_id))
    assert not any("smoketest" in one for one in await contents(database, other))
    hot = HotCache(redis_client, database)
    assert await hot.read(org_id, agent_id, None) == []
    assert len(await hot.read(org_id, agent_id, ann)) > 0
