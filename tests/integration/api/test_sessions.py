from dataclasses import replace
from decimal import Decimal
from uuid import UUID

from pyreqwest.client import ClientBuilder

from ibex.embedded.process import ProcessSpec
from ibex.settings import Settings
from ibex.stores.archive import SessionArchive
from ibex.stores.identity import IdentityStore
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.usage import Purpose, Usage, UsageStore
from tests.integration.api.conftest import Api
from tests.integration.recorded import drop_content
from tests.seeding import add_session, add_turn, insert


async def test_completing_starts_the_extraction_and_is_idempotent(
    api: Api, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    session = await add_session(database, org_id, agent_id, external_id="chat-1")
    await add_turn(database, org_id, session, 1, "Hi.", "Hello.")
    before = await api.get("/sessions/chat-1")
    assert (before["status"], before["extraction"]) == ("active", None)
    assert (await api.get("/pipeline"))["jobs"]["waiting"] == 0

    first = await api.call("POST", "/sessions/chat-1/complete")
    again = await api.call("POST", f"/sessions/{session}/complete")
    assert (first.status, again.status) == (200, 200)
    assert first.body == again.body
    assert first.body["status"] == "completed"
    assert first.body["extraction"] == {"status": "waiting", "attempts": 0, "last_error": None}

    pipeline = await api.get("/pipeline")
    assert (pipeline["jobs"]["waiting"], pipeline["unarchived_sessions"]) == (1, 1)
    assert pipeline["oldest_waiting_at"] is not None
    overview = await api.get("/overview")
    assert overview["jobs"] == pipeline["jobs"]
    assert overview["turns"] == 1
    assert overview["sessions"] == {
        "total": 1,
        "active": 0,
        "completed": 1,
        "extracted": 0,
        "archived": 0,
    }


async def test_sessions_are_listed_by_agent_and_status(
    api: Api, identity: IdentityStore, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    other_agent = await identity.create_agent(org_id, "other")
    user = await identity.user(org_id, "ada")
    active = await add_session(database, org_id, agent_id, user_id=user)
    done = await add_session(database, org_id, agent_id, status="completed")
    other = await add_session(database, org_id, other_agent)

    assert await api.every_id("/sessions?agent=assistant", 50) == [str(done), str(active)]
    assert await api.every_id(f"/sessions?agent={other_agent}", 50) == [str(other)]
    assert await api.every_id("/sessions?status=completed", 50) == [str(done)]
    listed = await api.get("/sessions?agent=assistant&status=active")
    assert (listed["items"][0]["agent"], listed["items"][0]["user"]) == ("assistant", "ada")
    assert (await api.call("GET", "/sessions?status=wrong")).status == 400


async def test_an_external_id_that_two_users_have_asks_for_the_id(
    api: Api, identity: IdentityStore, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    for name in ("ada", "bob"):
        user = await identity.user(org_id, name)
        await add_session(database, org_id, agent_id, user_id=user, external_id="chat")
    assert (await api.call("GET", "/sessions/chat")).status == 409


async def test_failures_are_told_by_their_codes(
    api: Api, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    session = await add_session(database, org_id, agent_id)
    await insert(
        database,
        org_id,
        "extraction_jobs",
        session_id=session,
        status="dead",
        attempts=3,
        last_error="malformed_extraction",
    )
    pipeline = await api.get("/pipeline")
    assert pipeline["jobs"]["dead"] == 1
    (failure,) = pipeline["failures"]
    assert failure["session_id"] == str(session)
    assert (failure["attempts"], failure["last_error"]) == (3, "malformed_extraction")


async def test_a_session_tells_what_its_extraction_cost(
    api: Api, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    session = await add_session(database, org_id, agent_id)
    assert (await api.get(f"/sessions/{session}"))["model_usage"] is None
    store = UsageStore(database)
    failed = Usage(
        org_id=org_id,
        agent_id=agent_id,
        session_id=session,
        purpose=Purpose.FACTS,
        run_id="run",
        prompt_version="v",
        model="small",
        calls=2,
        prompt_tokens=100,
        completion_tokens=10,
        cost_usd=None,
        seconds=1.5,
        succeeded=False,
    )
    await store.add(failed)
    assert (await api.get(f"/sessions/{session}"))["model_usage"]["cost_usd"] is None
    await store.add(
        replace(failed, model="large", calls=1, cost_usd=Decimal("0.0025"), succeeded=True)
    )
    (listed,) = (await api.get("/sessions"))["items"]
    assert listed["model_usage"] == {
        "calls": 3,
        "prompt_tokens": 200,
        "completion_tokens": 20,
        "cost_usd": 0.0025,
        "seconds": 3.0,
        "models": ["large", "small"],
    }


async def test_an_archive_is_read_through_its_signed_url(
    api: Api,
    database: Database,
    settings: Settings,
    s3_server: ProcessSpec,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    session = await add_session(database, org_id, agent_id, status="completed")
    await add_turn(database, org_id, session, 1, "Hi.", "Hello.")
    early = await api.call("GET", f"/sessions/{session}/archive")
    assert (early.status, early.body["error"]["code"]) == (409, "conflict")

    objects = ObjectStore(settings)
    archived = await SessionArchive(database, objects, settings).archive(org_id, session)
    await objects.close()
    answer = await api.get(f"/sessions/{session}/archive")
    assert (answer["size"], answer["sha256"]) == (archived.size, archived.sha256.hex())
    async with ClientBuilder().no_proxy().build() as http:
        response = await http.get(answer["url"]).build().send()
        assert response.status == 200
        assert (await response.text()).count("\n") == answer["rows"] == 1
        tampered = answer["url"].replace(str(session), str(agent_id))
        assert (await http.get(tampered).build().send()).status == 403


async def test_turns_are_read_from_the_archive_when_the_database_has_them_no_longer(
    api: Api,
    without_content: Api,
    database: Database,
    settings: Settings,
    s3_server: ProcessSpec,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    session = await add_session(database, org_id, agent_id, status="completed")
    for number, said in enumerate(("Hi.", "And you?"), 1):
        await add_turn(database, org_id, session, number, said, "Hello.")
    path = f"/sessions/{session}/turns"
    before = await api.get(path)
    objects = ObjectStore(settings)
    archived = await SessionArchive(database, objects, settings).archive(org_id, session)

    await drop_content(database, org_id, session)
    assert await api.get(path) == before
    page = await api.get(f"{path}?limit=1")
    assert page["items"] == before["items"][:1]
    assert await api.get(f"{path}?cursor={page['next_cursor']}") == before | {
        "items": before["items"][1:]
    }

    await objects.delete(archived.bucket, archived.key)
    await objects.close()
    lost = await api.call("GET", path)
    assert (lost.status, lost.body["error"]["code"]) == (500, "archive_damaged")
    # Who sees no content does not need the archive.
    assert len((await without_content.get(path))["items"]) == 2
