"""What was said leaves PostgreSQL when it is in the archive for good and nothing here needs it.

Right before that the archive is read again, whole, and compared with the turns byte by byte. One
that is not the same is said and written anew from PostgreSQL; nothing is dropped for it.
"""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from ibex.errors import ArchiveDamagedError, NotFoundError, SessionNotFoundError
from ibex.stores.archive import SessionArchive
from ibex.stores.postgres import Database
from ibex.stores.queries import load

_SQL = load("content")
_LOG = logging.getLogger("ibex.archive")
_BATCH: Final = 200  # sessions that are looked up at once
_MOST: Final = 20_000  # sessions at a time; the next time goes on


@dataclass
class Dropped:
    sessions: int = 0
    turns: int = 0
    needed: int = 0  # sessions that keep theirs: an answer was not looked at, or they went on
    damaged: int = 0  # sessions that keep theirs: the archive is not what was written


class ContentDropper:
    """Raises DatabaseUnavailableError and ObjectStoreUnavailableError."""

    def __init__(self, database: Database, archive: SessionArchive, *, most: int = _MOST) -> None:
        self._database = database
        self._archive = archive
        self._most = most

    async def drop(self, before: datetime) -> Dropped:
        """The content of sessions in which nothing was said since then, of all organizations; the
        longest silent first."""
        done, seen = Dropped(), 0
        last: tuple[datetime | None, UUID | None] = (None, None)
        while seen < self._most:
            async with self._database.system() as connection:
                rows = await connection.fetch(
                    _SQL["candidates"], before, *last, min(_BATCH, self._most - seen)
                )
            if not rows:
                break
            for row in rows:
                try:
                    turns = await self._drop(row["org_id"], row["id"])
                except SessionNotFoundError:  # it has gone meanwhile
                    continue
                except (ArchiveDamagedError, NotFoundError) as error:
                    _LOG.error("session %s keeps its content: %s", row["id"], error.message)
                    await self._archive_anew(row["org_id"], row["id"])
                    done.damaged += 1
                    continue
                done.needed += turns == 0
                done.sessions += turns > 0
                done.turns += turns
            seen += len(rows)
            last = rows[-1]["last_turn_at"], rows[-1]["id"]
        return done

    async def _drop(self, org_id: UUID, session_id: UUID) -> int:
        """How many turns lost their content; none while it is needed."""
        async with self._database.tenant(org_id) as connection:
            if not await connection.fetchval(_SQL["may_go"], org_id, session_id):
                return 0
        archived = await self._archive.compare(org_id, session_id)
        async with self._database.tenant(org_id) as connection:
            await connection.execute(_SQL["lock_session"], org_id, session_id)
            if not await connection.fetchval(_SQL["may_go"], org_id, session_id):
                return 0
            status = await connection.execute(
                _SQL["drop"], org_id, session_id, archived.turns, archived.sha256
            )
            turns = int(status.removeprefix("UPDATE "))
            if turns:
                await connection.execute(_SQL["move_dropped"], org_id, session_id, archived.turns)
        return turns

    async def _archive_anew(self, org_id: UUID, session_id: UUID) -> None:
        async with self._database.tenant(org_id) as connection:
            await connection.execute(_SQL["archive_anew"], org_id, session_id)
