"""Many sessions that end at the same moment, each of a user of its own."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from rich.console import Console
from rich.progress import track

from bench.corpus import memories
from ibex.errors import EmbeddedServerError
from ibex.ids import new_id
from ibex.sessions import NewTurn
from ibex.stores.identity import IdentityStore
from ibex.stores.jobs import JobStore
from ibex.stores.postgres import Database
from ibex.stores.sessions import SessionStore

TURNS: Final = 10
_LOOK: Final = 0.2  # seconds
_LIMIT: Final = 300.0  # seconds
_OPENINGS: Final = ("Please note: ", "For your records: ", "By the way, ", "To be clear: ")


@dataclass(frozen=True)
class Burst:
    sessions: int
    first_s: float  # until the first session was learned, seconds from the last one's completion
    all_s: float
    archived_s: float  # until the last archive was written
    memories: int  # that can be recalled
    tries: int  # more than `sessions` when some failed and were tried again


async def archive_seconds(database: Database, org_id: UUID) -> list[float]:
    """From the end of each of the organization's sessions to its archive in S3, read back."""
    async with database.tenant(org_id) as connection:
        rows = await connection.fetch(
            "SELECT extract(epoch FROM f.created_at - s.completed_at)::float8 AS seconds "
            "FROM ibex_core.archive_files f "
            "JOIN ibex_core.sessions s ON s.org_id = f.org_id AND s.id = f.session_id "
            "WHERE f.org_id = $1 AND f.kind = 'session'",
            org_id,
        )
    return [row["seconds"] for row in rows]


class Bursts:
    """Of one agent; every burst says what none before it said."""

    def __init__(self, database: Database, org_id: UUID, agent_id: UUID) -> None:
        self._database = database
        self.org_id = org_id
        self._agent_id = agent_id
        self._sessions = SessionStore(database)
        self._said = 0

    @classmethod
    async def of_a_new_agent(cls, database: Database) -> "Bursts":
        identity = IdentityStore(database)
        org_id = await identity.create_organization("burst")
        return cls(database, org_id, await identity.create_agent(org_id, "assistant"))

    async def record(self, count: int, console: Console) -> list[UUID]:
        """`count` sessions of ten turns, not completed yet: their ids."""
        sayings = self._sayings(count * TURNS)
        identity = IdentityStore(self._database)
        sessions = []
        for number in track(range(count), "Recording", console=console, transient=True):
            user_id = await identity.user(self.org_id, f"user-{new_id()}")
            session = await self._sessions.open_session(self.org_id, self._agent_id, user_id, None)
            for saying in sayings[number * TURNS : (number + 1) * TURNS]:
                await self._sessions.record_turn(
                    NewTurn(
                        org_id=self.org_id,
                        session_id=session.id,
                        request_id=f"bench-{new_id()}",
                        messages=[{"role": "user", "content": saying}],
                        response={"role": "assistant", "content": "I have noted that."},
                        model="bench",
                    )
                )
            sessions.append(session.id)
        return sessions

    async def complete(self, sessions: Sequence[UUID]) -> Burst:
        """All at once; returns when each is learned and archived. Raises EmbeddedServerError when
        that takes five minutes or a session is given up."""
        before = await self._counts()
        await asyncio.gather(*(self._sessions.complete(self.org_id, one) for one in sessions))
        started = time.monotonic()
        first = learned = 0.0
        while True:
            now, counts = time.monotonic() - started, await self._counts()
            if not first and counts.done > before.done:
                first = now
            if not learned and counts.done == before.done + len(sessions):
                learned = now
            if learned and counts.archived == before.archived + len(sessions):
                break
            if counts.dead or now > _LIMIT:
                raise EmbeddedServerError(
                    f"Of {len(sessions)} sessions {counts.done - before.done} are learned and "
                    f"{counts.dead} given up after {now:.0f} s.",
                    hint="See the logs under bench/ in IBEX_HOME.",
                )
            await asyncio.sleep(_LOOK)
        return Burst(
            sessions=len(sessions),
            first_s=round(first, 2),
            all_s=round(learned, 2),
            archived_s=round(now, 2),
            memories=counts.memories - before.memories,
            tries=counts.tries - before.tries,
        )

    def _sayings(self, count: int) -> list[str]:
        new = memories(self._said + count)[self._said :]
        self._said += count
        return [
            f"{_OPENINGS[number % len(_OPENINGS)]}{fact.content}" for number, fact in enumerate(new)
        ]

    async def _counts(self) -> "_Counts":
        jobs = await JobStore(self._database).counts(self.org_id)
        async with self._database.tenant(self.org_id) as connection:
            (row,) = await connection.fetch(
                "SELECT "
                "(SELECT count(*) FROM ibex_core.memories WHERE org_id = $1 AND status = 'active')"
                " AS memories, "
                "(SELECT count(*) FROM ibex_core.archive_files WHERE org_id = $1"
                " AND kind = 'session') AS archived, "
                "(SELECT sum(attempts) FROM ibex_core.extraction_jobs WHERE org_id = $1) AS tries",
                self.org_id,
            )
        return _Counts(
            jobs["done"], jobs["dead"], row["memories"], row["archived"], row["tries"] or 0
        )


@dataclass(frozen=True)
class _Counts:
    done: int
    dead: int
    memories: int
    archived: int
    tries: int
