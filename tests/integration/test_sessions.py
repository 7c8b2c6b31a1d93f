"""Sessions and turns: once, in order, inside their tenant, and only what is new."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest

from ibex.conversation import chain
from ibex.errors import SessionNotFoundError
from ibex.ids import new_id
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.injections import Injection
from ibex.stores.postgres import Database
from ibex.stores.sessions import (
    NewTurn,
    RecordedTurn,
    Session,
    SessionStore,
    new_session,
)

Dict = dict[str, Any]


@pytest.fixture
def store(database: Database) -> SessionStore:
    return SessionStore(database)


@pytest.fixture
async def session(store: SessionStore, org_id: UUID, agent_id: UUID) -> Session:
    return await store.open_session(org_id, agent_id, None, "s-1")


def user(text: str) -> Dict:
    return {"role": "user", "content": text}


def assistant(text: str) -> Dict:
    return {"role": "assistant", "content": text}


def resend(
    session: Session, *messages: Dict, answer: str | None = "yes", **changes: Any
) -> NewTurn:
    """A request as the proxy records it: the whole conversation and the session it saw."""
    turn = NewTurn(
        org_id=session.org_id,
        session_id=session.id,
        request_id=f"r-{new_id()}",
        messages=messages,
        response=assistant(answer) if answer else None,
        model="gpt-4o-mini",
        resent=True,
        opened=session,
    )
    return replace(turn, **changes)


async def job(database: Database, session: Session) -> Any:
    async with database.tenant(session.org_id) as connection:
        return await connection.fetchrow(
            "SELECT * FROM ibex_core.extraction_jobs WHERE session_id = $1", session.id
        )


async def test_a_session_is_found_by_the_clients_id_and_by_ours(
    store: SessionStore, session: Session, org_id: UUID, agent_id: UUID
) -> None:
    assert (await store.open_session(org_id, agent_id, None, "s-1")).id == session.id
    assert (await store.open_session(org_id, agent_id, None, str(session.id))).id == session.id
    assert session.name == "s-1"
    nameless = await store.open_session(org_id, agent_id, None, None)
    assert (await store.open_session(org_id, agent_id, None, nameless.name)).id == nameless.id


async def test_a_session_belongs_to_one_user_agent_and_organization(
    store: SessionStore, session: Session, identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    user_id = await identity.user(org_id, "u-1")
    other_agent = await identity.create_agent(org_id, "other")
    for name in ("s-1", str(session.id)):
        theirs = await store.open_session(org_id, agent_id, user_id, name)
        assert theirs.id not in (
            session.id,
            (await store.open_session(org_id, other_agent, None, name)).id,
        )
        assert (await store.open_session(org_id, agent_id, user_id, name)).id == theirs.id
    other_org = await identity.create_organization(f"other-{new_id()}")
    with pytest.raises(SessionNotFoundError):
        await store.session(other_org, session.id)
    with pytest.raises(SessionNotFoundError):
        await store.complete(other_org, session.id)
    assert await store.turns(other_org, session.id) == []
    assert await store.find_session(other_org, agent_id, None, "s-1") is None


async def test_opening_at_once_makes_one_session(
    store: SessionStore, org_id: UUID, agent_id: UUID
) -> None:
    opened = await asyncio.gather(
        *(store.open_session(org_id, agent_id, None, "same") for _ in range(8))
    )
    assert len({one.id for one in opened}) == 1


async def test_only_new_messages_are_stored_when_a_client_resends_everything(
    store: SessionStore, session: Session, org_id: UUID
) -> None:
    first = [{"role": "system", "content": "s"}, user("one")]
    recorded = await store.record_turn(resend(session, *first, answer="a1"))
    assert (recorded.number, recorded.new) == (1, True)
    second = [*first, assistant("a1") | {"refusal": None}, user("two")]
    await store.record_turn(resend(recorded.session, *second, answer="a2"))
    turns = await store.turns(org_id, session.id)
    assert [turn.messages for turn in turns] == [tuple(first), (user("two"),)]
    assert [turn.response for turn in turns] == [assistant("a1"), assistant("a2")]
    after = await store.session(org_id, session.id)
    assert (after.turn_count, after.message_count) == (2, 5)
    assert after.chain_hash == chain([*second, assistant("a2")])[-1]
    assert [turn.number for turn in await store.turns(org_id, session.id, after=1)] == [2]


async def test_a_stale_view_of_the_session_still_stores_what_is_new(
    store: SessionStore, session: Session, org_id: UUID
) -> None:
    await store.record_turn(resend(session, user("one"), answer="a1"))
    conversation = [user("one"), assistant("a1"), user("two")]
    recorded = await store.record_turn(resend(session, *conversation, answer="a2"))
    assert recorded.number == 2
    assert (await store.turns(org_id, session.id))[1].messages == (user("two"),)


async def test_an_edited_history_is_stored_from_the_edit_on(
    store: SessionStore, session: Session, org_id: UUID
) -> None:
    state = (await store.record_turn(resend(session, user("one"), answer="a1"))).session
    common = [user("one"), assistant("a1")]
    state = (await store.record_turn(resend(state, *common, user("two"), answer="a2"))).session
    edited = [*common, user("two, but better")]
    state = (await store.record_turn(resend(state, *edited, answer="a3"))).session
    trimmed = [assistant("a3"), user("three")]
    await store.record_turn(resend(state, *trimmed, answer="a4"))
    turns = await store.turns(org_id, session.id)
    assert turns[2].messages == (user("two, but better"),)
    assert turns[3].messages == (user("three"),)


async def test_an_answer_that_was_cut_off_is_asked_for_again(
    store: SessionStore, session: Session, org_id: UUID
) -> None:
    cut = resend(session, user("one"), answer="a", complete=False)
    state = (await store.record_turn(cut)).session
    again = resend(state, user("one"), answer="a1")
    state = (await store.record_turn(again)).session
    await store.record_turn(resend(state, user("one"), assistant("a1"), user("two")))
    turns = await store.turns(org_id, session.id)
    assert [turn.messages for turn in turns] == [(user("one"),), (user("two"),)]
    assert [turn.response for turn in turns] == [assistant("a1"), assistant("yes")]
    assert turns[0].request_id == again.request_id
    assert all(turn.complete for turn in turns)
    # Whatever is recorded once more changes nothing.
    for turn in (cut, again):
        assert not (await store.record_turn(turn)).new
    assert await store.turns(org_id, session.id) == turns


async def test_turns_of_others_do_not_need_the_conversation(
    store: SessionStore, org_id: UUID, agent_id: UUID
) -> None:
    start = datetime(2024, 1, 2, tzinfo=UTC)
    session = await store.open_session(
        org_id, agent_id, None, "imported", origin="import", started_at=start
    )
    for number in (1, 2):
        moment = start + timedelta(hours=number)
        turn = NewTurn(
            org_id=org_id,
            session_id=session.id,
            request_id=f"import-{number}",
            messages=[user(f"q{number}")],
            response=assistant(f"a{number}"),
            model="imported",
            started_at=moment,
            created_at=moment,
        )
        assert (await store.record_turn(turn)).number == number
        again = await store.record_turn(turn)
        assert (again.number, again.new) == (number, False)
    after = await store.complete(org_id, session.id, at=start + timedelta(hours=2))
    assert after.chain_hash == chain([user("q1"), assistant("a1"), user("q2"), assistant("a2")])[-1]
    assert (after.message_count, after.started_at) == (4, start)
    assert after.last_turn_at == after.completed_at == start + timedelta(hours=2)


async def at_once(
    database: Database, store: SessionStore, session: Session, turns: list[NewTurn]
) -> list[RecordedTurn]:
    """Record the turns while somebody holds the session, so that they all meet at its lock."""
    blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with database.tenant(session.org_id) as connection:
        await connection.execute(
            "SELECT FROM ibex_core.sessions WHERE id = $1 FOR UPDATE", session.id
        )
        recording = asyncio.gather(*(store.record_turn(turn) for turn in turns))
        async with asyncio.timeout(20):
            while await connection.fetchval(blocked) < len(turns):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    return await recording


async def test_a_request_is_one_turn_however_often_it_is_recorded(
    store: SessionStore, session: Session, database: Database, org_id: UUID
) -> None:
    turn = resend(session, user("one"))
    outcomes = await at_once(database, store, session, [turn] * 6)
    assert sorted(outcome.new for outcome in outcomes) == [False] * 5 + [True]
    assert {outcome.number for outcome in outcomes} == {1}
    assert len(await store.turns(org_id, session.id)) == 1
    other = await store.open_session(org_id, session.agent_id, None, "s-2")
    elsewhere = resend(other, user("one"), request_id=turn.request_id)
    assert not (await store.record_turn(elsewhere)).new
    await store.complete(org_id, session.id)
    await store.record_turn(turn)
    assert (await store.session(org_id, session.id)).status == "completed"


async def test_turns_of_one_session_at_once_are_numbered_one_after_the_other(
    store: SessionStore, session: Session, database: Database, org_id: UUID
) -> None:
    requests = [resend(session, user(f"q{number}")) for number in range(8)]
    outcomes = await at_once(database, store, session, requests)
    assert sorted(outcome.number for outcome in outcomes) == list(range(1, 9))
    turns = await store.turns(org_id, session.id)
    assert sorted(str(turn.messages) for turn in turns) == sorted(
        str((user(f"q{number}"),)) for number in range(8)
    )
    after = await store.session(org_id, session.id)
    assert after.turn_count == 8
    assert after.chain_hash == max(outcomes, key=lambda one: one.number).session.chain_hash


async def test_a_new_session_is_stored_with_its_first_turn(
    store: SessionStore, org_id: UUID, agent_id: UUID
) -> None:
    fresh = new_session(org_id, agent_id, None)
    with pytest.raises(SessionNotFoundError):
        await store.session(org_id, fresh.id)
    turn = resend(fresh, user("one"), answer="a1")
    recorded = await store.record_turn(turn)
    assert (recorded.number, recorded.session.stored) == (1, True)
    assert not (await store.record_turn(turn)).new
    again = resend(fresh, user("one"), assistant("a1"), user("two"))
    assert (await store.record_turn(again)).number == 2


async def test_an_injection_is_stored_once_with_its_turn(
    store: SessionStore, session: Session, database: Database, org_id: UUID
) -> None:
    memories = [{"memory_id": str(new_id()), "score": 0.5, "parts": {"relevance": 0.5}}]
    injection = Injection(orjson.dumps(memories), 3, 0, 17, b"\1" * 32)
    turn = resend(session, user("one"), injection=injection)
    await store.record_turn(turn)
    await store.record_turn(turn)
    await store.record_injection(org_id, session.id, turn.request_id, injection)
    async with database.tenant(org_id) as connection:
        rows = await connection.fetch("SELECT * FROM ibex_core.context_injections")
    assert len(rows) == 1
    assert (rows[0]["memories"], rows[0]["tokens"]) == (memories, 17)
    assert rows[0]["agent_id"] == session.agent_id


async def test_the_call_that_records_a_turn_leaves_no_tenant_behind(
    settings: Settings, org_id: UUID, agent_id: UUID
) -> None:
    database = await Database.connect(settings.app_dsn, name="test", max_size=1)
    fresh = new_session(org_id, agent_id, None)
    first = await SessionStore(database).record_turn(resend(fresh, user("one"), answer="a1"))
    later = resend(first.session, user("one"), assistant("a1"), user("two"))
    assert (await SessionStore(database).record_turn(later)).number == 2
    async with database._pool.acquire() as connection:
        assert await connection.fetchval("SELECT current_setting('app.org', true)") in (None, "")
        assert await connection.fetchval("SELECT count(*) FROM ibex_core.sessions") == 0
    await database.close()


async def test_a_turn_is_not_recorded_in_another_organization_s_session(
    store: SessionStore, session: Session, org_id: UUID
) -> None:
    stranger = replace(session, org_id=new_id())
    with pytest.raises(SessionNotFoundError):
        await store.record_turn(resend(stranger, user("one")))
    assert await store.turns(org_id, session.id) == []


async def test_what_postgresql_cannot_hold_does_not_lose_the_turn(
    store: SessionStore, session: Session, org_id: UUID
) -> None:
    await store.record_turn(resend(session, user("a\0b \\u0000"), answer="\0"))
    (turn,) = await store.turns(org_id, session.id)
    assert turn.messages == (user("a\ufffdb \\u0000"),)
    assert turn.response == assistant("\ufffd")


async def test_completing_queues_what_is_not_extracted_and_again_changes_nothing(
    store: SessionStore, session: Session, database: Database, org_id: UUID
) -> None:
    await store.complete(org_id, session.id)
    assert await job(database, session) is None  # nothing was said
    state = (await store.record_turn(resend(session, user("one")))).session
    assert state.status == "active"
    done = await store.complete(org_id, session.id)
    assert (done.status, done.turn_count) == ("completed", 1)
    queued = await job(database, session)
    assert (queued["status"], queued["attempts"]) == ("waiting", 0)
    again = await store.complete(org_id, session.id)
    assert again.completed_at == done.completed_at
    assert await job(database, session) == queued


@pytest.mark.parametrize(
    ("status", "new_turn", "then"),
    [
        ("waiting", True, "waiting"),
        ("leased", True, "leased"),
        ("done", False, "done"),
        ("done", True, "waiting"),
        ("dead", False, "dead"),
        ("dead", True, "waiting"),
    ],
)
async def test_completing_again_starts_anew_only_what_has_something_new(
    store: SessionStore,
    session: Session,
    database: Database,
    status: str,
    new_turn: bool,
    then: str,
) -> None:
    state = (await store.record_turn(resend(session, user("one")))).session
    await store.complete(session.org_id, session.id)
    async with database.tenant(session.org_id) as connection:
        await connection.execute(
            "UPDATE ibex_core.extraction_jobs SET status = $1, attempts = 2, lease_until ="
            " CASE WHEN $1 = 'leased' THEN now() + interval '1 minute' END",
            status,
        )
        if status == "done":
            await connection.execute("UPDATE ibex_core.sessions SET last_extracted_turn = 1")
    if new_turn:
        await store.record_turn(resend(state, user("one"), assistant("yes"), user("two")))
        assert (await store.session(session.org_id, session.id)).status == "active"
    await store.complete(session.org_id, session.id)
    after = await job(database, session)
    assert after["status"] == then
    assert after["attempts"] == (0 if status in ("done", "dead") and new_turn else 2)


async def test_silent_sessions_of_every_organization_are_found(
    store: SessionStore, session: Session, identity: IdentityStore
) -> None:
    other = await identity.create_organization(f"other-{new_id()}")
    agent = await identity.create_agent(other, "a")
    theirs = await store.open_session(other, agent, None, None)
    future = datetime.now(UTC) + timedelta(seconds=5)
    idle = await store.idle_sessions(future, 10)
    assert {one.session_id for one in idle} == {session.id, theirs.id}
    assert await store.idle_sessions(datetime.now(UTC) - timedelta(hours=1), 10) == []
    await store.complete(other, theirs.id)
    assert len(await store.idle_sessions(future, 10)) == 1
