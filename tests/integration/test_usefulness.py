"""What answers and votes do to memories, on a real PostgreSQL and Redis."""

import asyncio
import gc
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import numpy as np
import pytest
import redis.asyncio
from dagster import DagsterInstance, build_sensor_context

from ibex.embedding import Matrix
from ibex.errors import EmbedderUnavailableError, InvalidRequestError, NotFoundError
from ibex.explaining import explain
from ibex.ids import new_id
from ibex.memory.observing import Observer, answer_text
from ibex.memory.usefulness import RESTS, UNKNOWN
from ibex.settings import Settings
from ibex.stores.hot import HotCache
from ibex.stores.identity import IdentityStore
from ibex.stores.injections import InjectionReader
from ibex.stores.memories_write import Owner
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.turns import TurnReader
from ibex.stores.usefulness import UsefulnessStore, Voted
from orchestration.definitions import definitions
from orchestration.usefulness import answer_sensor
from tests.conftest import free_port
from tests.pipeline import run_job
from tests.proxying import ProxyClient, ScriptedUpstream, completion, whole
from tests.seeding import add_injection, add_memory, add_session, add_turn, insert
from tests.unit.candidates import direction

HOST = "The database host is db.example.com."
CAT = "The user has a cat named Wilhelmina."
ASKED = "How do I reach the database?"
ANSWERED = "Connect to db.example.com, please."


class NoEmbedder:
    async def embed(self, texts: Sequence[str]) -> Matrix:
        raise EmbedderUnavailableError


class OneDirection:
    """Every sentence points where the memories point; the question does not."""

    asked: list[str]

    async def embed(self, texts: Sequence[str]) -> Matrix:
        self.asked = list(texts)
        return np.stack([direction(0.0, 1.0), *(direction(1.0) for _ in texts[1:])])


@dataclass(frozen=True)
class Talk:
    """A session whose one request was given two memories."""

    host: UUID
    cat: UUID
    session: UUID
    request_id: str


@pytest.fixture
def store(database: Database) -> UsefulnessStore:
    return UsefulnessStore(database)


@pytest.fixture
def turns(database: Database, settings: Settings) -> TurnReader:
    """Everything that is read here is in PostgreSQL."""
    return TurnReader.of(database, ObjectStore(settings), settings)


@pytest.fixture
def observer(store: UsefulnessStore, turns: TurnReader) -> Observer:
    return Observer(store, turns, NoEmbedder())


@pytest.fixture
async def talk(database: Database, org_id: UUID, agent_id: UUID) -> Talk:
    host = await add_memory(database, org_id, agent_id, HOST)
    cat = await add_memory(database, org_id, agent_id, CAT)
    session = await add_session(database, org_id, agent_id)
    request_id = await add_turn(database, org_id, session, 1, ASKED, ANSWERED)
    await add_injection(database, org_id, agent_id, session, request_id, [host, cat])
    return Talk(host, cat, session, request_id)


async def figures(database: Database, org_id: UUID, memory_id: UUID) -> asyncpg.Record:
    async with database.tenant(org_id) as connection:
        row = await connection.fetchrow(
            "SELECT usefulness, observed_usefulness, access_count, last_accessed_at, updated_at"
            " FROM ibex_core.memories WHERE org_id = $1 AND id = $2",
            org_id,
            memory_id,
        )
    assert row is not None
    return row


async def useful(database: Database, org_id: UUID, memory_id: UUID) -> float:
    value: float = (await figures(database, org_id, memory_id))["usefulness"]
    return value


async def test_an_answer_moves_what_it_rests_on_up_and_what_it_left_aside_down(
    observer: Observer, database: Database, org_id: UUID, agent_id: UUID, talk: Talk
) -> None:
    before = await figures(database, org_id, talk.host)
    seen = await observer.observe_waiting(org_id, 10)
    assert (seen.answers, seen.observations) == (1, 2)
    assert seen.owners == {Owner(org_id, agent_id, None)}
    host = await figures(database, org_id, talk.host)
    assert host["usefulness"] > UNKNOWN + 0.05
    assert host["access_count"] == 1
    assert host["last_accessed_at"] is not None
    assert host["updated_at"] == before["updated_at"]
    assert UNKNOWN - 0.1 < await useful(database, org_id, talk.cat) < UNKNOWN


async def test_an_explanation_says_what_the_answer_rests_on(
    observer: Observer, database: Database, org_id: UUID, talk: Talk
) -> None:
    async def supports() -> dict[str, float | None]:
        explained = await explain(InjectionReader(database), org_id, talk.request_id)
        return {one.memory_id: one.support for one in explained.memories}

    assert set((await supports()).values()) == {None}
    await observer.observe_waiting(org_id, 10)
    found = await supports()
    assert (found[str(talk.host)] or 0) >= RESTS
    assert found[str(talk.cat)] == 0


async def test_what_a_turn_was_given_is_known_by_its_words(
    database: Database, org_id: UUID, talk: Talk
) -> None:
    reader = InjectionReader(database)
    assert await reader.given(org_id, talk.session) == {}  # no version of them is recorded
    for memory, said in ((talk.host, HOST), (talk.cat, CAT)):
        version = {"version": 1, "change": "created", "content": said, "snapshot": {}}
        await insert(database, org_id, "memory_versions", memory_id=memory, **version)
    found = await reader.given(org_id, talk.session)
    assert {number: sorted(said) for number, said in found.items()} == {1: sorted([HOST, CAT])}
    assert await reader.given(org_id, talk.session, after=1) == {}
    assert await reader.given(new_id(), talk.session) == {}


async def test_an_answer_counts_once_whoever_observes_it_how_often(
    observer: Observer, database: Database, org_id: UUID, talk: Talk
) -> None:
    await asyncio.gather(*(observer.observe_waiting(org_id, 10) for _ in range(4)))
    once = await figures(database, org_id, talk.host)
    assert once["access_count"] == 1
    assert (await observer.observe_waiting(org_id, 10)).answers == 0
    await observer.observe_request(org_id, talk.request_id)
    assert await figures(database, org_id, talk.host) == once


async def test_only_the_request_that_chose_a_memory_accesses_it(
    observer: Observer, database: Database, org_id: UUID, agent_id: UUID, talk: Talk
) -> None:
    later = datetime.now(UTC) + timedelta(minutes=5)
    again = await add_turn(database, org_id, talk.session, 2, "And the port?", "No idea.")
    await add_injection(
        database,
        org_id,
        agent_id,
        talk.session,
        again,
        [talk.host, talk.cat],
        chosen=[],
        created_at=later,
    )
    await observer.observe_waiting(org_id, 10)
    host = await figures(database, org_id, talk.host)
    assert host["access_count"] == 1
    assert host["last_accessed_at"] == later


async def test_what_was_said_earlier_in_the_session_is_no_sign_of_a_memory(
    observer: Observer, database: Database, org_id: UUID, agent_id: UUID, talk: Talk
) -> None:
    await observer.observe_waiting(org_id, 10)
    before = await useful(database, org_id, talk.host)
    again = await add_turn(database, org_id, talk.session, 2, "Again?", ANSWERED)
    await add_injection(database, org_id, agent_id, talk.session, again, [talk.host])
    await observer.observe_waiting(org_id, 10)
    assert await useful(database, org_id, talk.host) < before


async def test_a_turn_that_another_try_replaced_says_nothing_and_waits_no_longer(
    observer: Observer, store: UsefulnessStore, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    memory = await add_memory(database, org_id, agent_id, HOST)
    session = await add_session(database, org_id, agent_id)
    await add_injection(database, org_id, agent_id, session, str(new_id()), [memory])
    assert (await observer.observe_waiting(org_id, 10)).observations == 0
    row = await figures(database, org_id, memory)
    assert (row["usefulness"], row["access_count"], row["last_accessed_at"]) == (UNKNOWN, 0, None)
    assert org_id not in {one.org_id for one in await store.waiting()}


async def test_a_memory_that_is_gone_is_left_out(
    observer: Observer, database: Database, org_id: UUID, talk: Talk
) -> None:
    async with database.tenant(org_id) as connection:
        await connection.execute("DELETE FROM ibex_core.memories WHERE id = $1", talk.cat)
    assert (await observer.observe_waiting(org_id, 10)).observations == 1
    assert await useful(database, org_id, talk.host) > UNKNOWN


async def test_a_paraphrase_is_known_by_its_meaning(
    store: UsefulnessStore,
    turns: TurnReader,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    memory = await add_memory(database, org_id, agent_id, CAT)
    session = await add_session(database, org_id, agent_id)
    request_id = await add_turn(
        database, org_id, session, 1, "Any pets?", "Yes, a kitty lives here."
    )
    await add_injection(database, org_id, agent_id, session, request_id, [memory])
    embedder = OneDirection()
    await Observer(store, turns, embedder).observe_request(org_id, request_id)
    assert embedder.asked == ["Any pets?", "Yes, a kitty lives here."]
    assert await useful(database, org_id, memory) > UNKNOWN


async def test_what_proxy_and_assembler_record_is_what_is_observed(
    observer: Observer,
    proxy: ProxyClient,
    upstream: ScriptedUpstream,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    host = await add_memory(database, org_id, agent_id, HOST)
    upstream.script = whole(completion(ANSWERED))
    asked = "What is the database host?"
    first = await proxy.chat(asked)
    said = [{"role": "user", "content": asked}, first.json["choices"][0]["message"]]
    await proxy.chat(*said, "Thanks. And the database's port?")
    seen = await observer.observe_waiting(org_id, 10)
    assert (seen.answers, seen.observations) == (2, 2)
    assert await useful(database, org_id, host) > UNKNOWN + 0.03
    assert (await figures(database, org_id, host))["access_count"] == 1


async def test_a_record_that_cannot_be_read_keeps_nobody_waiting(
    observer: Observer, database: Database, org_id: UUID, agent_id: UUID, talk: Talk
) -> None:
    request_id = await add_turn(database, org_id, talk.session, 2, "And?", "No idea.")
    injection = await add_injection(
        database, org_id, agent_id, talk.session, request_id, [talk.cat]
    )
    async with database.tenant(org_id) as connection:
        await connection.execute(
            """UPDATE ibex_core.context_injections SET memories = '[{"id": 7}]' WHERE id = $1""",
            injection,
        )
    assert (await observer.observe_waiting(org_id, 10)).answers == 2
    assert (await observer.observe_waiting(org_id, 10)).answers == 0
    assert await useful(database, org_id, talk.host) > UNKNOWN


def test_what_is_asked_of_tools_is_part_of_the_answer() -> None:
    call = {"type": "function", "function": {"name": "connect", "arguments": '{"host": "db1"}'}}
    assert answer_text({"content": None, "tool_calls": [call, "odd", {"function": 1}]}) == (
        '{"host": "db1"}'
    )
    assert answer_text({"content": "Hi.", "tool_calls": 7}) == "Hi."


async def test_a_vote_counts_for_what_the_answer_rests_on(
    observer: Observer, store: UsefulnessStore, database: Database, org_id: UUID, talk: Talk
) -> None:
    await observer.observe_request(org_id, talk.request_id)
    by_answer = await useful(database, org_id, talk.host)
    cat = await useful(database, org_id, talk.cat)
    token = new_id()
    voted = await store.vote_on_request(org_id, talk.request_id, token, helpful=True)
    assert voted.memories == (talk.host,)
    praised = await useful(database, org_id, talk.host)
    assert praised - by_answer > by_answer - UNKNOWN  # more than an answer
    assert await useful(database, org_id, talk.cat) == cat

    await store.vote_on_request(org_id, talk.request_id, token, helpful=True)
    assert await useful(database, org_id, talk.host) == praised  # once
    await store.vote_on_request(org_id, talk.request_id, token, helpful=False)
    assert await useful(database, org_id, talk.host) < by_answer


async def test_the_last_vote_on_a_request_counts_also_for_other_memories(
    observer: Observer, store: UsefulnessStore, database: Database, org_id: UUID, talk: Talk
) -> None:
    await observer.observe_request(org_id, talk.request_id)
    host, cat = [await useful(database, org_id, one) for one in (talk.host, talk.cat)]
    token = new_id()
    await store.vote_on_request(org_id, talk.request_id, token, helpful=True)
    await store.vote_on_request(
        org_id, talk.request_id, token, helpful=False, memory_ids=[talk.cat]
    )
    assert await useful(database, org_id, talk.host) == host
    assert await useful(database, org_id, talk.cat) < cat


async def test_answers_do_not_forget_votes(
    observer: Observer, store: UsefulnessStore, database: Database, org_id: UUID, talk: Talk
) -> None:
    for _ in range(5):
        await store.vote_on_memory(org_id, talk.cat, new_id(), helpful=True)
    praised = await useful(database, org_id, talk.cat)
    await observer.observe_waiting(org_id, 10)  # which leaves the cat aside
    assert praised > await useful(database, org_id, talk.cat) > praised - 0.05


async def test_a_token_has_one_vote_on_a_memory(
    store: UsefulnessStore, database: Database, org_id: UUID, agent_id: UUID, talk: Talk
) -> None:
    token = new_id()
    mine = Voted((talk.host,), frozenset({Owner(org_id, agent_id, None)}))
    assert await store.vote_on_memory(org_id, talk.host, token, helpful=True) == mine
    once = await useful(database, org_id, talk.host)
    await store.vote_on_memory(org_id, talk.host, token, helpful=True)
    assert await useful(database, org_id, talk.host) == once
    await store.vote_on_memory(org_id, talk.host, new_id(), helpful=True)
    assert await useful(database, org_id, talk.host) > once
    assert await store.vote_on_memory(org_id, new_id(), token, helpful=True) == Voted(
        (), frozenset()
    )


async def test_votes_and_answers_at_once_lose_nothing(
    observer: Observer, store: UsefulnessStore, database: Database, org_id: UUID, talk: Talk
) -> None:
    work: list[Awaitable[Any]] = [
        store.vote_on_memory(org_id, memory, new_id(), helpful=True)
        for _ in range(6)
        for memory in (talk.host, talk.cat)
    ]
    await asyncio.gather(observer.observe_waiting(org_id, 10), *work)
    row = await figures(database, org_id, talk.host)
    assert row["access_count"] == 1
    assert row["usefulness"] == pytest.approx((2 * row["observed_usefulness"] + 6) / 8)


async def test_a_vote_names_what_the_request_was_given_and_nothing_else(
    store: UsefulnessStore, database: Database, org_id: UUID, agent_id: UUID, talk: Talk
) -> None:
    other = await add_memory(database, org_id, agent_id, "Another fact.")
    with pytest.raises(InvalidRequestError):
        await store.vote_on_request(
            org_id, talk.request_id, new_id(), helpful=True, memory_ids=[talk.host, other]
        )
    with pytest.raises(NotFoundError):
        await store.vote_on_request(org_id, str(new_id()), new_id(), helpful=True)
    assert await useful(database, org_id, other) == UNKNOWN
    assert await useful(database, org_id, talk.host) == UNKNOWN


async def test_another_organization_neither_sees_nor_moves(
    store: UsefulnessStore,
    observer: Observer,
    identity: IdentityStore,
    database: Database,
    org_id: UUID,
    talk: Talk,
) -> None:
    other = await identity.create_organization("other")
    assert (await observer.observe_waiting(other, 10)).answers == 0
    assert (await observer.observe_request(other, talk.request_id)).answers == 0
    with pytest.raises(NotFoundError):
        await store.vote_on_request(other, talk.request_id, new_id(), helpful=False)
    assert not (await store.vote_on_memory(other, talk.host, new_id(), helpful=False)).memories
    assert await useful(database, org_id, talk.host) == UNKNOWN


async def test_the_system_sees_that_answers_wait_and_not_what_they_say(
    store: UsefulnessStore, database: Database, org_id: UUID, talk: Talk
) -> None:
    (mine,) = [one for one in await store.waiting() if one.org_id == org_id]
    assert mine.answers == 1
    async with database.system() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT request_id FROM ibex_core.context_injections")


@pytest.mark.usefixtures("redis_server", "embedder_server")
async def test_the_job_observes_every_organization_and_its_hot_lists_follow(
    settings: Settings,
    database: Database,
    redis_client: redis.asyncio.Redis,
    org_id: UUID,
    agent_id: UUID,
    talk: Talk,
) -> None:
    hot = HotCache(redis_client, database)
    await hot.refresh(org_id, agent_id)
    await run_job(settings, "observe")
    listed = {one.candidate.id: one.candidate for one in await hot.read(org_id, agent_id, None)}
    assert listed[talk.host].usefulness > UNKNOWN + 0.05
    assert listed[talk.host].access_count == 1
    async with database.tenant(org_id) as connection:
        observations = await connection.fetchval(
            "SELECT observations FROM ibex_core.context_injections WHERE org_id = $1", org_id
        )
    supports = {one["memory_id"]: one["support"] for one in observations}
    assert supports[str(talk.host)] >= RESTS > supports[str(talk.cat)]


@pytest.mark.usefixtures("redis_server")
async def test_the_hourly_job_makes_the_lists_of_those_at_work_anew(
    settings: Settings,
    database: Database,
    identity: IdentityStore,
    redis_client: redis.asyncio.Redis,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    user = await identity.user(org_id, "ada")
    idle = await identity.create_agent(org_id, "idle")
    for owner, agent in ((None, agent_id), (user, agent_id), (None, idle)):
        await add_memory(database, org_id, agent, f"Of {owner} {agent}.", user_id=owner)
    await add_session(database, org_id, agent_id, user_id=user)
    long_ago = datetime.now(UTC) - timedelta(days=2)
    await add_session(database, org_id, idle, last_turn_at=long_ago)
    await run_job(settings, "hot_lists")
    hot = HotCache(redis_client, database)
    assert len(await hot.read(org_id, agent_id, user)) == 2
    assert (await hot.lookup(org_id, idle, None)).missing == (None,)


async def test_the_sensor_asks_for_a_run_when_answers_wait(
    settings: Settings, observer: Observer, org_id: UUID, talk: Talk
) -> None:
    def asked() -> int:
        sensor = answer_sensor(settings)
        with DagsterInstance.ephemeral() as instance:
            tick = sensor.evaluate_tick(build_sensor_context(instance=instance))
        gc.collect()
        return len(tick.run_requests or ())

    assert await asyncio.to_thread(asked) == 1
    await observer.observe_waiting(org_id, 10)
    assert await asyncio.to_thread(asked) == 0


async def test_after_a_failed_run_the_next_one_takes_its_time(
    settings: Settings, org_id: UUID, talk: Talk
) -> None:
    away = settings.model_copy(update={"database_url": f"postgresql://x@127.0.0.1:{free_port()}/x"})

    def reason() -> str:
        with DagsterInstance.ephemeral() as instance:
            job = definitions(away).resolve_job_def("observe")
            assert not job.execute_in_process(instance=instance, raise_on_error=False).success
            tick = answer_sensor(settings).evaluate_tick(build_sensor_context(instance=instance))
        gc.collect()
        assert not tick.run_requests
        return tick.skip_message or ""

    assert "The last run failed" in await asyncio.to_thread(reason)
