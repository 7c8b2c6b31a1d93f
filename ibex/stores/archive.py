"""The archive of a session: NDJSON in S3, one line a checkpoint, and its row in the manifest.

`{org}/{agent}/{session}/{session}.ndjson` in the bucket of sessions. The same turns give the same
bytes, so archiving again changes nothing; a session that went on is written anew, whole. The
content stays in PostgreSQL as well for now; dropping it after the archive comes later.
"""

import hashlib
from dataclasses import dataclass
from uuid import UUID

from ibex.errors import ArchiveDamagedError, NotFoundError, SessionNotFoundError
from ibex.ids import new_id
from ibex.sessions import StoredTurn
from ibex.settings import Settings
from ibex.stores.archive_lines import SCHEMA_VERSION, ndjson, stored_turns
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.queries import load

_SQL = load("archive")


@dataclass(frozen=True)
class ArchivedSession:
    bucket: str
    key: str
    turns: int
    size: int  # bytes
    sha256: bytes


def archive_key(org_id: UUID, agent_id: UUID, session_id: UUID) -> str:
    return f"{org_id}/{agent_id}/{session_id}/{session_id}.ndjson"


class SessionArchive:
    def __init__(self, database: Database, objects: ObjectStore, settings: Settings) -> None:
        self._database = database
        self._objects = objects
        self._bucket = settings.sessions_bucket

    async def archive(self, org_id: UUID, session_id: UUID) -> ArchivedSession:
        """Write the session's turns as they are now; the manifest and the session's watermark
        follow in one transaction once the object is there.

        Raises SessionNotFoundError, ObjectStoreUnavailableError, DatabaseUnavailableError.
        """
        async with self._database.tenant(org_id) as connection:
            session = await connection.fetchrow(_SQL["session"], org_id, session_id)
            if session is None:
                raise SessionNotFoundError
            through = session["turn_count"]
            turns = await connection.fetch(_SQL["turns"], org_id, session_id, through)
        data = ndjson(org_id, session_id, dict(session), [dict(turn) for turn in turns])
        stored = await self._objects.put(
            self._bucket,
            archive_key(org_id, session["agent_id"], session_id),
            data,
            content_type="application/x-ndjson",
        )
        async with self._database.tenant(org_id) as connection:
            await connection.execute(
                _SQL["record"],
                org_id,
                session_id,
                new_id(),
                stored.bucket,
                stored.key,
                len(turns),
                stored.size,
                stored.sha256,
                SCHEMA_VERSION,
            )
            await connection.execute(_SQL["move_archived"], org_id, session_id, through)
        return ArchivedSession(stored.bucket, stored.key, len(turns), stored.size, stored.sha256)

    async def read(self, org_id: UUID, session_id: UUID) -> list[StoredTurn]:
        """The turns that the archive holds, in order, as they were written.

        Raises NotFoundError when the session was never archived, ArchiveDamagedError,
        ObjectStoreUnavailableError, DatabaseUnavailableError.
        """
        async with self._database.tenant(org_id) as connection:
            file = await connection.fetchrow(_SQL["file"], org_id, session_id)
        if file is None:
            raise NotFoundError("The session is not archived yet.")
        try:
            data = await self._objects.get(file["bucket"], file["key"])
        except NotFoundError:
            raise ArchiveDamagedError("The session's archive is gone.") from None
        if len(data) != file["bytes"] or hashlib.sha256(data).digest() != file["sha256"]:
            raise ArchiveDamagedError
        return stored_turns(data)

    async def presign(self, org_id: UUID, session_id: UUID) -> str:
        """A URL to the session's archive, valid for 15 minutes. Raises NotFoundError."""
        async with self._database.tenant(org_id) as connection:
            file = await connection.fetchrow(_SQL["file"], org_id, session_id)
        if file is None:
            raise NotFoundError("The session is not archived yet.")
        return await self._objects.presign(file["bucket"], file["key"])
