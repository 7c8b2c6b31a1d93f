"""`ibex pipeline …`: what waits to be learned from, what was given up, and another try."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import orjson
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ibex.cli.admin import Json, Org, print_values
from ibex.errors import InvalidRequestError
from ibex.settings import load_settings
from ibex.stores.identity import IdentityStore
from ibex.stores.jobs import JobStore
from ibex.stores.management import ManagementStore
from ibex.stores.pipeline import DeadLetters, JobCounts, JobRecord, PipelineReader, RunRecord
from ibex.stores.postgres import Database

pipeline_app = typer.Typer(help="What the pipeline does with sessions.", no_args_is_help=True)

T = TypeVar("T")
Agent = Annotated[str | None, typer.Option(help="One agent's, by id or name.")]
Session = Annotated[str, typer.Argument(help="The session's id, or the application's own.")]
_SHOWN = 20  # dead letters
_INTERVAL = 2.0  # seconds


@dataclass(frozen=True)
class _Status:
    counts: JobCounts
    codes: list[DeadLetters]
    dead: list[JobRecord]  # the latest 20
    runs: list[RunRecord]

    def as_dict(self) -> dict[str, Any]:
        return {
            "accepted": self.counts.accepted,
            **asdict(self.counts),
            "dead_letters": [asdict(one) for one in self.codes],
            "latest_dead": [asdict(one) for one in self.dead],
            "runs": [asdict(one) for one in self.runs],
        }


@pipeline_app.command("status")
def status(
    org: Org = "demo",
    agent: Agent = None,
    session: Annotated[
        str | None, typer.Option(help="Only this one: its id, or the application's own.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
    json: Json = False,
) -> None:
    """Show how many sessions wait, are at work, done and given up; dead letters; the last runs."""
    if watch and json:
        raise InvalidRequestError(
            "--watch shows a table: leave --json out, and call it repeatedly."
        )

    async def one(stores: "_Stores", org_id: UUID, agent_id: UUID | None) -> dict[str, Any]:
        session_id = await stores.management.find_session(org_id, session or "", agent_id)
        job = await stores.pipeline.job(org_id, session_id)
        if job is None:
            return {"session_id": session_id, "status": "active"}
        return asdict(job)

    async def every(stores: "_Stores", org_id: UUID, agent_id: UUID | None) -> _Status:
        who = (org_id, agent_id)
        return _Status(
            await stores.pipeline.counts(*who),
            await stores.pipeline.dead_by_code(*who),
            await stores.pipeline.dead_letters(*who, limit=_SHOWN),
            await stores.pipeline.runs(*who),
        )

    async def look(stores: "_Stores") -> Any:
        org_id, agent_id = await stores.place(org, agent)
        find = one if session else every
        if not watch:
            return await find(stores, org_id, agent_id)
        with Live(console=Console(), auto_refresh=False) as live:
            while True:
                live.update(_rendered(await find(stores, org_id, agent_id)), refresh=True)
                await asyncio.sleep(_INTERVAL)

    with suppress(KeyboardInterrupt):
        found = _run(look)
        if json:
            value = found.as_dict() if isinstance(found, _Status) else found
            sys.stdout.write(orjson.dumps(value, default=str).decode() + "\n")
        else:
            Console().print(_rendered(found))


@pipeline_app.command("requeue")
def requeue(
    org: Org = "demo",
    agent: Agent = None,
    session: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    code: Annotated[
        str | None, typer.Option(help="Those with this error, e.g. provider_unavailable.")
    ] = None,
    json: Json = False,
) -> None:
    """Let dead letters wait again, each with all its tries; all of the organization without an
    option."""

    async def work(stores: "_Stores") -> int:
        org_id, agent_id = await stores.place(org, agent)
        session_id = None
        if session:
            session_id = await stores.management.find_session(org_id, session, agent_id)
        return await stores.jobs.requeue(
            org_id, agent_id=agent_id, session_id=session_id, code=code
        )

    print_values({"requeued": _run(work)}, json)


@pipeline_app.command("retry")
def retry(session: Session, org: Org = "demo", json: Json = False) -> None:
    """Let one session be tried now: a dead letter, or one that waits for another try."""

    async def work(stores: "_Stores") -> UUID:
        org_id, _ = await stores.place(org, None)
        session_id = await stores.management.find_session(org_id, session, None)
        await stores.jobs.retry(org_id, session_id)
        return session_id

    print_values({"session_id": _run(work), "status": "waiting"}, json)


@dataclass(frozen=True)
class _Stores:
    identity: IdentityStore
    management: ManagementStore
    jobs: JobStore
    pipeline: PipelineReader

    async def place(self, org: str, agent: str | None) -> tuple[UUID, UUID | None]:
        org_id = await self.identity.organization(org)
        return org_id, (await self.identity.agent(org_id, agent)).id if agent else None


def _run(work: Callable[[_Stores], Awaitable[T]]) -> T:
    async def run() -> T:
        database = await Database.connect(load_settings().app_dsn, name="cli", max_size=1)
        try:
            return await work(
                _Stores(
                    IdentityStore(database),
                    ManagementStore(database),
                    JobStore(database),
                    PipelineReader(database),
                )
            )
        finally:
            await database.close()

    return asyncio.run(run())


def _rendered(found: "_Status | dict[str, Any]") -> Group:
    now = datetime.now(UTC)
    return _overview(found, now) if isinstance(found, _Status) else _one(found, now)


def _overview(found: _Status, now: datetime) -> Group:
    counts = found.counts
    parts: list[Table | Text] = [
        Text(
            f"{counts.accepted:,} sessions accepted = {counts.done:,} done + "
            f"{counts.waiting:,} waiting + {counts.leased:,} at work + {counts.dead:,} dead"
        )
    ]
    if counts.oldest_waiting_at:
        parts.append(Text(f"The oldest has waited for {_age(counts.oldest_waiting_at, now)}."))
    if found.codes:
        table = _table("error", "dead letters", "the oldest")
        for code in found.codes:
            table.add_row(
                Text(code.code or "-"), f"{code.sessions:,}", f"{_age(code.oldest_at, now)} ago"
            )
        parts += [Text(), table]
    if found.dead:
        table = _table("given up", "agent", "tries", "error", "turns", "when")
        for job in found.dead:
            table.add_row(
                str(job.session_id),
                Text(job.agent),
                str(job.attempts),
                Text(job.last_error or "-"),
                f"{job.last_extracted_turn}/{job.turn_count}",
                f"{_age(job.updated_at, now)} ago",
            )
        parts += [Text(), table, Text("'ibex pipeline retry SESSION' and 'requeue' try again.")]
    if found.runs:
        table = _table("run", "started", "took", "sessions", "done", "to retry", "dead", "at work")
        for run in found.runs:
            took = "-" if run.last_at is None else _age(run.started_at, run.last_at)
            table.add_row(
                Text(run.run_id[:8]),
                f"{_age(run.started_at, now)} ago",
                took,
                *(f"{one:,}" for one in (run.sessions, run.done, run.waiting, run.dead)),
                f"{run.leased:,}",
            )
        parts += [Text(), table]
    return Group(*parts)


def _one(job: dict[str, Any], now: datetime) -> Group:
    lines = []
    for name, value in job.items():
        shown = f"{value:%Y-%m-%d %H:%M:%S} UTC" if isinstance(value, datetime) else value
        lines.append(Text(f"{name}: {'-' if shown is None else shown}"))
    if job["status"] == "waiting":
        seconds = (job["available_at"] - now).total_seconds()
        lines.append(Text(f"It is tried in {seconds:.0f} s." if seconds > 0 else "It is due."))
    return Group(*lines)


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, padding=(0, 2))


def _age(then: datetime, now: datetime) -> str:
    seconds = max((now - then).total_seconds(), 0.0)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
