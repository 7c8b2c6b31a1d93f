"""Whatever happens to sessions and runs, in any order: every session is in one state, nothing is
lost and nothing counts twice. Hypothesis makes the orders up; the servers are real."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ibex.embedding import EmbedderClient
from ibex.errors import ConflictError, LeaseLostError
from ibex.ids import new_id
from ibex.memory.model import Category, Fact, Provenance, Source
from ibex.memory.writing import MemoryWriter
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.jobs import ClaimedSession, JobStore
from ibex.stores.pipeline import PipelineReader
from ibex.stores.postgres import Database
from ibex.stores.sessions import NewTurn, SessionStore
from tests.integration.recorded import START

T = TypeVar("T")
# Long, so that only the test's own clock passes them, on a slow machine too.
LEASE = 3_000.0  # seconds
BACKOFF = 10_000.0
LATER = 10_000.0
PATIENCE = 1e6


@dataclass
class Known:
    """What must be true of a session."""

    id: UUID
    number: int
    turns: int = 0
    completed: bool = False
    status: str | None = None  # None: never completed, so not accepted yet
    attempts: int = 0
    extracted: int = 0
    claim: ClaimedSession | None = None  # that holds it
    due: bool = True  # may a run take it

    def waits(self, *, due: bool, attempts: int = 0) -> None:
        self.status, self.due, self.attempts, self.claim = "waiting", due, attempts, None

    def failed(self, tries: int, *, due: bool) -> None:
        assert self.claim is not None
        if self.attempts < tries:
            self.waits(due=due, attempts=self.attempts)
        elif self.turns > self.claim.turn_count:
            self.waits(due=due)
        else:
            self.status, self.claim = "dead", None

    def held_by(self, job: ClaimedSession) -> bool:
        return self.status == "leased" and self.claim is job


@dataclass(frozen=True)
class Servers:
    """One event loop and its connections, for all examples."""

    loop: asyncio.Runner
    database: Database
    embedder: EmbedderClient
    settings: Settings


class Accounting(RuleBasedStateMachine):
    sessions: Bundle[UUID] = Bundle("sessions")
    claims: Bundle[ClaimedSession] = Bundle("claims")

    def __init__(self, servers: Servers) -> None:
        super().__init__()
        self.loop, self.database = servers.loop, servers.database
        self.jobs = JobStore(self.database)
        self.store = SessionStore(self.database)
        self.writer = MemoryWriter(self.database, servers.embedder, servers.settings)
        self.known: dict[UUID, Known] = {}
        self.runs = 0

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(work)

    @initialize(target=sessions, tries=st.integers(1, 3))
    def begin(self, tries: int) -> MultipleResults[UUID]:
        self.tries = tries
        identity = IdentityStore(self.database)
        self.org_id = self.wait(identity.create_organization(f"org-{new_id()}"))
        self.agent_id = self.wait(identity.create_agent(self.org_id, "assistant"))
        return multiple(*(self.a_session_is_completed() for _ in range(3)))

    def teardown(self) -> None:
        self.wait(self._erase())

    async def _erase(self) -> None:
        async with self.database.tenant(self.org_id) as connection:
            await connection.execute(
                "DELETE FROM ibex_core.sessions WHERE org_id = $1", self.org_id
            )

    # --- what applications do ---

    def a_session_is_completed(self) -> UUID:
        opened = self.wait(self.store.open_session(self.org_id, self.agent_id, None, None))
        self.known[opened.id] = Known(opened.id, len(self.known))
        self.it_goes_on(opened.id, over=True)
        return opened.id

    @rule(session=sessions, over=st.booleans())
    def it_goes_on(self, session: UUID, over: bool) -> None:
        known = self.known[session]
        known.turns, known.completed = known.turns + 1, False
        turn = NewTurn(
            org_id=self.org_id,
            session_id=session,
            request_id=f"{session}-{known.turns}",
            messages=[{"role": "user", "content": f"Words number {known.turns}."}],
            response={"role": "assistant", "content": "Noted."},
            model="sandbox",
        )
        self.wait(self.store.record_turn(turn))
        if over:
            self.complete(session)

    @rule(session=sessions)
    def complete(self, session: UUID) -> None:
        known = self.known[session]
        self.wait(self.store.complete(self.org_id, session))
        new = not known.completed and known.turns > known.extracted
        if new and known.status in (None, "done", "dead"):
            known.waits(due=True)
        known.completed = True

    # --- what runs do, and what becomes of them ---

    @rule(target=claims, claimers=st.integers(1, 2))
    def claim(self, claimers: int) -> MultipleResults[ClaimedSession]:
        """Two at once share nothing. They skip what the other one looks at, so one more looks after
        them; all as one run, since who got what is chance, and hypothesis repeats its orders."""
        for known in self.known.values():
            if known.status == "leased" and known.due and known.attempts >= self.tries:
                known.failed(self.tries, due=True)
        may = {one.id for one in self.known.values() if one.completed and _claimable(one)}
        self.runs += 1
        owner = f"run-{self.runs}"

        async def claim() -> list[ClaimedSession]:
            one = partial(self.jobs.claim, owner, 100, LEASE, max_attempts=self.tries)
            claimed = await asyncio.gather(*(one() for _ in range(claimers)))
            return [job for jobs in (*claimed, await one()) for job in jobs]

        got = self.wait(claim())
        assert len({job.session_id for job in got}) == len(got), "a session was claimed twice"
        assert {job.session_id for job in got} == may
        for job in got:
            known = self.known[job.session_id]
            known.status, known.due, known.claim = "leased", False, job
            known.attempts += 1
            assert (job.attempt, job.turn_count) == (known.attempts, known.turns)
            assert job.last_extracted_turn == known.extracted
        return multiple(*sorted(got, key=lambda job: self.known[job.session_id].number))

    @rule(job=claims)
    def process(self, job: ClaimedSession) -> None:
        """Also by a run that has lost its lease, and a second time: that adds nothing."""
        known = self.known[job.session_id]
        work = self.writer.write(
            self.org_id,
            self.agent_id,
            None,
            [_fact(known, turn) for turn in range(job.last_extracted_turn + 1, job.turn_count + 1)],
            Provenance(job.session_id, "facts/1", "p", "m", job.owner),
            dict.fromkeys(range(1, job.turn_count + 1), START),
            settle=partial(self.jobs.settle, job=job, through_turn=job.turn_count),
        )
        if not known.held_by(job):
            with pytest.raises(LeaseLostError):
                self.wait(work)
            return
        self.wait(work)
        known.extracted = job.turn_count
        if known.completed and known.turns > known.extracted:
            known.waits(due=True)
        else:
            known.status, known.claim = "done", None

    @rule(job=claims)
    def fail(self, job: ClaimedSession) -> None:
        known = self.known[job.session_id]
        work = self.jobs.fail(job, "malformed_extraction", self.tries, BACKOFF)
        if not known.held_by(job):
            with pytest.raises(LeaseLostError):
                self.wait(work)
            return
        state = self.wait(work)
        known.failed(self.tries, due=False)
        assert state == known.status

    @rule(job=consumes(claims))
    def defer(self, job: ClaimedSession) -> None:
        """A part is away: the try does not count."""
        known = self.known[job.session_id]
        work = self.jobs.defer(
            job, "provider_unavailable", patience=PATIENCE, backoff=BACKOFF, at_least=LEASE
        )
        done = self.wait(work)
        assert done == known.held_by(job)
        if done:
            known.waits(due=False, attempts=known.attempts - 1)

    @rule(job=claims)
    def the_run_ends(self, job: ClaimedSession) -> None:
        held = [one for one in self.known.values() if one.claim and one.claim.owner == job.owner]
        given_back = self.wait(self.jobs.release(job.owner, "run_ended", self.tries, BACKOFF))
        assert given_back == len(held)
        for known in held:
            known.failed(self.tries, due=False)

    @rule(job=claims)
    def renew(self, job: ClaimedSession) -> None:
        self.wait(self.jobs.renew(job.owner, LEASE))
        for known in self.known.values():
            if known.claim and known.claim.owner == job.owner:
                known.due = False

    @precondition(lambda self: any(not one.due for one in self.known.values()))
    @rule()
    def time_passes(self) -> None:
        """Waits are over, and so is the lease of every run that was killed."""
        self.wait(self._shift())
        for known in self.known.values():
            known.due = True

    async def _shift(self) -> None:
        async with self.database.tenant(self.org_id) as connection:
            await connection.execute(
                "UPDATE ibex_core.extraction_jobs SET available_at = available_at - $2::interval, "
                "lease_until = lease_until - $2::interval WHERE org_id = $1",
                self.org_id,
                timedelta(seconds=LATER),
            )

    # --- what operators do ---

    @precondition(lambda self: any(one.status == "dead" for one in self.known.values()))
    @rule()
    def requeue(self) -> None:
        dead = [one for one in self.known.values() if one.status == "dead"]
        assert self.wait(self.jobs.requeue(self.org_id)) == len(dead)
        for known in dead:
            known.waits(due=True)

    @precondition(
        lambda self: any(one.status in ("dead", "waiting") for one in self.known.values())
    )
    @rule(session=sessions)
    def retry(self, session: UUID) -> None:
        known = self.known[session]
        work = self.jobs.retry(self.org_id, session)
        if not known.completed or known.status not in ("waiting", "dead"):
            with pytest.raises(ConflictError):
                self.wait(work)
            return
        self.wait(work)
        known.waits(due=True)

    # --- what holds all the time ---

    @invariant()
    def every_session_is_where_it_must_be(self) -> None:
        if not self.known:
            return
        found = self.wait(self._found())
        assert found == {
            one.id: (
                one.status,
                one.attempts if one.status in ("waiting", "leased") else found[one.id][1],
                one.extracted,
                one.claim.owner if one.claim else None,
                # Each turn up to the watermark was written once, and no other.
                list(range(1, one.extracted + 1)),
            )
            for one in self.known.values()
        }
        counts = self.wait(PipelineReader(self.database).counts(self.org_id))
        accepted = [one for one in self.known.values() if one.status]
        assert counts.accepted == len(accepted)
        assert counts.done == sum(one.status == "done" for one in accepted)
        assert counts.dead == sum(one.status == "dead" for one in accepted)
        assert counts.waiting == sum(one.status == "waiting" for one in accepted)
        assert counts.leased == sum(one.status == "leased" for one in accepted)
        for one in self.known.values():
            assert one.status != "done" or not one.completed or one.extracted == one.turns

    async def _found(self) -> dict[UUID, tuple[object, ...]]:
        async with self.database.tenant(self.org_id) as connection:
            rows = await connection.fetch(
                """
                SELECT s.id, j.status, j.attempts, s.last_extracted_turn, j.lease_owner,
                  ARRAY(
                    SELECT unnest(t.turns) FROM ibex_core.memory_statements t
                    WHERE t.org_id = s.org_id AND t.session_id = s.id ORDER BY 1
                  ) AS learned
                FROM ibex_core.sessions s
                LEFT JOIN ibex_core.extraction_jobs j ON j.org_id = s.org_id AND j.session_id = s.id
                WHERE s.org_id = $1
                """,
                self.org_id,
            )
        return {row["id"]: tuple(row)[1:] for row in rows}


def _claimable(known: Known) -> bool:
    return known.due and known.status in ("waiting", "leased")


def _fact(known: Known, turn: int) -> Fact:
    words = f"Fact number {known.number}-{turn}."
    return Fact(Category.DECLARATIVE, words, 0.9, Source.USER, (turn,))


@pytest.mark.usefixtures("embedder_server")
def test_every_session_is_accounted_for_whatever_happens(settings: Settings) -> None:
    with asyncio.Runner() as loop:
        database = loop.run(Database.connect(settings.app_dsn, name="test", max_size=3))
        embedder = EmbedderClient(settings.embedder_endpoint, timeout=30)
        servers = Servers(loop, database, embedder, settings)
        try:
            run_state_machine_as_test(
                partial(Accounting, servers),  # type: ignore[arg-type]
                settings=examples(
                    max_examples=30,
                    stateful_step_count=30,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                    database=None,
                ),
            )
        finally:
            loop.run(embedder.close())
            loop.run(database.close())
