"""What a session is given over several turns, while the assembler's own index is searched.

The index may be a second behind PostgreSQL; what a session was given may not.
"""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest

from hotpath.proxy.bodies import splice
from ibex.embedding import EmbedderClient
from ibex.ids import new_id
from ibex.rpc import AssembleContextRequest, AssembleContextResponse, ContextClient, Message
from ibex.rpc.clients import open_channel
from ibex.settings import Settings
from ibex.stores.postgres import Database
from tests.integration.remembering import change, remember
from tests.proxying import until
from tests.records import injected

HOST = "The database host is db.example.com."
CAT = "Caroline's cat is called Misty."
AGE = "Caroline's cat Misty is three years old."
OLDER = "Caroline's cat Misty is four years old."
LISBON = "The user flew to Lisbon in March."


class Agent:
    """An agent whose memories are in the index of the assembler that is asked."""

    def __init__(
        self, settings: Settings, database: Database, org_id: UUID, agent_id: UUID
    ) -> None:
        self.database = database
        self.org_id = org_id
        self._agent_id = agent_id
        self._channel = open_channel(settings.assembler_target)
        self._client = ContextClient(self._channel)
        self._embedder = EmbedderClient(settings.embedder_endpoint, timeout=10)

    async def close(self) -> None:
        await self._channel.close(None)
        await self._embedder.close()

    async def learn(self, content: str) -> UUID:
        (vector,) = await self._embedder.embed([content])
        ids = (self.org_id, self._agent_id)
        return await remember(self.database, *ids, content, vector=vector)

    async def reword(self, memory: UUID, content: str) -> None:
        (vector,) = await self._embedder.embed([content])
        values = {"content": content, "embedding": vector, "version": 2}
        await change(self.database, self.org_id, memory, **values)

    async def forget(self, memory: UUID) -> None:
        async with self.database.tenant(self.org_id) as connection:
            await connection.execute(
                "DELETE FROM ibex_core.memories WHERE org_id = $1 AND id = $2",
                self.org_id,
                memory,
            )

    async def assemble(self, messages: list[Message], **values: Any) -> AssembleContextResponse:
        request = AssembleContextRequest(
            request_id=f"r-{new_id()}",
            org_id=str(self.org_id),
            agent_id=str(self._agent_id),
            model="gpt-4o-mini",
            messages=messages,
            **values,
        )
        answer = await self._client.assemble(request, deadline=20)
        assert answer.degraded == []
        return answer

    async def finds(self, content: str) -> bool:
        """Whether the index has it. A hot list comes from there only: Redis has none."""
        answer = await self.assemble([Message(role="user", text=content)])
        from_index = {one.memory_id for one in injected(answer) if one.origin in ("hot", "both")}
        return bool(from_index) and any(f'"{content}"' in one.content for one in answer.insertions)

    async def until_found(self, content: str) -> None:
        await until(lambda: self.finds(content))

    async def until_not_found(self, content: str) -> None:
        async def lost() -> bool:
            return not await self.finds(content)

        await until(lost)


class Session:
    """A client that resends its whole conversation, and what its provider gets."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._id = str(new_id())
        self._turns = 0
        self.said: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []

    async def ask(self, text: str, *, prefix: bool = True) -> None:
        """`prefix`: what the provider got before must be the beginning of what it gets now."""
        self.said.append({"role": "user", "content": text})
        messages = [
            Message(role=one["role"], text=one["content"], anchor=self._anchor(place))
            for place, one in enumerate(self.said, start=1)
        ]
        answer = await self._agent.assemble(
            messages, session_id=self._id, session_turns=self._turns
        )
        before, self.sent = self.sent, splice(self.said, answer.insertions)
        if prefix and before:
            assert orjson.dumps(self.sent).startswith(orjson.dumps(before)[:-1])
        self.said.append({"role": "assistant", "content": "I see."})
        self._turns += 1

    def _anchor(self, place: int) -> bytes:
        if self.said[place - 1]["role"] != "user":
            return b""
        return hashlib.sha256(orjson.dumps(self.said[:place])).digest()[:16]

    def places(self, content: str) -> list[int]:
        """Of the messages that hold a memory with this content."""
        return [
            place
            for place, one in enumerate(self.sent)
            if one["role"] == "system" and f'"{content}"' in one["content"]
        ]

    @property
    def inserted(self) -> str:
        return "\n".join(one["content"] for one in self.sent if one["role"] == "system")


@pytest.fixture
async def agent(
    embedder_server: object,
    assembler_server: Settings,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
) -> AsyncIterator[Agent]:
    agent = Agent(assembler_server, database, org_id, agent_id)
    yield agent
    await agent.close()


@pytest.fixture
def session(agent: Agent) -> Session:
    return Session(agent)


async def test_turns_are_prefixes_while_the_index_follows_what_is_learned(
    agent: Agent, session: Session
) -> None:
    await agent.learn(HOST)
    await agent.until_found(HOST)
    await session.ask("What is the database host?")
    assert session.places(HOST) == [0]

    await agent.learn(CAT)
    await agent.until_found(CAT)
    await session.ask("How is Caroline's cat called?")
    assert session.places(CAT) == [3]
    await session.ask("Thank you.")

    await agent.learn(AGE)
    await agent.until_found(AGE)
    await session.ask("And how old is Caroline's cat?")
    assert session.places(AGE) == [8]
    for text in ("Thank you.", "What is the database host?", "How is Caroline's cat called?"):
        await session.ask(text)
    assert [session.places(one) for one in (HOST, CAT, AGE)] == [[0], [3], [8]]


@pytest.mark.parametrize("way", ["superseded", "deleted", "quarantined", "changed"])
async def test_a_memory_that_is_not_so_any_more_leaves_with_the_next_turn(
    agent: Agent, session: Session, way: str
) -> None:
    host, cat = await agent.learn(HOST), await agent.learn(CAT)
    await agent.learn(LISBON)
    await agent.until_found(HOST)
    await session.ask("How is Caroline's cat called, and what is the database host?")
    assert session.places(HOST) == session.places(CAT) == [0]
    await session.ask("Thank you.")

    # Nobody waits for the index: it has both still, and may find them.
    match way:
        case "superseded":
            await change(agent.database, agent.org_id, cat, valid_to=datetime.now(UTC))
        case "deleted":
            await agent.forget(cat)
        case "quarantined":
            await change(agent.database, agent.org_id, cat, status="quarantined")
        case _:
            await agent.reword(cat, OLDER)
    await session.ask("Fine.", prefix=False)
    assert session.places(CAT) == []
    assert session.places(HOST) == [0]
    await agent.until_not_found(CAT)

    # Without it the session goes on as before, also when somebody asks for it.
    await session.ask("Thank you.")
    await session.ask("How is Caroline's cat called?")
    assert CAT not in session.inserted
    assert session.places(HOST) == [0]
    await session.ask("How is Caroline's cat called, once more?")
    assert CAT not in session.inserted
    await agent.forget(host)
    await session.ask("Bye.", prefix=False)
    assert session.places(HOST) == []


async def test_what_was_reworded_comes_back_as_it_is_now_behind_what_was_said(
    agent: Agent, session: Session
) -> None:
    await agent.learn(HOST)
    age = await agent.learn(AGE)
    await agent.until_found(AGE)
    await session.ask("How old is Caroline's cat, and what is the database host?")
    assert session.places(AGE) == [0]
    await agent.reword(age, OLDER)
    await session.ask("Fine.", prefix=False)
    assert session.places(AGE) == []
    await agent.until_found(OLDER)
    await session.ask("How old is Caroline's cat?")
    (place,) = session.places(OLDER)
    assert place >= 3  # not where the old words stood: the provider has seen that
    await session.ask("Thank you.")
    assert session.places(OLDER) == [place]
    assert AGE not in session.inserted


async def test_two_sessions_of_an_agent_keep_what_each_was_given(agent: Agent) -> None:
    cat = await agent.learn(CAT)
    await agent.learn(HOST)
    await agent.until_found(HOST)
    first, second = Session(agent), Session(agent)
    await first.ask("How is Caroline's cat called?")
    await second.ask("What is the database host?")
    assert (first.places(CAT), second.places(CAT)) == ([0], [])
    await agent.forget(cat)
    await first.ask("Thank you.", prefix=False)
    await second.ask("Thank you.")
    assert CAT not in first.inserted + second.inserted
    assert second.places(HOST) == [0]
