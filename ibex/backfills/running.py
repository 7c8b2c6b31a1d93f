"""The work on a backfill: read its sessions again, compare, switch, revert.

One worker at a time has it, by a lease that it renews; what is killed is taken up by the next one,
which goes on where that stopped. A session's facts and that it was read are one transaction; so are
an agent's exchange of facts and that its sessions are switched.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

from ibex.backfills.exchanging import Exchange
from ibex.backfills.model import (
    Backfill,
    ReadSession,
    State,
    UnreadSession,
)
from ibex.backfills.quality import Quality
from ibex.embedding import EmbedderClient
from ibex.errors import ConflictError, DependencyError, IbexError, LeaseLostError
from ibex.extraction.completion import Meter
from ibex.extraction.extract import Extraction, extract_facts
from ibex.extraction.prompts import Prompt, prompt_named
from ibex.extraction.reading import turn_text
from ibex.extraction.spending import spent
from ibex.extraction.transcript import TurnText
from ibex.leases import renewed
from ibex.memory.model import Provenance
from ibex.memory.writing import MemoryWriter, redact_facts
from ibex.settings import Settings
from ibex.stores import exchange
from ibex.stores.backfills import BackfillStore
from ibex.stores.hot import HotCache
from ibex.stores.memories_write import Owner
from ibex.stores.model_slots import ModelSlots
from ibex.stores.postgres import Database
from ibex.stores.turns import TurnReader
from ibex.stores.usage import Purpose, UsageStore

if TYPE_CHECKING:
    from ibex.extraction.llm import ModelClient

LEASE: Final = 60.0  # seconds
_BATCH: Final = 64  # sessions that are asked for at once
_OUTAGES: Final = 4  # in a row, after which a run ends; the next one goes on
_FIRST_WAIT: Final = 1.0  # seconds after the first of them; doubling

#: What is done, how much of it, and of how much.
Watch = Callable[[str, int, int], None]
_log = logging.getLogger("ibex.backfill")


@dataclass(frozen=True)
class Tools:
    """What a worker works with."""

    settings: Settings
    database: Database
    embedder: EmbedderClient
    hot: HotCache
    turns: TurnReader
    slots: ModelSlots


class BackfillRunner:
    def __init__(
        self,
        tools: Tools,
        worker: str,
        *,
        watch: Watch = lambda what, done, total: None,
        lease: float = LEASE,
        first_wait: float = _FIRST_WAIT,
    ) -> None:
        """`worker`: the run's id, which the memories it makes carry."""
        self._tools = tools
        self._worker = worker
        self._watch = watch
        self._lease = lease
        self._first_wait = first_wait
        self._store = BackfillStore(tools.database)
        self._writer = MemoryWriter(tools.database, tools.embedder, tools.settings)
        self._exchange = Exchange(self._writer, tools.settings.embedding_model)

    async def run(
        self, org_id: UUID, backfill_id: UUID, *, on_error: State = State.WAITING
    ) -> Backfill:
        """Do what its state asks for, to the end. When it is interrupted or fails while sessions
        are read, it is `on_error` afterwards; a switch stays asked for.

        Raises BackfillNotFoundError, ConflictError when somebody else works on it, LeaseLostError,
        and what it fails of: DependencyError and the like.
        """
        state = await self._store.take(org_id, backfill_id, self._worker, self._lease)
        reading = state not in (State.SWITCHING, State.REVERTING)
        code: str | None = "interrupted"
        after = on_error if reading else state
        try:
            async with renewed(
                partial(self._store.renew, org_id, backfill_id, self._worker, self._lease),
                self._lease,
                _log,
            ):
                backfill = await self._store.backfill(org_id, backfill_id)
                if reading:
                    await self._read(org_id, backfill)
                    await self._compare(org_id, backfill)
                    after = State.READY
                else:
                    await self._switch(org_id, backfill, switch=state is State.SWITCHING)
                    after = State.SWITCHED if state is State.SWITCHING else State.READY
                code = None
        except Exception as error:
            code = error.code if isinstance(error, IbexError) else "internal_error"
            raise
        finally:
            try:
                await asyncio.shield(
                    self._store.leave(org_id, backfill_id, self._worker, after, code)
                )
            except (IbexError, asyncpg.PostgresError) as error:
                _log.warning("the lease ends by itself, not given back (%s)", type(error).__name__)
        return await self._store.backfill(org_id, backfill_id)

    async def _read(self, org_id: UUID, backfill: Backfill) -> None:
        # Half a second to import.
        from ibex.extraction.llm import ModelClient  # noqa: PLC0415

        settings = self._tools.settings
        prompt = prompt_named(settings, backfill.wish.prompt)
        if prompt.version != backfill.wish.prompt_version:
            raise ConflictError(
                "The prompt is not the one that the backfill was made for.",
                hint="Make a new backfill, or give the prompt its words back.",
            )
        llm = ModelClient.of(settings, self._tools.slots, backfill.wish.model)
        outages, read = 0, backfill.done + backfill.dead
        try:
            self._watch("sessions", read, backfill.sessions)
            while sessions := await self._store.unread(org_id, backfill.id, _BATCH):
                gate = asyncio.Semaphore(settings.extraction_concurrency)

                async def guarded(session: UnreadSession, gate: asyncio.Semaphore = gate) -> None:
                    async with gate:
                        await self._read_one(org_id, backfill.id, session, llm, prompt)

                    nonlocal read
                    read += 1
                    self._watch("sessions", min(read, backfill.sessions), backfill.sessions)

                results = await asyncio.gather(*map(guarded, sessions), return_exceptions=True)
                away = await self._failures(org_id, backfill.id, sessions, results)
                outages = outages + 1 if away and None not in results else 0
                if away and outages == _OUTAGES:
                    raise away
                if away:
                    await asyncio.sleep(self._first_wait * 2 ** max(0, outages - 1))
        finally:
            await llm.close()

    async def _failures(
        self,
        org_id: UUID,
        backfill_id: UUID,
        sessions: list[UnreadSession],
        results: list[BaseException | None],
    ) -> DependencyError | None:
        """Count the tries that failed of the session itself; what was away, if something was."""
        away = None
        for session, result in zip(sessions, results, strict=True):
            if result is None:
                continue
            if isinstance(result, LeaseLostError) or not isinstance(result, Exception):
                raise result
            if isinstance(result, DependencyError):
                away = result
                continue
            code = result.code if isinstance(result, IbexError) else "internal_error"
            _log.warning("session %s was not read (%s)", session.session_id, code)
            await self._store.fail(
                org_id,
                backfill_id,
                session.session_id,
                code,
                self._tools.settings.extraction_max_attempts,
            )
        return away

    async def _read_one(
        self,
        org_id: UUID,
        backfill_id: UUID,
        session: UnreadSession,
        llm: "ModelClient",
        prompt: Prompt,
    ) -> None:
        started = time.monotonic()
        owner = Owner(org_id, session.agent_id, session.user_id)
        stored = await self._tools.turns.turns(org_id, session.session_id)
        turns = [one for one in stored if one.number <= session.through_turn]
        texts = [turn_text(turn) for turn in turns]
        said_at = {turn.number: turn.created_at for turn in turns}
        extraction, cost = await self._extracted(owner, session, texts, llm, prompt)
        facts = await self._writer.state(
            owner,
            redact_facts(extraction.facts, said_at),
            Provenance(
                session_id=session.session_id,
                extractor=extraction.extractor,
                prompt_version=extraction.prompt_version,
                model=extraction.model,
                run_id=self._worker,
            ),
            said_at,
            datetime.now(UTC),
        )
        after = Quality.of(
            [one.fact.content for one in facts],
            [one.embedding for one in facts],
            texts,
            prompt.system,
        )
        model = self._tools.settings.embedding_model
        async with self._tools.database.tenant(org_id) as connection:
            await self._store.hold(connection, org_id, backfill_id, self._worker)
            before = Quality.of(
                *await exchange.said(connection, org_id, session.session_id, session.through_turn),
                texts,
                prompt.system,
            )
            await exchange.forget_facts(connection, org_id, backfill_id, session.session_id)
            await exchange.put_facts(connection, owner, backfill_id, facts, model, memories={})
            await self._store.settle(
                connection,
                org_id,
                backfill_id,
                ReadSession(
                    session_id=session.session_id,
                    through_turn=session.through_turn,
                    prompt_tokens=extraction.prompt_tokens,
                    completion_tokens=extraction.completion_tokens,
                    cost_usd=cost,
                    seconds=time.monotonic() - started,
                    before=before,
                    after=after,
                ),
            )

    async def _extracted(
        self,
        owner: Owner,
        session: UnreadSession,
        turns: list[TurnText],
        llm: "ModelClient",
        prompt: Prompt,
    ) -> tuple[Extraction, Decimal | None]:
        """What the model finds, and its price; a try that fails is in the books as well."""
        meter, succeeded, entry = Meter(), False, None
        try:
            extraction = await extract_facts(
                turns, llm, prompt, imported=session.imported, meter=meter
            )
            succeeded = True
        finally:
            entry = spent(
                meter,
                self._tools.settings,
                Purpose.BACKFILL,
                prompt.version,
                model=llm.model,
                run_id=self._worker,
                org_id=owner.org_id,
                agent_id=owner.agent_id,
                session_id=session.session_id,
                succeeded=succeeded,
            )
            if entry is not None:
                await UsageStore(self._tools.database).add(entry)
        return extraction, entry.cost_usd if entry else None

    async def _compare(self, org_id: UUID, backfill: Backfill) -> None:
        """Switch each agent and user, look, and take it back."""
        owners = await self._store.owners(org_id, backfill.id)
        unchanged = 0
        for number, owner in enumerate(owners):
            self._watch("comparing", number, len(owners))
            async with self._tools.database.rehearsal(org_id) as connection:
                found = await self._exchange.run(
                    connection, owner, backfill.id, self._worker, datetime.now(UTC), switch=True
                )
            await self._store.put_changes(org_id, backfill.id, owner, found.changes)
            unchanged += found.unchanged
        await self._store.compared(org_id, backfill.id, unchanged)
        self._watch("comparing", len(owners), len(owners))

    async def _switch(self, org_id: UUID, backfill: Backfill, *, switch: bool) -> None:
        """One agent after the other, each with all its users in one transaction."""
        owners = await self._store.owners(org_id, backfill.id, switched=not switch)
        what = "switching" if switch else "reverting"
        done = 0
        for agent_id, group in groupby(owners, key=lambda owner: owner.agent_id):
            of_agent = list(group)
            async with self._tools.database.tenant(org_id) as connection:
                await self._store.hold(connection, org_id, backfill.id, self._worker)
                for owner in of_agent:
                    self._watch(what, done, len(owners))
                    await self._exchange.run(
                        connection,
                        owner,
                        backfill.id,
                        self._worker,
                        datetime.now(UTC),
                        switch=switch,
                    )
                    done += 1
                await self._store.mark_sessions(
                    connection, org_id, backfill.id, agent_id, switched=switch
                )
            for owner in of_agent:
                await self._refresh(owner)
        if switch:
            grace = timedelta(days=self._tools.settings.backfill_grace_days)
            await self._store.switched(org_id, backfill.id, datetime.now(UTC) + grace)
        self._watch(what, len(owners), len(owners))

    async def _refresh(self, owner: Owner) -> None:
        try:
            await self._tools.hot.refresh(owner.org_id, owner.agent_id, owner.user_id)
        except IbexError as error:
            _log.warning("a hot list is stale (%s)", error.code)
