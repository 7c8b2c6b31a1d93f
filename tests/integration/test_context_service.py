"""AssembleContext over a real channel, on real stores, with the real embedding model."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import grpc.aio
import pytest
import redis.asyncio

from hotpath.assembler.server import running
from ibex.embedded.probes import grpc_serving
from ibex.embedded.process import ProcessSpec
from ibex.embedding import EmbedderClient
from ibex.ids import new_id
from ibex.memory.model import Category
from ibex.memory.rendering import FRAME_CLOSE, FRAME_OPEN
from ibex.rpc import AssembleContextRequest, AssembleContextResponse, ContextClient, Message
from ibex.rpc.clients import open_channel
from ibex.rpc.frames import CallFailedError, FrameClient
from ibex.settings import Settings
from ibex.stores.hot import HotCache
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from tests.conftest import free_port
from tests.integration.remembering import remember
from tests.records import injected
from tests.unit.candidates import direction

HOST = "The database host is db.smoketest.example.com."
QUESTION = "What database host should I use?"
OTHERS = (
    "Caroline's cat is called Misty.",
    "The user flew to Lisbon in March.",
    "The quarterly report is due on Friday.",
    "Bananas are on the shopping list.",
)


class Assembler:
    """Asks the service of one agent, with `frames` at that address first."""

    def __init__(
        self, target: str, org_id: UUID, agent_id: UUID, *, frames: str | None = None
    ) -> None:
        self._channel = open_channel(target)
        self._frames = FrameClient(frames) if frames else None
        self._client = ContextClient(self._channel, self._frames)
        self._ids = {"org_id": str(org_id), "agent_id": str(agent_id)}

    async def ask(self, *texts: str, **changes: Any) -> AssembleContextResponse:
        values = {
            "request_id": "r-1",
            "model": "gpt-4o-mini",
            "messages": [Message(role="user", text=text) for text in texts or (QUESTION,)],
            **self._ids,
            **changes,
        }
        return await self._client.assemble(AssembleContextRequest(**values), deadline=20)

    async def close(self) -> None:
        await self._channel.close(None)
        if self._frames is not None:
            await self._frames.close()


@pytest.fixture
async def start(
    settings: Settings, redis_server: ProcessSpec, org_id: UUID, agent_id: UUID
) -> AsyncIterator[Any]:
    """Starts an assembler with changed settings and returns who asks it."""
    async with AsyncExitStack() as stack:

        async def begin(**changes: Any) -> Assembler:
            changed = settings.model_copy(update={"retrieval_deadline_ms": 5000.0, **changes})
            await stack.enter_async_context(running(changed))
            assembler = Assembler(changed.assembler_target, org_id, agent_id)
            stack.push_async_callback(assembler.close)
            return assembler

        yield begin


@pytest.fixture
async def assembler(
    assembler_server: Settings, embedder_server: ProcessSpec, org_id: UUID, agent_id: UUID
) -> AsyncIterator[Assembler]:
    assembler = Assembler(assembler_server.assembler_target, org_id, agent_id)
    yield assembler
    await assembler.close()


@pytest.fixture
async def memories(
    database: Database,
    settings: Settings,
    embedder_server: ProcessSpec,
    org_id: UUID,
    agent_id: UUID,
) -> dict[str, UUID]:
    """The host and what has nothing to do with it, with their real vectors; ids by content."""
    embedder = EmbedderClient(settings.embedder_endpoint, timeout=10)
    contents = (HOST, *OTHERS)
    vectors = await embedder.embed(contents)
    await embedder.close()
    return {
        content: await remember(database, org_id, agent_id, content, vector=vector)
        for content, vector in zip(contents, vectors, strict=True)
    }


async def test_what_the_question_is_about_is_injected_and_nothing_else(
    assembler: Assembler,
    identity: IdentityStore,
    org_id: UUID,
    agent_id: UUID,
    memories: dict[str, UUID],
) -> None:
    await identity.set_directive(org_id, agent_id, "Be brief.")
    await identity.set_directive(org_id, agent_id, "Be kind.")
    answer = await assembler.ask("Hello", QUESTION)
    assert answer.degraded == []
    (insertion,) = answer.insertions
    assert (insertion.position, insertion.role) == (0, "system")
    assert insertion.content.startswith(f"Be kind.\n\n{FRAME_OPEN}\n")
    assert f'"{HOST}"\n{FRAME_CLOSE}' in insertion.content
    (memory,) = injected(answer)
    assert memory.memory_id == str(memories[HOST])
    assert (memory.version, memory.category) == (1, "declarative")
    parts = memory.parts
    assert parts is not None
    assert memory.score == pytest.approx(
        0.40 * parts["relevance"]
        + 0.25 * parts["recency"]
        + 0.20 * parts["usefulness"]
        + 0.10 * parts["confidence"]
        + 0.05 * parts["access_frequency"],
        abs=1e-6,
    )
    assert answer.directive_version == 2
    assert answer.sha256 == hashlib.sha256(insertion.content.encode()).digest()
    assert 0 < memory.tokens < answer.context_tokens < 200
    timings = answer.timings
    assert timings is not None
    assert all(getattr(timings, one) > 0 for one in ("embed", "directive", "hot", "cold"))
    assert timings.total >= timings.assemble > 0


async def test_the_same_request_makes_the_same_bytes(
    assembler: Assembler, memories: dict[str, UUID]
) -> None:
    first, second = await assembler.ask(), await assembler.ask()
    assert first.insertions == second.insertions != []


async def test_frames_and_grpc_give_the_same_and_refuse_the_same(
    assembler_server: Settings,
    assembler: Assembler,
    memories: dict[str, UUID],
    org_id: UUID,
    agent_id: UUID,
) -> None:
    address = assembler_server.assembler_frames_target
    assert address is not None
    nobody = f"127.0.0.1:{free_port()}"
    by_grpc = await assembler.ask()
    for target, frames in ((nobody, address), (assembler_server.assembler_target, nobody)):
        other = Assembler(target, org_id, agent_id, frames=frames)
        answer = await other.ask()
        assert answer.insertions == by_grpc.insertions != []
        assert injected(answer)[0].memory_id == str(memories[HOST])
        with pytest.raises((CallFailedError, grpc.aio.AioRpcError)) as refused:
            await other.ask(org_id="nobody")
        refusal: Any = refused.value
        assert refusal.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert refusal.details() == "org_id is not a UUID."
        await other.close()


async def test_the_hot_list_is_rebuilt_when_redis_has_lost_it(
    assembler: Assembler,
    memories: dict[str, UUID],
    database: Database,
    redis_client: redis.asyncio.Redis,
    org_id: UUID,
    agent_id: UUID,
) -> None:
    assert [one.origin for one in injected(await assembler.ask())] == ["cold"]
    hot = HotCache(redis_client, database)
    await eventually(lambda: hot.read(org_id, agent_id, None))
    assert [one.origin for one in injected(await assembler.ask())] == ["both"]


async def test_a_user_gets_the_agent_s_memories_and_the_user_s_own_only(
    assembler: Assembler, database: Database, identity: IdentityStore, org_id: UUID, agent_id: UUID
) -> None:
    mine, yours = [await identity.user(org_id, name) for name in ("mine", "yours")]
    wish = Category.PROCEDURAL
    await remember(database, org_id, agent_id, "Own.", category=wish)
    for user, content in ((mine, "Mine."), (yours, "Yours.")):
        await remember(database, org_id, agent_id, content, user_id=user, category=wish)

    async def contents(**changes: Any) -> str:
        for _ in range(2):  # from the search, then from the hot lists as well
            answer = await assembler.ask("Own, mine or yours?", **changes)
        return answer.insertions[0].content if answer.insertions else ""

    nobody = await contents()
    assert "Mine." not in nobody
    assert "Yours." not in nobody
    me = await contents(user_id=str(mine))
    assert "Mine." in me
    assert "Yours." not in me
    assert await contents(org_id=str(new_id()), user_id=str(mine)) == ""
    assert await contents(agent_id=str(new_id()), user_id=str(mine)) == ""


async def test_the_budget_is_the_agent_s_and_never_more_than_is_left(
    assembler: Assembler,
    database: Database,
    settings: Settings,
    org_id: UUID,
    agent_id: UUID,
    memories: dict[str, UUID],
) -> None:
    await _as_admin(settings, "UPDATE ibex_core.agents SET memory_token_budget = 300")
    for number in range(30):
        content = f"Always greet person number {number} by their full name."
        vector = direction(*([0.0] * number), 1.0)
        await remember(
            database, org_id, agent_id, content, vector=vector, category=Category.PROCEDURAL
        )
    answer = await assembler.ask()
    assert 5 < answer.memories < 30
    assert sum(one.tokens for one in injected(answer)) < answer.context_tokens <= 300

    assert (await assembler.ask(model="gpt-4", max_answer_tokens=8_191)).insertions == []
    long = await assembler.ask("history " * 8_000, QUESTION, model="gpt-4")
    assert long.insertions == []
    # A fallback would be sent the same, so it must fit there too.
    assert (await assembler.ask("history " * 8_000, QUESTION)).memories > 0
    fallen = await assembler.ask("history " * 8_000, QUESTION, fallback_models=["gpt-4", "gpt-4o"])
    assert fallen.insertions == []


async def test_without_the_embedder_directive_hot_and_words_still_come(
    start: Any,
    identity: IdentityStore,
    database: Database,
    redis_client: redis.asyncio.Redis,
    org_id: UUID,
    agent_id: UUID,
    memories: dict[str, UUID],
) -> None:
    await identity.set_directive(org_id, agent_id, "Be kind.")
    await HotCache(redis_client, database).refresh(org_id, agent_id)
    assembler = await start(embedder_url=f"http://127.0.0.1:{free_port()}")
    answer = await assembler.ask()
    assert answer.degraded == ["embed"]
    content = answer.insertions[0].content
    assert content.startswith("Be kind.")
    assert injected(answer)[0].memory_id == str(memories[HOST])
    assert {one.memory_id for one in injected(answer)} == {str(one) for one in memories.values()}


async def test_an_embedder_that_hangs_costs_no_more_than_its_share(
    start: Any, memories: dict[str, UUID]
) -> None:
    released = asyncio.Event()
    calls: list[asyncio.Task[Any] | None] = []

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(asyncio.current_task())
        await released.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assembler = await start(embedder_url=f"http://127.0.0.1:{port}", retrieval_deadline_ms=1_800.0)
    answer = await assembler.ask()
    assert answer.degraded == ["embed"]
    assert injected(answer)[0].memory_id == str(memories[HOST])
    assert answer.timings is not None
    assert answer.timings.total < 1_800.0  # the rest of the deadline is not waited out
    server.close()
    released.set()
    await asyncio.gather(*(call for call in calls if call))


async def test_without_redis_directive_and_search_still_come(
    start: Any,
    identity: IdentityStore,
    org_id: UUID,
    agent_id: UUID,
    memories: dict[str, UUID],
) -> None:
    await identity.set_directive(org_id, agent_id, "Be kind.")
    assembler = await start(
        redis_url=f"redis://127.0.0.1:{free_port()}/0", retrieval_deadline_ms=2_000.0
    )
    answer = await assembler.ask()
    assert answer.degraded == ["hot"]
    assert answer.insertions[0].content.startswith("Be kind.")
    assert [one.memory_id for one in injected(answer)] == [str(memories[HOST])]


async def test_without_postgresql_directive_and_hot_still_come(
    start: Any,
    identity: IdentityStore,
    database: Database,
    redis_client: redis.asyncio.Redis,
    settings: Settings,
    org_id: UUID,
    agent_id: UUID,
    memories: dict[str, UUID],
) -> None:
    await identity.set_directive(org_id, agent_id, "Be kind.")
    await HotCache(redis_client, database).refresh(org_id, agent_id)
    assembler = await start(index_max_bytes=0)
    assert (await assembler.ask()).degraded == []
    await _as_admin(
        settings,
        """DO $$ BEGIN
             EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 0', current_database());
           END $$""",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND usename = 'ibex_app'",
    )
    answer = await assembler.ask()
    assert answer.degraded == ["cold"]
    assert answer.insertions[0].content.startswith("Be kind.")
    assert [one.memory_id for one in injected(answer)] == [str(memories[HOST])]
    assert injected(answer)[0].origin == "hot"


@pytest.mark.parametrize("field", ["org_id", "agent_id", "user_id"])
async def test_an_id_that_is_none_is_refused(assembler: Assembler, field: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await assembler.ask(**{field: "nobody"})
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == f"{field} is not a UUID."


async def test_no_message_is_no_question(assembler: Assembler, memories: dict[str, UUID]) -> None:
    answer = await assembler.ask(messages=[])
    assert (answer.insertions, answer.memories, answer.degraded) == ([], 0, [])


async def test_the_process_is_ready_when_all_of_it_answers(
    assembler_server: Settings, embedder_server: ProcessSpec
) -> None:
    await eventually(lambda: grpc_serving(assembler_server.assembler_target))


async def eventually(ask: Callable[[], Awaitable[object]]) -> None:
    """Ask until the answer is true."""
    for _ in range(500):
        if await ask():
            return
        await asyncio.sleep(0.02)
    pytest.fail("it never was")


async def _as_admin(settings: Settings, *statements: str) -> None:
    connection = await asyncpg.connect(settings.admin_dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
