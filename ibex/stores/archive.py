"""The archive of a session: NDJSON in S3, one line a checkpoint, and its row in the manifest.

`{org}/{agent}/{session}/{session}.ndjson` in the bucket of sessions. The same turns give the same
bytes, so archiving again changes nothing; a session that went on is written anew, whole.

    claim ─ announce the bytes ─ put, read back ─ manifest and watermark, in one transaction

A crash at any step loses nothing: as long as PostgreSQL has the content the archive is written
again, and when it has not, the object is what the manifest says, or what was announced, or that
stands beside it, written before the object was touched. See docs/adr/0072.
"""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg

from ibex.errors import (
    ArchiveDamagedError,
    ConflictError,
    DependencyError,
    IbexError,
    NotFoundError,
    ObjectStoreUnavailableError,
    SessionNotFoundError,
)
from ibex.ids import new_id
from ibex.sessions import StoredTurn
from ibex.settings import Settings
from ibex.stores.archive_lines import SCHEMA_VERSION, ndjson, stored_turns
from ibex.stores.jobs import backoff_delay
from ibex.stores.objects import SLOWEST, ObjectStore, StoredObject
from ibex.stores.postgres import Connection, Database
from ibex.stores.queries import load
from ibex.stores.sessions import SessionKey

_SQL = load("archive")
_LOG = logging.getLogger("ibex.archive")
_TYPE: Final = "application/x-ndjson"
#: Longer than a request that was given up may still be on its way to the store.
_LEASE: Final = timedelta(seconds=60)
_WAYS: Final = 4  # to the store and back, twice when a copy is written
_OUTAGE: Final = 15.0  # seconds until a session is tried again when a part was away
_BACKOFF: Final = 60.0  # seconds, doubling, when its own archive is the trouble


@dataclass(frozen=True)
class ArchivedSession:
    bucket: str
    key: str
    turns: int
    size: int  # bytes
    sha256: bytes


@dataclass(frozen=True)
class _Held:
    """Of an archive, what is in the store."""

    data: bytes = field(repr=False)
    sha256: bytes
    in_place: bool  # False: it is the copy beside it


@dataclass(frozen=True)
class _Work:
    upload_id: UUID
    attempt: int
    org_id: UUID
    session_id: UUID
    key: str
    session: Mapping[str, Any] = field(repr=False)
    turns: Sequence[Mapping[str, Any]] = field(repr=False)
    file: asyncpg.Record | None


def archive_key(org_id: UUID, agent_id: UUID, session_id: UUID) -> str:
    return f"{org_id}/{agent_id}/{session_id}/{session_id}.ndjson"


def copy_key(key: str) -> str:
    """Where an archive stands while another one takes its place."""
    return f"{key}.next"


class SessionArchive:
    """Raises DatabaseUnavailableError and ObjectStoreUnavailableError from every method that asks
    them."""

    def __init__(self, database: Database, objects: ObjectStore, settings: Settings) -> None:
        self._database = database
        self._objects = objects
        self._bucket = settings.sessions_bucket

    async def due(self, limit: int) -> list[SessionKey]:
        """Completed sessions with turns past their archive."""
        async with self._database.system() as connection:
            rows = await connection.fetch(_SQL["due"], limit)
        return [SessionKey(row["org_id"], row["id"]) for row in rows]

    async def archive(
        self, org_id: UUID, session_id: UUID, *, patience: float | None = None
    ) -> ArchivedSession:
        """Write the session's turns as they are now; the manifest and the session's watermark
        follow in one transaction once the object is there and was read back.

        `patience` in seconds, for a first try only: a session that is too large for it gets all the
        time that it needs with the next one.

        Raises SessionNotFoundError, ConflictError when another process is at it, and
        ArchiveDamagedError when turns are neither in PostgreSQL nor, as they were, in the archive.
        """
        work = await self._claim(org_id, session_id)
        try:
            async with asyncio.timeout(patience if work.attempt == 1 else None):
                return await self._write(work)
        except TimeoutError:
            # Its lease ends by itself: what was sent may still be on its way.
            raise ObjectStoreUnavailableError("The object store is too slow.") from None
        except Exception as error:
            await self._give_back(work, error)
            raise

    async def read(self, org_id: UUID, session_id: UUID) -> list[StoredTurn]:
        """The turns that the archive holds, in order, as they were written.

        Raises NotFoundError when the session was never archived, ArchiveDamagedError.
        """
        file = await self._file(org_id, session_id)
        try:
            held = await self._held(file)
        except ArchiveDamagedError:
            # Perhaps it was written anew between the two looks.
            again = await self._file(org_id, session_id)
            if dict(again) == dict(file):
                raise
            held = await self._held(again)
        return stored_turns(held.data)

    async def compare(self, org_id: UUID, session_id: UUID) -> ArchivedSession:
        """Read the archive again, whole, and compare it with PostgreSQL's turns byte by byte.

        Raises SessionNotFoundError, NotFoundError when it was never archived, and
        ArchiveDamagedError when it is not the manifest's or not these turns.
        """
        async with self._database.tenant(org_id) as connection:
            session, turns = await _session_and_turns(connection, org_id, session_id)
            file = await connection.fetchrow(_SQL["file"], org_id, session_id)
        if file is None:
            raise NotFoundError("The session is not archived yet.")
        held = await self._held(file)
        if any(turn["messages"] is None for turn in turns):
            turns = _filled(turns, held.data)
        if held.data != ndjson(org_id, session_id, session, turns):
            raise ArchiveDamagedError("The session's archive is not what PostgreSQL has.")
        return ArchivedSession(file["bucket"], file["key"], len(turns), len(held.data), held.sha256)

    async def presign(self, org_id: UUID, session_id: UUID) -> str:
        """A URL to the session's archive, valid for 15 minutes. Raises NotFoundError."""
        file = await self._file(org_id, session_id)
        return await self._objects.presign(file["bucket"], file["key"])

    async def _claim(self, org_id: UUID, session_id: UUID) -> _Work:
        upload_id = new_id()
        async with self._database.tenant(org_id) as connection:
            attempt = await connection.fetchval(
                _SQL["claim_upload"], org_id, session_id, upload_id, _LEASE
            )
            session, turns = await _session_and_turns(connection, org_id, session_id)
            if attempt is None:
                raise ConflictError("The session is being archived at this moment.")
            file = await connection.fetchrow(_SQL["file"], org_id, session_id)
        key = archive_key(org_id, session["agent_id"], session_id)
        return _Work(upload_id, attempt, org_id, session_id, key, session, turns, file)

    async def _write(self, work: _Work) -> ArchivedSession:
        turns, only_copy = work.turns, None
        if any(turn["messages"] is None for turn in turns):
            only_copy = await self._only_copy(work)
            turns = _filled(turns, only_copy.data)
        data = ndjson(work.org_id, work.session_id, work.session, turns)
        if only_copy is not None and data == only_copy.data:
            stored = StoredObject(self._bucket, work.key, len(data), only_copy.sha256)
        else:
            stored = await self._put(work, data, beside=only_copy is not None)
        await self._record(work, stored, len(turns))
        if only_copy is not None:
            with suppress(IbexError):  # else `ibex lake verify` removes it
                await self._objects.delete(self._bucket, copy_key(work.key))
        return ArchivedSession(stored.bucket, stored.key, len(turns), stored.size, stored.sha256)

    async def _put(self, work: _Work, data: bytes, *, beside: bool) -> StoredObject:
        """`beside`: not all of it is in PostgreSQL, so it stands beside the object before that is
        written over."""
        digest = hashlib.sha256(data).digest()
        async with self._database.tenant(work.org_id) as connection:
            done = await connection.execute(
                _SQL["announce"],
                work.org_id,
                work.session_id,
                work.upload_id,
                digest,
                len(data),
                _LEASE + timedelta(seconds=_WAYS * len(data) / SLOWEST),
            )
        if done != "UPDATE 1":
            raise _taken_over()
        if beside:
            await self._objects.put(self._bucket, copy_key(work.key), data, content_type=_TYPE)
        return await self._objects.put(self._bucket, work.key, data, content_type=_TYPE)

    async def _only_copy(self, work: _Work) -> _Held:
        """What the archive holds, which is in its place and in the manifest afterwards: only then
        may something else be announced."""
        if work.file is None:
            raise ArchiveDamagedError("What was said in the session is gone.")
        held = await self._held(work.file)
        if held.sha256 != work.file["sha256"]:
            if not held.in_place:
                await self._objects.put(self._bucket, work.key, held.data, content_type=_TYPE)
            stored = StoredObject(self._bucket, work.key, len(held.data), held.sha256)
            async with self._database.tenant(work.org_id) as connection:
                await _record(connection, work, stored, len(stored_turns(held.data)))
        return held

    async def _record(self, work: _Work, stored: StoredObject, turns: int) -> None:
        async with self._database.tenant(work.org_id) as connection:
            done = await connection.execute(
                _SQL["end_upload"], work.org_id, work.session_id, work.upload_id
            )
            if done != "DELETE 1":
                raise _taken_over()
            await _record(connection, work, stored, turns)

    async def _give_back(self, work: _Work, error: Exception) -> None:
        if isinstance(error, DependencyError):
            wait = _OUTAGE
        else:
            wait = backoff_delay(_BACKOFF, min(work.attempt, 10), secrets.randbelow(1000) / 1000)
        code = getattr(error, "code", IbexError.code)
        try:
            async with self._database.tenant(work.org_id) as connection:
                await connection.execute(
                    _SQL["give_back"],
                    work.org_id,
                    work.session_id,
                    work.upload_id,
                    timedelta(seconds=wait),
                    code,
                )
        except IbexError:
            _LOG.warning("the lease of an archive ends by itself, it was not given back")

    async def _file(self, org_id: UUID, session_id: UUID) -> asyncpg.Record:
        async with self._database.tenant(org_id) as connection:
            file = await connection.fetchrow(_SQL["file"], org_id, session_id)
        if file is None:
            raise NotFoundError("The session is not archived yet.")
        return file

    async def _held(self, file: asyncpg.Record) -> _Held:
        """What the manifest says, or what was announced, in its place or beside it.

        Raises ArchiveDamagedError.
        """
        known = {file["sha256"], file["announced"]}
        for key in (file["key"], copy_key(file["key"])):
            try:
                data = await self._objects.get(file["bucket"], key)
            except NotFoundError:
                continue
            digest = hashlib.sha256(data).digest()
            if digest in known:
                place = (file["bucket"], key)
                return _Held(data, digest, in_place=place == (self._bucket, file["key"]))
        raise ArchiveDamagedError


async def _session_and_turns(
    connection: Connection, org_id: UUID, session_id: UUID
) -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]:
    session = await connection.fetchrow(_SQL["session"], org_id, session_id)
    if session is None:
        raise SessionNotFoundError
    turns = await connection.fetch(_SQL["turns"], org_id, session_id, session["turn_count"])
    return dict(session), [dict(turn) for turn in turns]


async def _record(connection: Connection, work: _Work, stored: StoredObject, turns: int) -> None:
    await connection.execute(
        _SQL["record"],
        work.org_id,
        work.session_id,
        new_id(),
        stored.bucket,
        stored.key,
        turns,
        stored.size,
        stored.sha256,
        SCHEMA_VERSION,
    )
    await connection.execute(_SQL["move_archived"], work.org_id, work.session_id, turns)


def _filled(turns: Sequence[Mapping[str, Any]], archive: bytes) -> list[Mapping[str, Any]]:
    """The turns with the content that only the archive has. Raises ArchiveDamagedError."""
    archived = {turn.number: turn for turn in stored_turns(archive)}
    try:
        return [
            {**turn, "messages": one.messages, "response": one.response}
            if turn["messages"] is None and (one := archived[turn["number"]])
            else turn
            for turn in turns
        ]
    except KeyError:
        raise ArchiveDamagedError("The session's archive is shorter than the session.") from None


def _taken_over() -> ConflictError:
    return ConflictError("Another process archives the session by now.")
