"""Two sets of facts of the same sessions change places: the switch, its reversal, the comparison.

What is believed is made of what was said and when, not of the order in which it was written
(docs/adr/0059). So a set leaves by taking its statements out of the memories that rest on them, and
letting the writer plan what stays in these, together with the other set, as if it were new:

1. Statements of these sessions that a model found leave. Memories that an operator has made or
   decided about keep theirs, and so do episodes.
2. The memories they were of are set aside, in force at no time, and so are those whose validity
   they ended. What else these rest on is believed anew.
3. The other set is believed with it. Words that a memory set aside has bring that memory back, with
   its id and what is known about its use.
4. A memory that stays aside names the new one of its session that is about the same.

The set that left waits in the place of the one that came.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from ibex.backfills.differing import changed_ids, changes, heirs, unchanged
from ibex.backfills.model import Exchanged
from ibex.memory.statements import Edge, Stated
from ibex.memory.writing import MemoryWriter
from ibex.stores import exchange, memories_write
from ibex.stores.exchange import Row
from ibex.stores.memories_write import Owner
from ibex.stores.postgres import Connection
from ibex.stores.usefulness import inherit

SET_ASIDE: Final = "set_aside"
REEXTRACTED: Final = "reextracted"
_REASON: Final = "backfill: another prompt or model says it so."
_BATCH: Final = 200
_NOTHING: Final = Exchanged((), 0)


class Exchange:
    def __init__(self, writer: MemoryWriter, embedding_model: str) -> None:
        self._writer = writer
        self._model = embedding_model

    async def run(
        self,
        connection: Connection,
        owner: Owner,
        backfill_id: UUID,
        run_id: str | None,
        now: datetime,
        *,
        switch: bool,
    ) -> Exchanged:
        """Believe the backfill's facts of one agent or user (`switch`), or those they replaced.

        Which of the two waits, its sessions say; what says so is up to the caller, who owns the
        transaction. Raises ConflictError for vectors of another model than the one served.
        """
        org_id = owner.org_id
        await memories_write.lock(connection, owner)
        through = await exchange.sessions(connection, owner, backfill_id, switched=not switch)
        if not through:
            return _NOTHING
        before = await exchange.beliefs(connection, owner)
        leaving = await exchange.replaced(connection, owner, through)
        affected = await exchange.affected(connection, owner, set(leaving.values()))
        rows = await exchange.rows_of(connection, org_id, affected)
        left = await exchange.take_out(connection, org_id, affected, self._model)
        arriving = await exchange.take_facts(connection, org_id, backfill_id, through, self._model)
        gone = [one for one in left if one.stated.id in leaving]
        await exchange.put_facts(
            connection,
            owner,
            backfill_id,
            [one.stated for one in gone],
            self._model,
            memories={one.stated.id: one.memory_id for one in gone},
        )
        kept = [one.stated for one in left if one.stated.id not in leaving]
        created: list[UUID] = []
        for batch in _batches(_once([*kept, *arriving])):
            done = await self._writer.believe(connection, owner, batch, run_id, now, revive=True)
            created += done.created
        after = await exchange.beliefs(connection, owner)
        present = await exchange.rows_of(
            connection, org_id, {*affected, *created, *changed_ids(before, after)}
        )
        succession = await self._succeed(connection, org_id, affected, created, present)
        await memories_write.note(connection, org_id, _changes(rows, present, succession), run_id)
        shown = {memory: row.shown for memory, row in present.items()}
        return Exchanged(
            changes=tuple(changes(before, after, succession, shown)),
            unchanged=unchanged(affected, before, after),
        )

    async def _succeed(
        self,
        connection: Connection,
        org_id: UUID,
        affected: Iterable[UUID],
        created: Iterable[UUID],
        present: Mapping[UUID, Row],
    ) -> dict[UUID, UUID]:
        """By what stays aside, what takes its place: as useful as that was, and tied to it."""
        aside = [present[one].shown for one in affected if one in present and present[one].is_aside]
        made = [present[one].shown for one in created if not present[one].is_aside]
        found = heirs(aside, made)
        if found:
            await exchange.succeed(connection, org_id, found)
            await inherit(connection, org_id, list(found.values()), list(found))
            edges = [Edge(heir, old, "supersedes", _REASON) for old, heir in found.items()]
            await memories_write.relate(connection, org_id, edges)
        return found


def _once(statements: Iterable[Stated]) -> list[Stated]:
    """A statement of both sets is one."""
    found: dict[tuple[bytes, datetime, UUID | None], Stated] = {}
    for one in statements:
        found[one.content_hash, one.valid_from, one.provenance.session_id] = one
    return list(found.values())


def _batches(statements: Sequence[Stated]) -> Iterator[Sequence[Stated]]:
    """In the order of their times: those of one batch are each compared with all others of it."""
    ordered = sorted(statements, key=lambda one: (one.valid_from, one.content_hash))
    return (ordered[start : start + _BATCH] for start in range(0, len(ordered), _BATCH))


def _changes(
    before: Mapping[UUID, Row], after: Mapping[UUID, Row], succession: Mapping[UUID, UUID]
) -> dict[UUID, str]:
    """What was done to memories that were set aside, for their history."""
    done: dict[UUID, str] = {}
    for memory, was in before.items():
        now = after.get(memory)
        if now is None:
            continue
        if now.is_aside:
            if not was.is_aside or memory in succession:
                done[memory] = SET_ASIDE
        elif now.held != was.held or now.making != was.making:
            done[memory] = REEXTRACTED
    return done
