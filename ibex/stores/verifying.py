"""The manifest beside what the buckets hold: what is missing, what is not as it was written, and
what nobody knows of.

Both may change meanwhile. So a file that looks wrong is looked at once more, with the manifest as
it is by then, and an object that the manifest does not have is an orphan only when it is old.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import asyncpg

from ibex.errors import ArchiveDamagedError, ConflictError, NotFoundError
from ibex.ids import parse_id
from ibex.settings import Settings
from ibex.stores.archive import SessionArchive
from ibex.stores.objects import ListedObject, ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.queries import load

_SQL = load("verify")
_BATCH: Final = 500  # files that are looked at together
_AT_ONCE: Final = 4  # objects that are read
#: Findings that are told one by one; the others are counted.
MOST: Final = 1_000

Fault = Literal["missing", "size", "checksum", "orphan"]
Outcome = Literal["found", "repaired", "due", "lost", "deleted", "young"]
Watch = Callable[[int, int], None]  # files done, of how many


@dataclass(frozen=True)
class Finding:
    fault: Fault
    bucket: str
    key: str
    #: `repaired`: written anew from PostgreSQL. `due`: the next `ibex lake refresh` does that, of a
    #: day that its source still has. `lost`: nobody has it. `deleted`: the orphan.
    #: `young`: an orphan that may still get its entry. `found`: nothing was done.
    outcome: Outcome


@dataclass
class Verification:
    files: int = 0  # of the manifest
    objects: int = 0  # of the buckets
    bytes: int = 0  # of the objects
    read: int = 0  # files whose checksum was compared
    counts: dict[str, int] = field(default_factory=dict)  # by fault and outcome, "missing lost"
    findings: list[Finding] = field(default_factory=list)  # the first MOST

    @property
    def bad(self) -> int:
        """Faults that are still there, except orphans: those harm nobody."""
        return sum(
            count
            for name, count in self.counts.items()
            if not name.startswith("orphan") and not name.endswith("repaired")
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"bad": self.bad}


class StoreVerifier:
    """Raises DatabaseUnavailableError and ObjectStoreUnavailableError."""

    def __init__(
        self, database: Database, objects: ObjectStore, archive: SessionArchive, settings: Settings
    ) -> None:
        self._database = database
        self._objects = objects
        self._archive = archive
        self._buckets = (settings.sessions_bucket, settings.lake_bucket)
        self._grace = timedelta(hours=settings.orphan_hours)

    async def verify(
        self,
        now: datetime,
        *,
        org_id: UUID | None = None,
        share: float = 0.0,
        repair: bool = False,
        watch: Watch = lambda _done, _total: None,
    ) -> Verification:
        """Of one organization, or of all. Every size is compared, and of a `share` of the files (1:
        all) the checksum. `repair` writes sessions' archives anew, has the lake's days written anew
        and deletes old orphans."""
        done = Verification()
        async with self._database.system() as connection:
            total: int = await connection.fetchval(_SQL["size"], org_id)
        seen: dict[UUID, int] = {}
        for bucket in self._buckets:
            async for batch in self._objects.listed(bucket):
                mine = [one for one in batch if org_id is None or str(org_id) in one.key]
                await self._compare(bucket, mine, seen, done, now, repair=repair)
        async for files in self._files(org_id, now):
            gate = asyncio.Semaphore(_AT_ONCE)

            async def look(file: asyncpg.Record, gate: asyncio.Semaphore = gate) -> None:
                async with gate:
                    await self._look(file, seen.get(file["id"]), share, done, repair=repair)

            await asyncio.gather(*map(look, files))
            done.files += len(files)
            watch(done.files, max(total, done.files))
        return done

    async def _compare(
        self,
        bucket: str,
        objects: Sequence[ListedObject],
        seen: dict[UUID, int],
        done: Verification,
        now: datetime,
        *,
        repair: bool,
    ) -> None:
        """Notes the sizes of what the manifest knows in `seen`; the others are orphans."""
        done.objects += len(objects)
        done.bytes += sum(one.size for one in objects)
        sizes = {one.key: one.size for one in objects}
        async with self._database.system() as connection:
            rows = await connection.fetch(_SQL["known"], bucket, list(sizes))
        for row in rows:
            seen[row["id"]] = sizes.pop(row["key"])
        for one in objects:
            if one.key not in sizes:
                continue
            outcome: Outcome = "found"
            if one.modified is None or one.modified > now - self._grace:
                outcome = "young"
            elif await self._being_written(one.key):
                continue
            elif repair:
                await self._objects.delete(bucket, one.key)
                outcome = "deleted"
            _note(done, Finding("orphan", bucket, one.key, outcome))

    async def _being_written(self, key: str) -> bool:
        """Also what a process that died has left: whoever archives the session next needs it."""
        session_id = parse_id(key.rpartition("/")[2].partition(".")[0])
        async with self._database.system() as connection:
            return session_id is not None and bool(
                await connection.fetch(_SQL["being_written"], [session_id])
            )

    async def _files(
        self, org_id: UUID | None, before: datetime
    ) -> AsyncIterator[list[asyncpg.Record]]:
        last: tuple[UUID | None, UUID | None] = (None, None)
        while True:
            async with self._database.system() as connection:
                rows = await connection.fetch(_SQL["files"], org_id, before, *last, _BATCH)
            if not rows:
                return
            yield rows
            last = rows[-1]["org_id"], rows[-1]["id"]

    async def _look(
        self,
        file: asyncpg.Record,
        listed: int | None,
        share: float,
        done: Verification,
        *,
        repair: bool,
    ) -> None:
        chosen = random.random() < share  # noqa: S311 — a sample
        done.read += chosen
        if listed == file["bytes"] and not chosen:
            return
        fault = await self._fault(file)
        if fault is None:
            return
        outcome: Outcome = "found"
        if repair and file["kind"] == "session":
            outcome = await self._repaired(file)
        elif repair and file["kind"] == "lake":
            async with self._database.tenant(file["org_id"]) as connection:
                await connection.execute(_SQL["write_again"], file["org_id"], file["id"])
            outcome = "due"
        _note(done, Finding(fault, file["bucket"], file["key"], outcome))

    async def _fault(self, file: asyncpg.Record) -> Fault | None:
        """By the manifest as it is when the object has been read."""
        fault: Fault | None = None
        for _ in range(2):
            try:
                size, digest = await self._objects.digest(file["bucket"], file["key"])
            except NotFoundError:
                size, digest = -1, b""
            async with self._database.system() as connection:
                now = await connection.fetchrow(_SQL["file"], file["org_id"], file["id"])
            if now is None or (size, digest) == (now["bytes"], now["sha256"]):
                return None
            fault = "missing" if size < 0 else "size" if size != now["bytes"] else "checksum"
        return fault

    async def _repaired(self, file: asyncpg.Record) -> Outcome:
        try:
            await self._archive.archive(file["org_id"], file["session_id"])
        except (ArchiveDamagedError, NotFoundError):
            return "lost"
        except ConflictError:  # somebody is at it
            return "found"
        return "repaired"


def _note(done: Verification, finding: Finding) -> None:
    name = f"{finding.fault} {finding.outcome}"
    done.counts[name] = done.counts.get(name, 0) + 1
    if len(done.findings) < MOST:
        done.findings.append(finding)
