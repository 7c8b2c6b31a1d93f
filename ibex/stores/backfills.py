"""Backfills in PostgreSQL: what is wanted, how far it is, who works on it, what it would change."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from ibex.backfills.model import (
    Backfill,
    Change,
    Difference,
    Kind,
    ReadSession,
    ShownChange,
    Spent,
    State,
    UnreadSession,
    Wish,
)
from ibex.backfills.quality import Quality
from ibex.errors import BackfillNotFoundError, ConflictError, InvalidRequestError, LeaseLostError
from ibex.ids import new_id
from ibex.stores.audit import Actor, audit
from ibex.stores.backfill_rows import backfill_of, by_agent, change_row, shown_change
from ibex.stores.memories_write import Owner
from ibex.stores.postgres import Connection, Database
from ibex.stores.queries import load

_SQL = load("backfills")
#: What may be asked for, and of a backfill in which states.
_MAY_FOLLOW: Final = {
    State.WAITING: (State.PAUSED, State.WAITING, State.RUNNING, State.READY),
    State.SWITCHING: (State.READY, State.SWITCHING, State.REVERTING),
    State.REVERTING: (State.SWITCHED, State.SWITCHING, State.REVERTING),
    State.DISCARDED: (State.WAITING, State.RUNNING, State.PAUSED, State.READY),
}


@dataclass(frozen=True)
class Due:
    org_id: UUID
    id: UUID


class BackfillStore:
    """Raises BackfillNotFoundError from every method that names a backfill which is not there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, org_id: UUID, wish: Wish, actor: Actor, *, state: State = State.WAITING
    ) -> Backfill:
        """Raises InvalidRequestError when there is no session to read again."""
        backfill_id = new_id()
        async with self._database.tenant(org_id) as connection:
            await connection.execute(
                _SQL["add"],
                org_id,
                backfill_id,
                wish.agent_id,
                wish.since,
                wish.until,
                wish.prompt,
                wish.prompt_version,
                wish.model,
                state,
            )
            added = await connection.execute(
                _SQL["add_sessions"], org_id, backfill_id, wish.agent_id, wish.since, wish.until
            )
            if added == "INSERT 0 0":
                raise InvalidRequestError(
                    "No session that was learned from began in this time.",
                    hint="Choose an earlier start, or another agent.",
                )
            await audit(
                connection,
                org_id,
                actor,
                "create",
                "backfill",
                backfill_id,
                {"prompt": wish.prompt},
            )
        return await self.backfill(org_id, backfill_id)

    async def backfill(
        self, org_id: UUID, backfill_id: UUID, *, agent_id: UUID | None = None
    ) -> Backfill:
        """With `agent_id`, the figures of that agent's sessions only, and only when it has some."""
        found = await self._list(org_id, agent_id, backfill_id, None, 1)
        if not found:
            raise BackfillNotFoundError
        return found[0]

    async def backfills(
        self, org_id: UUID, *, agent_id: UUID | None = None, after: UUID | None = None, limit: int
    ) -> list[Backfill]:
        """The newest first; with `agent_id`, those that read sessions of this agent."""
        return await self._list(org_id, agent_id, None, after, limit)

    async def _list(self, org_id: UUID, *arguments: object) -> list[Backfill]:
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["list"], org_id, *arguments)
        return [backfill_of(row) for row in rows]

    async def due(self, limit: int) -> list[Due]:
        """Backfills of all organizations that nobody works on and somebody should."""
        async with self._database.system() as connection:
            rows = await connection.fetch(_SQL["due"], limit)
        return [Due(row["org_id"], row["id"]) for row in rows]

    async def organization_of(self, backfill_id: UUID) -> UUID:
        async with self._database.system() as connection:
            org_id: UUID | None = await connection.fetchval(_SQL["organization_of"], backfill_id)
        if org_id is None:
            raise BackfillNotFoundError
        return org_id

    # --- its worker ---

    async def take(self, org_id: UUID, backfill_id: UUID, worker: str, lease: float) -> State:
        """Work on it for `lease` seconds. Raises ConflictError when somebody else does, or there is
        nothing to do."""
        async with self._database.tenant(org_id) as connection:
            state = await connection.fetchval(
                _SQL["take"], org_id, backfill_id, worker, timedelta(seconds=lease)
            )
        if state is None:
            await self._refuse(org_id, backfill_id)
        return State(state)

    async def renew(self, org_id: UUID, backfill_id: UUID, worker: str, lease: float) -> None:
        async with self._database.tenant(org_id) as connection:
            await connection.execute(
                _SQL["renew"], org_id, backfill_id, worker, timedelta(seconds=lease)
            )

    async def leave(
        self, org_id: UUID, backfill_id: UUID, worker: str, state: State, code: str | None = None
    ) -> None:
        """The work is done, or stops: what the backfill is from now on."""
        async with self._database.tenant(org_id) as connection:
            await connection.execute(_SQL["leave"], org_id, backfill_id, worker, state, code)

    async def hold(
        self, connection: Connection, org_id: UUID, backfill_id: UUID, worker: str
    ) -> None:
        """Until the transaction ends, nobody else is its worker. Raises LeaseLostError."""
        if await connection.fetchrow(_SQL["hold"], org_id, backfill_id, worker) is None:
            raise LeaseLostError("Somebody else works on the backfill by now.")

    async def unread(self, org_id: UUID, backfill_id: UUID, limit: int) -> list[UnreadSession]:
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["unread"], org_id, backfill_id, limit)
        return [
            UnreadSession(
                session_id=row["session_id"],
                agent_id=row["agent_id"],
                user_id=row["user_id"],
                imported=row["origin"] == "import",
                through_turn=row["last_extracted_turn"],
            )
            for row in rows
        ]

    async def settle(
        self, connection: Connection, org_id: UUID, backfill_id: UUID, read: ReadSession
    ) -> None:
        await connection.execute(
            _SQL["settle"],
            org_id,
            backfill_id,
            read.session_id,
            read.through_turn,
            read.prompt_tokens,
            read.completion_tokens,
            read.cost_usd,
            read.seconds,
            read.before.figures(),
            read.after.figures(),
        )

    async def fail(
        self, org_id: UUID, backfill_id: UUID, session_id: UUID, code: str, max_attempts: int
    ) -> None:
        async with self._database.tenant(org_id) as connection:
            await connection.execute(
                _SQL["fail"], org_id, backfill_id, session_id, code, max_attempts
            )

    async def owners(
        self, org_id: UUID, backfill_id: UUID, *, switched: bool | None = None
    ) -> list[Owner]:
        """Whose sessions were read; of those that are switched, or are not."""
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_SQL["owners"], org_id, backfill_id, switched)
        return [Owner(org_id, row["agent_id"], row["user_id"]) for row in rows]

    async def put_changes(
        self, org_id: UUID, backfill_id: UUID, owner: Owner, changes: Sequence[Change]
    ) -> None:
        """In the place of those that were found before."""
        whose = (org_id, backfill_id, owner.agent_id, owner.user_id)
        rows = [change_row(one) for one in changes]
        async with self._database.tenant(org_id) as connection:
            await connection.execute(_SQL["forget_changes"], *whose)
            await connection.execute(_SQL["add_changes"], *whose, rows)

    async def compared(self, org_id: UUID, backfill_id: UUID, unchanged: int) -> None:
        async with self._database.tenant(org_id) as connection:
            await connection.execute(_SQL["compared"], org_id, backfill_id, unchanged)

    async def mark_sessions(
        self,
        connection: Connection,
        org_id: UUID,
        backfill_id: UUID,
        agent_id: UUID,
        *,
        switched: bool,
    ) -> None:
        await connection.execute(_SQL["mark_sessions"], org_id, backfill_id, agent_id, switched)

    async def switched(self, org_id: UUID, backfill_id: UUID, revert_until: datetime) -> None:
        async with self._database.tenant(org_id) as connection:
            await connection.execute(_SQL["switched"], org_id, backfill_id, revert_until)

    # --- what people ask for ---

    async def ask(self, org_id: UUID, backfill_id: UUID, state: State, actor: Actor) -> Backfill:
        """Waiting (again; what failed is tried again), switching or reverting.

        Raises ConflictError when it is in no state for it, or somebody works on it.
        """
        async with self._database.tenant(org_id) as connection:
            if state is State.REVERTING:
                if await connection.fetchval(_SQL["is_settled"], org_id, backfill_id):
                    raise ConflictError(
                        "What the backfill replaced is no longer kept (IBEX_BACKFILL_GRACE_DAYS)."
                    )
                newer = await connection.fetchval(_SQL["newer"], org_id, backfill_id)
                if newer is not None:
                    raise ConflictError(
                        f"Backfill {newer} was switched after this one for the same sessions.",
                        hint="Revert that one first.",
                    )
            asked = await connection.execute(
                _SQL["ask"], org_id, backfill_id, state, list(_MAY_FOLLOW[state])
            )
            if asked == "UPDATE 1":
                if state is State.WAITING:
                    await connection.execute(_SQL["retry"], org_id, backfill_id)
                await audit(connection, org_id, actor, state.value, "backfill", backfill_id)
        if asked != "UPDATE 1":
            await self._refuse(org_id, backfill_id)
        return await self.backfill(org_id, backfill_id)

    async def discard(self, org_id: UUID, backfill_id: UUID, actor: Actor) -> Backfill:
        """Its facts and differences go; its figures stay. Raises ConflictError once it is switched,
        and while somebody works on it."""
        async with self._database.tenant(org_id) as connection:
            if await connection.fetchval(_SQL["is_switched"], org_id, backfill_id):
                raise ConflictError(
                    "The backfill's facts are believed, of some agents at least.",
                    hint="Revert it first.",
                )
            states = list(_MAY_FOLLOW[State.DISCARDED])
            asked = await connection.execute(
                _SQL["ask"], org_id, backfill_id, State.DISCARDED, states
            )
            if asked == "UPDATE 1":
                await connection.execute(_SQL["discard"], org_id, backfill_id)
                await audit(connection, org_id, actor, "discarded", "backfill", backfill_id)
        if asked != "UPDATE 1":
            await self._refuse(org_id, backfill_id)
        return await self.backfill(org_id, backfill_id)

    async def difference(
        self, org_id: UUID, backfill_id: UUID, *, agent_id: UUID | None = None
    ) -> Difference:
        async with self._database.tenant(org_id) as connection:
            counts = await connection.fetch(_SQL["difference"], org_id, backfill_id, agent_id)
            figures = await connection.fetch(_SQL["quality"], org_id, backfill_id, agent_id)
            spent = await connection.fetch(_SQL["spent_before"], org_id, backfill_id, agent_id)
            errors = await connection.fetch(_SQL["errors"], org_id, backfill_id, agent_id)
        return Difference(
            agents=by_agent(counts),
            before=Quality.total(Quality.from_figures(row["before"]) for row in figures),
            after=Quality.total(Quality.from_figures(row["after"]) for row in figures),
            spent_before=Spent(*spent[0]),
            errors={row["code"]: row["sessions"] for row in errors},
        )

    async def changes(
        self,
        org_id: UUID,
        backfill_id: UUID,
        *,
        agent_id: UUID | None = None,
        kind: Kind | None = None,
        after: UUID | None = None,
        limit: int,
    ) -> list[ShownChange]:
        """With what the memories say: for those who may see content."""
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(
                _SQL["changes"], org_id, backfill_id, agent_id, kind, after, limit
            )
        return [shown_change(row) for row in rows]

    # --- when it can no longer be taken back ---

    async def expired(self, now: datetime) -> list[Due]:
        async with self._database.system() as connection:
            rows = await connection.fetch(_SQL["expired"], now)
        return [Due(row["org_id"], row["id"]) for row in rows]

    async def forget_replaced(self, due: Due, now: datetime) -> None:
        """What the switch replaced goes: reverting is over."""
        async with self._database.tenant(due.org_id) as connection:
            done = await connection.execute(_SQL["settled"], due.org_id, due.id, now)
            if done == "UPDATE 1":
                await connection.execute(_SQL["discard"], due.org_id, due.id)

    async def _refuse(self, org_id: UUID, backfill_id: UUID) -> None:
        found = await self.backfill(org_id, backfill_id)
        if found.worker_until is not None:
            raise ConflictError(
                "Somebody works on the backfill.", hint="Wait until that is done, then try again."
            )
        raise ConflictError(f"The backfill is {found.status}.", hint="See 'ibex backfill show'.")
