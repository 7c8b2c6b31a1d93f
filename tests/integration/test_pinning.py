"""What a session is given over several requests, through the proxy to the provider's door."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from typer.testing import CliRunner

from hotpath.assembler.server import running
from ibex.cli import app
from ibex.embedded.process import ProcessSpec
from ibex.embedding import EmbedderClient
from ibex.errors import NotFoundError
from ibex.explaining import explain
from ibex.ids import new_id
from ibex.memory.pinning import FRONT, Decision, Pinned
from ibex.memory.rendering import FRAME_OPEN
from ibex.settings import Settings
from ibex.stores import keys
from ibex.stores.directives import MOMENT
from ibex.stores.identity import IdentityStore
from ibex.stores.injections import InjectionLog, InjectionReader
from ibex.stores.invalidation import Invalidations
from ibex.stores.postgres import Database
from tests.conftest import free_port, service_env
from tests.integration.remembering import change, remember
from tests.proxying import (
    ProxyClient,
    Reply,
    ScriptedUpstream,
    proxy_client,
    running_proxy,
    session_name,
)

HOST = "The database host is db.example.com."
CAT = "Caroline's cat is called Misty."
LISBON = "The user flew to Lisbon in March."
Dict = dict[str, Any]


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream().running() as upstream:
        yield upstream


@pytest.fixture
def patient(settings: Settings, upstream: ScriptedUpstream) -> Settings:
    return settings.model_copy(
        update={
            "provider_base_url": upstream.url,
            "assembly_timeout_ms": 20_000.0,
            "retrieval_deadline_ms": 5_000.0,
            "index_max_bytes": 0,  # a search sees what was learned an instant ago
        }
    )


@pytest.fixture
async def token(identity: IdentityStore, org_id: UUID, agent_id: UUID) -> str:
    return (await identity.create_token(org_id, "app", agent_id=agent_id)).text


@pytest.fixture
async def proxy(
    patient: Settings, token: str, redis_server: ProcessSpec, embedder_server: ProcessSpec
) -> AsyncIterator[ProxyClient]:
    async with (
        running(patient),
        running_proxy(patient) as base,
        proxy_client(base, token) as client,
    ):
        yield client


class Writer:
    """Memories with their real vectors."""

    def __init__(self, database: Database, settings: Settings, org_id: UUID, agent_id: UUID):
        self._database = database
        self._embedder = EmbedderClient(settings.embedder_endpoint, timeout=10)
        self._ids = (org_id, agent_id)

    async def __call__(self, content: str, **values: Any) -> UUID:
        (vector,) = await self._embedder.embed([content])
        return await remember(self._database, *self._ids, content, vector=vector, **values)

    async def close(self) -> None:
        await self._embedder.close()


@pytest.fixture
async def learn(
    database: Database,
    settings: Settings,
    embedder_server: ProcessSpec,
    org_id: UUID,
    agent_id: UUID,
) -> AsyncIterator[Writer]:
    writer = Writer(database, settings, org_id, agent_id)
    yield writer
    await writer.close()


class Talk:
    """One conversation of a client that resends all of it."""

    def __init__(self, proxy: ProxyClient, upstream: ScriptedUpstream) -> None:
        self.proxy = proxy
        self.upstream = upstream
        self.name = session_name()
        self.said: list[Dict] = []

    async def ask(self, text: str) -> Reply:
        self.said.append({"role": "user", "content": text})
        return await self.send()

    async def send(self) -> Reply:
        reply = await self.proxy.chat(*self.said, headers={"x-ibex-session-id": self.name})
        assert reply.status == 200
        assert reply.headers["x-ibex-context-fallback"] == "false"
        self.said.append(reply.json["choices"][0]["message"])
        return reply

    @property
    def sent(self) -> list[Dict]:
        """The messages of the last request, as the provider got them."""
        return self.upstream.arrived[-1].messages

    def assert_prefixes(self, first: int = 0) -> None:
        bodies = [orjson.dumps(one.messages) for one in self.upstream.arrived[first:]]
        assert len(bodies) > 1
        for earlier, later in pairwise(bodies):
            assert later.startswith(earlier[:-1])


@pytest.fixture
def talk(proxy: ProxyClient, upstream: ScriptedUpstream) -> Talk:
    return Talk(proxy, upstream)


def places(messages: list[Dict], content: str) -> list[int]:
    """Of the messages that hold a memory with this content."""
    return [
        at
        for at, one in enumerate(messages)
        if one["role"] == "system" and f'"{content}"' in one["content"]
    ]


async def test_every_request_is_a_prefix_of_the_next_one(
    talk: Talk,
    learn: Writer,
    identity: IdentityStore,
    redis_client: redis.asyncio.Redis,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    await identity.set_directive(org_id, agent_id, "Be kind.")
    await learn(HOST)
    await learn(CAT)
    talk.said.append({"role": "system", "content": "The client's own."})
    await talk.ask("What is the database host?")
    assert talk.sent[0]["content"].startswith(f"Be kind.\n\n{FRAME_OPEN}")
    assert places(talk.sent, HOST) == [0]
    assert places(talk.sent, CAT) == []

    await talk.ask("How is Caroline's cat called?")
    assert places(talk.sent, CAT) == [4]
    assert talk.sent[5]["content"] == "How is Caroline's cat called?"

    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    talk.said[-1] = {"role": "assistant", "content": None, "tool_calls": [call]}
    await learn("Caroline's cat Misty is three years old.")
    talk.said.append({"role": "tool", "tool_call_id": "c", "content": "result"})
    await talk.send()  # nothing new before the newest user message: the provider has seen it
    await talk.ask("And how old is the cat?")
    assert places(talk.sent, "Caroline's cat Misty is three years old.") == [9]
    assert len(places(talk.sent, CAT)) == len(places(talk.sent, HOST)) == 1

    # All that Redis knew is lost: PostgreSQL has it.
    session = UUID(bytes=(await _only(database, org_id, "SELECT id FROM ibex_core.sessions")).bytes)
    assert await redis_client.delete(keys.injections(org_id, session)) == 1
    await talk.ask("Thank you.")
    assert await redis_client.hlen(keys.injections(org_id, session)) == 5
    talk.assert_prefixes()


async def test_a_memory_that_is_no_longer_true_vanishes_and_nothing_else_moves(
    talk: Talk, learn: Writer, database: Database, org_id: UUID
) -> None:
    host, cat = await learn(HOST), await learn(CAT)
    await talk.ask("What is the database host, and how is Caroline's cat called?")
    assert places(talk.sent, HOST) == places(talk.sent, CAT) == [0]
    await change(database, org_id, host, valid_to=datetime.now(UTC))
    reply = await talk.ask("Thank you.")
    assert places(talk.sent, HOST) == []
    assert places(talk.sent, CAT) == [0]
    await change(database, org_id, cat, status="quarantined")
    await talk.ask("Really.")
    assert [one["role"] for one in talk.sent].count("system") == 0

    explanation = await explain(InjectionReader(database), org_id, reply.headers["x-request-id"])
    states = {one.content: (one.decision, one.reason, one.state) for one in explanation.memories}
    assert states[HOST] == ("dropped", "gone", "superseded")
    assert states[CAT] == ("kept", "", "quarantined")


async def test_a_changed_directive_applies_within_a_moment_and_the_memories_stay(
    talk: Talk,
    learn: Writer,
    identity: IdentityStore,
    redis_client: redis.asyncio.Redis,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    await identity.set_directive(org_id, agent_id, "Be kind.")
    await learn(HOST)
    await talk.ask("What is the database host?")
    before = talk.sent[0]["content"]
    await identity.set_directive(org_id, agent_id, "Be brief.")
    await Invalidations(redis_client).directive_changed(org_id, agent_id)
    await asyncio.sleep(MOMENT)
    await talk.ask("Thank you.")
    assert talk.sent[0]["content"] == before.replace("Be kind.", "Be brief.")
    await talk.ask("Bye.")
    talk.assert_prefixes(first=1)


async def test_two_first_requests_at_once_are_given_the_same(
    proxy: ProxyClient, upstream: ScriptedUpstream, learn: Writer
) -> None:
    await learn(HOST)
    await learn(CAT)
    name = {"x-ibex-session-id": session_name()}
    questions = ("What is the database host?", "How is Caroline's cat called?")
    await asyncio.gather(*(proxy.chat(one, headers=name) for one in questions))
    fronts = {one.messages[0]["content"] for one in upstream.arrived}
    assert len(fronts) == 1


async def test_without_redis_the_records_keep_the_prefix(
    patient: Settings,
    token: str,
    embedder_server: ProcessSpec,
    upstream: ScriptedUpstream,
    learn: Writer,
) -> None:
    alone = patient.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    await learn(HOST)
    async with (
        running(alone),
        running_proxy(alone) as base,
        proxy_client(base, token) as client,
    ):
        talk = Talk(client, upstream)
        await talk.ask("What is the database host?")
        assert places(talk.sent, HOST) == [0]
        await learn(CAT)
        await talk.ask("How is Caroline's cat called?")
        assert places(talk.sent, CAT) == [3]
        await talk.ask("Thank you.")
        talk.assert_prefixes()


async def test_a_log_that_does_not_come_is_not_guessed(
    talk: Talk,
    learn: Writer,
    identity: IdentityStore,
    redis_client: redis.asyncio.Redis,
    settings: Settings,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    await identity.set_directive(org_id, agent_id, "Be kind.")
    await learn(HOST)
    await talk.ask("What is the database host?")
    first = talk.sent
    session = await _only(database, org_id, "SELECT id FROM ibex_core.sessions")
    key = keys.injections(org_id, session)
    await redis_client.delete(key)
    admin = await asyncpg.connect(settings.admin_dsn)
    try:
        await admin.execute(
            "REVOKE SELECT ON ibex_core.context_injections FROM ibex_app;"
            "GRANT SELECT (org_id, request_id) ON ibex_core.context_injections TO ibex_app"
        )
        await talk.ask("What is the database host?")
        assert [one["role"] for one in talk.sent] == ["system", "user", "assistant", "user"]
        assert talk.sent[0]["content"] == "Be kind."
        assert await redis_client.exists(key) == 0
        await admin.execute("GRANT SELECT ON ibex_core.context_injections TO ibex_app")
    finally:
        await admin.close()
    degraded = await _only(
        database,
        org_id,
        "SELECT degraded FROM ibex_core.context_injections ORDER BY id DESC LIMIT 1",
    )
    assert degraded == ["pinned"]
    await talk.ask("Thank you.")
    assert talk.sent[:2] == first


# --- the log ---


async def test_a_session_that_begins_is_known_here_at_once_and_in_redis_soon(
    redis_client: redis.asyncio.Redis, database: Database, org_id: UUID
) -> None:
    session, others = new_id(), [new_id() for _ in range(20)]
    log, elsewhere = (InjectionLog(redis_client, database) for _ in range(2))
    front = Decision(0, FRONT, (Pinned(new_id(), 1, b"12345678"),))
    for one in (session, *others):
        log.begin(org_id, one, [front])
    assert await log.read(org_id, session) == {FRONT: front}
    later = Decision(2, b"b" * 16)
    assert await log.decide(org_id, others[0], [later], []) == {FRONT: front, later.anchor: later}
    await log.close()
    for one in (session, *others[1:]):
        assert await elsewhere.read(org_id, one) == {FRONT: front}
    assert await elsewhere.read(org_id, others[0]) == {FRONT: front, later.anchor: later}


async def test_of_a_session_that_redis_was_not_told_of_the_record_is_asked(
    database: Database, org_id: UUID
) -> None:
    session = new_id()
    nobody = redis.asyncio.Redis(port=free_port(), retry=Retry(NoBackoff(), 0))
    log = InjectionLog(nobody, database)
    log.begin(org_id, session, [Decision(0, FRONT)])
    await log.close()
    assert await log.read(org_id, session) == {}
    await nobody.aclose()


async def test_a_decision_is_made_once_and_read_by_everybody(
    redis_client: redis.asyncio.Redis, database: Database, org_id: UUID
) -> None:
    session = UUID(int=1)
    one, other = (InjectionLog(redis_client, database) for _ in range(2))
    mine = Decision(0, FRONT, (Pinned(UUID(int=7), 1, b"12345678"),))
    later = Decision(2, b"a" * 16)
    assert await one.decide(org_id, session, [mine], []) == {FRONT: mine}
    theirs = Decision(0, FRONT, (Pinned(UUID(int=8), 1, b"12345678"),))
    decided = await other.decide(org_id, session, [theirs, later], [])
    assert decided == {FRONT: mine, later.anchor: later}
    without = Decision(0, FRONT)
    assert await other.decide(org_id, session, [], [without]) == {FRONT: without}
    log = await one.read(org_id, session)
    assert log == {FRONT: without, later.anchor: later}
    assert 0 < await redis_client.ttl(keys.injections(org_id, session)) <= 86_400
    assert await one.read(UUID(int=2), session) == {}


# --- ibex explain ---


async def test_a_request_is_explained_and_its_bytes_are_made_again(
    talk: Talk,
    learn: Writer,
    identity: IdentityStore,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await identity.set_directive(org_id, agent_id, "Be kind.")
    for content in (HOST, LISBON):
        await learn(content)
    await talk.ask("What is the database host?")
    cat = await learn(CAT)
    reply = await talk.ask("How is Caroline's cat called?")
    request_id = reply.headers["x-request-id"]
    await identity.set_directive(org_id, agent_id, "Be brief.")
    reader = InjectionReader(database)
    explanation = await explain(reader, org_id, request_id)
    assert explanation.identical
    assert [one.content for one in explanation.insertions] == [
        one["content"] for one in talk.sent if one["role"] == "system"
    ]
    assert [one.position for one in explanation.insertions] == [0, 2]
    rows = {one.content: one for one in explanation.memories}
    assert (rows[HOST].decision, rows[HOST].insertion) == ("kept", 0)
    assert (rows[CAT].decision, rows[CAT].insertion) == ("kept", 1)
    assert (rows[LISBON].decision, rows[LISBON].reason) == ("dropped", "relevance")
    assert rows[CAT].parts["relevance"] > rows[LISBON].parts["relevance"]

    for name, value in service_env(settings).items():
        monkeypatch.setenv(name, value)
    organization = await _only(database, org_id, "SELECT name FROM ibex_core.organizations")
    arguments = ["explain", request_id, "--org", organization]
    shown = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert shown.exit_code == 0
    assert "The same bytes" in shown.stdout
    printed = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--json"])
    assert orjson.loads(printed.stdout)["identical"] is True

    await change(database, org_id, cat, content="Caroline has a dog.", version=2)
    again = await explain(reader, org_id, request_id)
    assert again.identical
    assert next(one for one in again.memories if one.content == CAT).state == "changed"
    async with database.tenant(org_id) as connection:
        await connection.execute("DELETE FROM ibex_core.memories WHERE id = $1", cat)
    erased = await explain(reader, org_id, request_id)
    assert [one.outcome for one in erased.insertions] == ["identical", "1 of its 1 memories erased"]
    assert next(one for one in erased.memories if one.memory_id == str(cat)).content is None
    gone = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert gone.exit_code == 1
    with pytest.raises(NotFoundError):
        await explain(reader, org_id, "req_unknown")


async def _only(database: Database, org_id: UUID, statement: str) -> Any:
    async with database.tenant(org_id) as connection:
        return await connection.fetchval(statement)
