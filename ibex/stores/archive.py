"""The archive of a session: NDJSON in S3, one line a checkpoint, and its row in the manifest.

`{org}/{agent}/{session}/{session}.ndjson` in the bucket of sessions. The same turns give the same
bytes, so archiving again changes nothing; a session that went on is written anew, whole. The
content stays in PostgreSQL as well for now; dropping it after the archive comes later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from ibex.errors import NotFoundError, SessionNotFoundError
from ibex.ids import new_id
from ibex.settings import Settings
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.queries import load

SCHEMA_VERSION = 1
_SQL = load("archive")
_FORMAT = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z


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
        data = ndjson(org_id, session_id, session, turns)
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

    async def presign(self, org_id: UUID, session_id: UUID) -> str:
        """A URL to the session's archive, valid for 15 minutes. Raises NotFoundError."""
        async with self._database.tenant(org_id) as connection:
            file = await connection.fetchrow(_SQL["file"], org_id, session_id)
        if file is None:
            raise NotFoundError("The session is not archived yet.")
        return await self._objects.presign(file["bucket"], file["key"])


def ndjson(
    org_id: UUID,
    session_id: UUID,
    session: asyncpg.Record,
    turns: Sequence[asyncpg.Record],
) -> bytes:
    """A line for each turn, in order; keys sorted, times in UTC with microseconds."""
    common: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "org_id": org_id,
        "session_id": session_id,
        "agent_id": session["agent_id"],
        "user_id": session["user_id"],
        "external_id": session["external_id"],
        "origin": session["origin"],
    }
    return b"".join(
        orjson.dumps(
            common
            | {("turn" if name == "number" else name): turn[name] for name in turn.keys()}  # noqa: SIM118
            | {"chain_hash": turn["chain_hash"].hex()},
            default=_text_of_id,
            option=_FORMAT,
        )
        for turn in turns
    )


def _text_of_id(value: object) -> str:
    """orjson takes a UUID, but not the subclass of it that asyncpg returns."""
    if isinstance(value, UUID):
        return str(value)
    raise TypeError
