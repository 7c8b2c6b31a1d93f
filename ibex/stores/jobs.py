"""The pipeline's work list: one job a session, claimed with a lease.

    waiting ─claim→ leased ─settle→ done            a later completion makes it waiting again
       ↑                ├──fail──→ waiting | dead   dead after the last try; requeue starts anew
       ↑                └──defer─→ waiting          a part is away: the try does not count
       └── lease over: claimable again, as if it were waiting

Every try is counted when it is claimed, and that is committed before any model is called. Claiming
and counting go across organizations and see ids only; what touches a session runs as its tenant.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from ibex.errors import ConflictError, LeaseLostError, SessionNotFoundError
from ibex.stores.postgres import Connection, Database
from ibex.stores.queries import load

_SQL = load("jobs")
MAX_BACKOFF = 3600.0  # seconds
MAX_DEFERRAL = 300.0  # seconds: soon after an outage nobody waits any more
_STATES = ("waiting", "leased", "done", "dead")


@dataclass(frozen=True)
class ClaimedSession:
    """A session that `owner` may extract until its lease ends."""

    org_id: UUID
    session_id: UUID
    agent_id: UUID
    user_id: UUID | None
    last_extracted_turn: int
    turn_count: int  # when it was claimed
    owner: str  # the run's id
    attempt: int  # from 1
    imported: bool  # by `ibex import`: nobody was there
    deferrals: int = 0  # times in a row that it was deferred
    last_error: str | None = None  # the code of the try before


@dataclass(frozen=True)
class _Claim:
    """What of a claim says whether it still holds."""

    org_id: UUID
    session_id: UUID
    owner: str
    attempt: int


@dataclass(frozen=True)
class WaitingWork:
    claimable: int  # sessions to extract
    unarchived: int  # sessions to archive


@dataclass(frozen=True)
class Backlog:
    """Of all organizations."""

    jobs: Mapping[str, int]  # by state
    oldest_waiting: float  # seconds since the oldest waiting job became claimable; 0: none has


def backoff_delay(base: float, attempt: int, jitter: float) -> float:
    """Seconds to wait after try number `attempt` failed: doubling from `base`, of which a half is
    sure and a half is drawn (`jitter` in [0, 1)), so that sessions failed together return apart.

    Source: "equal jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return min(MAX_BACKOFF, base * 2.0 ** (attempt - 1)) * (0.5 + jitter / 2)


class JobStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def waiting_work(self) -> WaitingWork:
        async with self._database.system() as connection:
            (row,) = await connection.fetch(_SQL["waiting_work"])
        return WaitingWork(row["claimable"], row["unarchived"])

    async def claimable(self) -> int:
        return (await self.waiting_work()).claimable

    async def claim(
        self, owner: str, limit: int, lease: float, *, max_attempts: int = 3
    ) -> list[ClaimedSession]:
        """Up to `limit` sessions for `owner`, for `lease` seconds; committed on return.

        A session whose last try ended with an expired lease becomes a dead letter.
        """
        async with self._database.system() as connection:
            expired = await connection.fetch(_SQL["expired"], max_attempts)
            claims = [_Claim(**row) for row in expired]
            await _give_back(connection, claims, "lease_expired", max_attempts, 0.0)
            rows = await connection.fetch(_SQL["claim"], owner, limit, timedelta(seconds=lease))
        return [
            ClaimedSession(
                org_id=row["org_id"],
                session_id=row["session_id"],
                agent_id=row["agent_id"],
                user_id=row["user_id"],
                last_extracted_turn=row["last_extracted_turn"],
                turn_count=row["turn_count"],
                owner=owner,
                attempt=row["attempts"],
                imported=row["origin"] == "import",
                deferrals=row["deferrals"],
                last_error=row["last_error"],
            )
            for row in rows
        ]

    async def renew(self, owner: str, lease: float) -> None:
        """All leases of `owner` that nobody else has claimed, for `lease` seconds from now."""
        async with self._database.system() as connection:
            await connection.execute(_SQL["renew"], owner, timedelta(seconds=lease))

    async def holds_lease(self, owner: str) -> bool:
        async with self._database.system() as connection:
            held: bool = await connection.fetchval(_SQL["holds_lease"], owner)
        return held

    async def settle(self, connection: Connection, job: ClaimedSession, through_turn: int) -> None:
        """`finish` inside the caller's transaction, as the tenant: what else it writes and the
        session's watermark become true together. Raises LeaseLostError."""
        session = await connection.fetchrow(_SQL["lock_session"], job.org_id, job.session_id)
        if session is None:
            raise LeaseLostError("The session was erased.")
        more = session["status"] == "completed" and session["turn_count"] > through_turn
        done = await connection.execute(
            _SQL["settle"], job.org_id, job.session_id, job.owner, job.attempt, more
        )
        if done != "UPDATE 1":
            raise LeaseLostError
        await connection.execute(_SQL["move_extracted"], job.org_id, job.session_id, through_turn)

    async def finish(self, job: ClaimedSession, through_turn: int) -> None:
        """The session is extracted through this turn. Raises LeaseLostError."""
        async with self._database.tenant(job.org_id) as connection:
            await self.settle(connection, job, through_turn)

    async def fail(self, job: ClaimedSession, code: str, max_attempts: int, backoff: float) -> str:
        """Record an error's code; the session waits, or is `dead` after its last try.

        `backoff` in seconds after the first try. Returns the new state. Raises LeaseLostError.
        """
        async with self._database.tenant(job.org_id) as connection:
            states = await _give_back(connection, [job], code, max_attempts, backoff)
        if not states:
            raise LeaseLostError
        return states[0]

    async def defer(
        self,
        job: ClaimedSession,
        code: str,
        *,
        patience: float,
        backoff: float,
        at_least: float = 0.0,
    ) -> bool:
        """Let the session wait without counting the try: a part it needs is away.

        `backoff` in seconds after the first time, doubling up to MAX_DEFERRAL; `at_least` is what
        that part itself asked for. False, with nothing done: it has waited for longer than
        `patience` seconds, or the lease has passed on, which `fail` tells.
        """
        jitter = secrets.randbelow(1000) / 1000
        delay = min(MAX_DEFERRAL, backoff_delay(backoff, job.deferrals + 1, jitter))
        async with self._database.tenant(job.org_id) as connection:
            done = await connection.execute(
                _SQL["defer"],
                job.org_id,
                job.session_id,
                job.owner,
                job.attempt,
                code,
                timedelta(seconds=max(delay, min(at_least, MAX_BACKOFF))),
                timedelta(seconds=patience),
            )
        return _affected(done) == 1

    async def release(self, owner: str, code: str, max_attempts: int, backoff: float) -> int:
        """Give back what a run that ends still holds, each a failed try; their number."""
        async with self._database.system() as connection:
            held = [_Claim(**row) for row in await connection.fetch(_SQL["held"], owner)]
            return len(await _give_back(connection, held, code, max_attempts, backoff))

    async def requeue(
        self,
        org_id: UUID,
        *,
        agent_id: UUID | None = None,
        session_id: UUID | None = None,
        code: str | None = None,
    ) -> int:
        """Make dead letters wait again, with all their tries: every one of the organization, or
        those of an agent, of a session, with an error's code. Their number."""
        async with self._database.tenant(org_id) as connection:
            done = await connection.execute(_SQL["requeue"], org_id, agent_id, session_id, code)
        return _affected(done)

    async def retry(self, org_id: UUID, session_id: UUID) -> None:
        """The next run takes the session, with all its tries; again changes nothing.

        Raises SessionNotFoundError, ConflictError when there is nothing to try.
        """
        async with self._database.tenant(org_id) as connection:
            row = await connection.fetchrow(_SQL["job_status"], org_id, session_id)
            if row is None:
                raise SessionNotFoundError
            if row["status"] != "completed":
                raise ConflictError(
                    "The session is not complete.",
                    hint="Complete it, and what is new in it is extracted.",
                )
            done = await connection.execute(_SQL["retry"], org_id, session_id)
            if not _affected(done):
                raise _nothing_to_retry(row["job"])

    async def counts(self, org_id: UUID | None = None) -> Mapping[str, int]:
        """Jobs by state, of one organization or of all. States without a job are 0."""
        async with self._database.system() as connection:
            rows = await connection.fetch(_SQL["counts"], org_id)
        counts = dict.fromkeys(_STATES, 0)
        return counts | {row["status"]: row["jobs"] for row in rows}

    async def backlog(self) -> Backlog:
        async with self._database.system() as connection:
            rows = await connection.fetch(_SQL["backlog"])
        counts = dict.fromkeys(_STATES, 0) | {row["status"]: row["jobs"] for row in rows}
        ages = {row["status"]: row["age"] for row in rows}
        return Backlog(counts, max(float(ages.get("waiting") or 0), 0.0))


async def _give_back(
    connection: Connection,
    claims: Sequence[_Claim | ClaimedSession],
    code: str,
    max_attempts: int,
    backoff: float,
) -> list[str]:
    """The new states of those claims that still held."""
    if not claims:
        return []
    delays = [
        timedelta(seconds=backoff_delay(backoff, claim.attempt, secrets.randbelow(1000) / 1000))
        for claim in claims
    ]
    rows = await connection.fetch(
        _SQL["give_back"],
        [claim.org_id for claim in claims],
        [claim.session_id for claim in claims],
        [claim.owner for claim in claims],
        [claim.attempt for claim in claims],
        delays,
        max_attempts,
        code,
    )
    return [row["status"] for row in rows]


def _nothing_to_retry(job: str | None) -> ConflictError:
    if job == "leased":
        return ConflictError(
            "A run is extracting the session at this moment.",
            hint="'ibex pipeline status --session' shows what becomes of it.",
        )
    return ConflictError(
        "Every turn of the session is extracted.", hint="There is nothing to try again."
    )


def _affected(status: str) -> int:
    """Rows of a command's status, e.g. "UPDATE 3"."""
    return int(status.rsplit(" ", 1)[1])
