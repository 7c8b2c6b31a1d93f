"""One check in one organization: read a sample, judge it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Final
from uuid import UUID

from ibex.checks.catalogue import Name, Seen
from ibex.checks.judging import (
    EXAMPLES,
    Checkpoint,
    archive_faults,
    list_faults,
    personal_kinds,
    seen,
    vector_fault,
)
from ibex.checks.junk import Runs, junk_of, runs_of
from ibex.checks.samples import Samples, Words
from ibex.errors import NotFoundError
from ibex.extraction.prompts import prompt_named
from ibex.memory.conflicts import Resolution, judge
from ibex.memory.model import Source
from ibex.memory.writing.planning import NEAR_DUPLICATE
from ibex.settings import Settings
from ibex.stores.hot import SIZE, HotCache
from ibex.stores.memories import MemoryReader
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.queries import load

_SQL = load("checks")
_AT_WORK: Final = timedelta(days=1)  # whose hot lists there are: as long as one lives in Redis
_DOUBLES: Final = 4  # each is compared with all of its agent: so many times fewer are
_AGAIN: Final = 2.0  # seconds: a list that has just been written is looked at once more
_NOWHERE: Final[Runs] = frozenset()


class Looking:
    """Raises DependencyError from every method when a store does not answer."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        hot: HotCache,
        settings: Settings,
        *,
        again: float = _AGAIN,
    ) -> None:
        self._database = database
        self._objects = objects
        self._hot = hot
        self._settings = settings
        self._samples = Samples(database, settings.embedding_model)
        self._memories = MemoryReader(database, settings.embedding_model)
        self._prompt = runs_of([prompt_named(settings).system])
        self._again = again
        self._looks: Mapping[Name, Callable[[UUID], Awaitable[Seen]]] = {
            Name.JUNK: self._junk,
            Name.DUPLICATES: self._duplicates,
            Name.PROVENANCE: self._provenance,
            Name.EMBEDDINGS: self._embeddings,
            Name.REDACTION: self._redaction,
            Name.HOT_LISTS: self._hot_lists,
            Name.ARCHIVES: self._archives,
            Name.DEAD_LETTERS: self._dead_letters,
            Name.EXTRACTION: lambda org_id: self._waits("extraction_waits", org_id),
            Name.ARCHIVING: lambda org_id: self._waits("archiving_waits", org_id),
            Name.USE: lambda org_id: self._waits("answers_wait", org_id),
        }

    async def look(self, name: Name, org_id: UUID) -> Seen:
        return await self._looks[name](org_id)

    async def look_at(self, org_id: UUID, ids: Iterable[UUID]) -> Seen:
        """Whatever can be wrong with these memories by themselves: junk, what they rest on, their
        vectors."""
        listed = list(ids)
        words = await self._samples.words(org_id, listed)
        wrong = await self._junk_kinds(org_id, words)
        for one, kinds in (await self._samples.orphans(org_id, listed)).items():
            wrong.setdefault(one, []).extend(kinds)
        for one, length in (await self._samples.lengths(org_id, listed)).items():
            wrong.setdefault(one, []).extend(vector_fault(length))
        return seen(len(words), wrong)

    async def _sample(self, org_id: UUID, *, believed: bool = False, part: int = 1) -> list[UUID]:
        size = max(1, self._settings.check_sample // part)
        return await self._samples.memories(org_id, size, believed=believed)

    async def _junk(self, org_id: UUID) -> Seen:
        words = await self._samples.words(org_id, await self._sample(org_id, believed=True))
        return seen(len(words), await self._junk_kinds(org_id, words))

    async def _junk_kinds(self, org_id: UUID, words: list[Words]) -> dict[UUID, list[str]]:
        directives = {
            agent_id: runs_of([text]) | self._prompt
            for agent_id, text in (
                await self._samples.directives(org_id, list({one.agent_id for one in words}))
            ).items()
        }
        given = await self._given(org_id, words)
        kinds: dict[UUID, list[str]] = {}
        for one in words:
            junk = junk_of(
                one.content,
                directives.get(one.agent_id, self._prompt),
                given.get(one.id, ()),
            )
            kinds[one.id] = [junk.value] if junk else []
        return kinds

    async def _given(self, org_id: UUID, words: list[Words]) -> dict[UUID, list[Runs]]:
        """By memory, what its session was given of others. A user may repeat what is known."""
        theirs = [one for one in words if one.session_id and one.source != Source.USER]
        given = await self._samples.given(
            org_id, list({one.session_id for one in theirs if one.session_id})
        )
        runs = {text: runs_of([text]) for text in {text for _, text in chain(*given.values())}}
        return {
            one.id: [
                runs[text]
                for memory_id, text in given.get(one.session_id, ())
                if memory_id != one.id
            ]
            for one in theirs
            if one.session_id
        }

    async def _duplicates(self, org_id: UUID) -> Seen:
        ids = await self._sample(org_id, believed=True, part=_DOUBLES)
        wrong: dict[UUID, list[str]] = {}
        for pair in await self._samples.doubles(org_id, ids, NEAR_DUPLICATE):
            verdict = judge(pair.older, pair.newer, pair.cosine)
            if verdict.resolution in (Resolution.DUPLICATE, Resolution.MERGE):
                wrong[pair.newer_id] = [verdict.resolution.value]
        return seen(len(ids), wrong)

    async def _provenance(self, org_id: UUID) -> Seen:
        ids = await self._sample(org_id)
        return seen(len(ids), await self._samples.orphans(org_id, ids))

    async def _embeddings(self, org_id: UUID) -> Seen:
        ids = await self._sample(org_id)
        lengths = await self._samples.lengths(org_id, ids)
        return seen(len(ids), {one: vector_fault(length) for one, length in lengths.items()})

    async def _redaction(self, org_id: UUID) -> Seen:
        words = await self._samples.words(org_id, await self._sample(org_id))
        return seen(
            len(words),
            {
                one.id: personal_kinds((one.content, one.subject, one.attribute, *one.others))
                for one in words
            },
        )

    async def _hot_lists(self, org_id: UUID) -> Seen:
        since = datetime.now(UTC) - _AT_WORK
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["owners"], org_id, since, self._settings.check_lists)
        owners = [(row["agent_id"], row["user_id"]) for row in rows]
        suspects = [owner for owner in owners if await self._list_faults(org_id, *owner)]
        if suspects:
            await asyncio.sleep(self._again)
        faults: dict[UUID, list[str]] = {}
        for agent_id, user_id in suspects:
            found = await self._list_faults(org_id, agent_id, user_id)
            faults.setdefault(user_id or agent_id, []).extend(found)
        return seen(len(owners), faults)

    async def _list_faults(self, org_id: UUID, agent_id: UUID, user_id: UUID | None) -> list[str]:
        """Nothing of a list that is missing: whoever reads it next has it made."""
        held = await self._hot.held(org_id, agent_id, user_id)
        if held is None:
            return []
        now = datetime.now(UTC)
        best = await self._memories.best(org_id, agent_id, user_id, SIZE, now)
        in_force = await self._memories.in_force(
            org_id, agent_id, user_id, [one.id for one in held]
        )
        return list_faults(held, best, {one.id for one in in_force}, SIZE, now)

    async def _archives(self, org_id: UUID) -> Seen:
        async with self._database.tenant(org_id) as connection:
            files = await connection.fetch(_SQL["archives"], org_id, self._settings.check_archives)
        wrong: dict[UUID, list[str]] = {}
        for session_id in (file["session_id"] for file in files):
            faults = await self._archive_faults(org_id, session_id)
            # It may have been archived anew between the two looks.
            wrong[session_id] = faults and await self._archive_faults(org_id, session_id)
        return seen(len(files), wrong)

    async def _archive_faults(self, org_id: UUID, session_id: UUID) -> list[str]:
        async with self._database.tenant(org_id) as connection:
            file = await connection.fetchrow(_SQL["archive"], org_id, session_id)
            if file is None:
                return []
            turns = await connection.fetch(_SQL["checkpoints"], org_id, session_id, file["rows"])
        try:
            data = await self._objects.get(file["bucket"], file["key"])
        except NotFoundError:
            data = None
        checkpoints = [
            Checkpoint(turn["number"], turn["request_id"], turn["chain_hash"].hex())
            for turn in turns
        ]
        return archive_faults(data, file["bytes"], file["sha256"], file["rows"], checkpoints)

    async def _dead_letters(self, org_id: UUID) -> Seen:
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["dead_letters"], org_id)
        dead = sum(row["sessions"] for row in rows)
        newest = [str(one) for row in rows for one in row["newest"]]
        found = {row["code"]: row["sessions"] for row in rows}
        return Seen(looked_at=dead, found=found, wrong=dead, examples=newest[:EXAMPLES])

    async def _waits(self, name: str, org_id: UUID) -> Seen:
        async with self._database.tenant(org_id) as connection:
            row = await connection.fetchrow(_SQL[name], org_id)
        if row is None or not row["waiting"]:
            return Seen(looked_at=0)
        return Seen(
            looked_at=row["waiting"],
            found={"waiting": row["waiting"]},
            wrong=row["waiting"],
            examples=[str(one) for one in row["first"]],
            seconds=max(0.0, row["seconds"]),
        )
