"""`ibex memory …`: what waits for a review, and the decisions about single memories."""

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar
from uuid import UUID

import orjson
import redis.asyncio
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ibex.cli.admin import Json, Org, print_values
from ibex.errors import InvalidRequestError
from ibex.ids import parse_id
from ibex.memory.trust import Status
from ibex.settings import load_settings
from ibex.stores.audit import Actor
from ibex.stores.hot import HotCache
from ibex.stores.identity import IdentityStore
from ibex.stores.management import ManagementStore, MemoryFilter, MemoryRecord
from ibex.stores.postgres import Database
from ibex.stores.review import MemoryReview

memory_app = typer.Typer(help="Memories: what waits for a review.", no_args_is_help=True)

T = TypeVar("T")
_PAGE = 200
Memory = Annotated[str, typer.Argument(help="The memory's id.")]
Version = Annotated[
    int | None, typer.Option(min=1, help="The version that was read; refused if it has another.")
]


@memory_app.command("quarantine")
def quarantine(
    org: Org = "demo",
    agent: Annotated[str | None, typer.Option(help="Of this agent only.")] = None,
    json: Json = False,
) -> None:
    """List the memories that wait for a review, newest first. They are never recalled meanwhile."""

    async def work(stores: "_Stores") -> list[MemoryRecord]:
        org_id = await stores.identity.organization(org)
        agent_id = (await stores.identity.agent(org_id, agent)).id if agent else None
        found: list[MemoryRecord] = []
        wanted = MemoryFilter(status=Status.QUARANTINED)
        while True:
            after = found[-1].id if found else None
            page = await stores.management.memories(
                org_id, agent_id, wanted, after=after, limit=_PAGE
            )
            found += page
            if len(page) < _PAGE:
                return found

    memories = _run(work)
    if json:
        listed = [_as_dict(one) for one in memories]
        sys.stdout.write(orjson.dumps(listed, default=str).decode() + "\n")
    else:
        _show(memories)


@memory_app.command("approve")
def approve(memory: Memory, org: Org = "demo", version: Version = None, json: Json = False) -> None:
    """Believe a memory: it is recalled from now on. Also takes a rejection back."""
    memory_id = _id(memory)

    async def work(stores: "_Stores") -> None:
        org_id = await stores.identity.organization(org)
        await stores.review.approve(org_id, memory_id, _actor(), version=version)

    _run(work)
    print_values({"memory_id": memory_id, "status": Status.ACTIVE}, json)


@memory_app.command("reject")
def reject(memory: Memory, org: Org = "demo", version: Version = None, json: Json = False) -> None:
    """Never recall a memory, nor learn its words again. Also for one that is active."""
    memory_id = _id(memory)

    async def work(stores: "_Stores") -> None:
        org_id = await stores.identity.organization(org)
        await stores.review.reject(org_id, memory_id, _actor(), version=version)

    _run(work)
    print_values({"memory_id": memory_id, "status": Status.REJECTED}, json)


@memory_app.command("promote")
def promote(memory: Memory, org: Org = "demo", version: Version = None, json: Json = False) -> None:
    """Make a user's memory one of the agent's own, which all of its users get."""
    memory_id = _id(memory)

    async def work(stores: "_Stores") -> UUID:
        org_id = await stores.identity.organization(org)
        return await stores.review.promote(org_id, memory_id, _actor(), version=version)

    print_values({"memory_id": _run(work), "promoted_from": memory_id}, json)


@memory_app.command("expire")
def expire(
    memory: Memory,
    org: Org = "demo",
    days: Annotated[float | None, typer.Option(min=0, help="From now on.")] = None,
    at: Annotated[datetime | None, typer.Option(help="A moment, UTC.")] = None,
    never: Annotated[bool, typer.Option("--never", help="Take an end back.")] = False,
    version: Version = None,
    json: Json = False,
) -> None:
    """Let a memory end: not recalled from then on, and deleted within the hour after."""
    if (days is not None) + (at is not None) + never != 1:
        raise InvalidRequestError("One of --days, --at and --never says when.")
    memory_id = _id(memory)
    end = datetime.now(UTC) + timedelta(days=days) if days is not None else None
    end = at.replace(tzinfo=UTC) if at is not None else end

    async def work(stores: "_Stores") -> None:
        org_id = await stores.identity.organization(org)
        await stores.review.expire(org_id, memory_id, end, _actor(), version=version)

    _run(work)
    print_values({"memory_id": memory_id, "expires_at": end.isoformat() if end else None}, json)


@dataclass(frozen=True)
class _Stores:
    identity: IdentityStore
    management: ManagementStore
    review: MemoryReview


def _run(work: Callable[[_Stores], Awaitable[T]]) -> T:
    async def run() -> T:
        settings = load_settings()
        database = await Database.connect(settings.app_dsn, name="cli", max_size=1)
        client = redis.asyncio.Redis.from_url(
            settings.redis_dsn, socket_connect_timeout=2.0, socket_timeout=2.0
        )
        try:
            review = MemoryReview(database, HotCache(client, database))
            return await work(_Stores(IdentityStore(database), ManagementStore(database), review))
        finally:
            await client.aclose()
            await database.close()

    return asyncio.run(run())


def _id(text: str) -> UUID:
    identifier = parse_id(text)
    if identifier is None:
        raise InvalidRequestError("This is not a memory's id: it is a UUID.")
    return identifier


def _actor() -> Actor:
    return Actor("cli", getpass.getuser())


def _as_dict(memory: MemoryRecord) -> dict[str, Any]:
    return {
        "id": memory.id,
        "agent_id": memory.agent_id,
        "user": memory.user,
        "reason": memory.quarantine_reason,
        "source": memory.source,
        "category": memory.category,
        "content": memory.content,
        "version": memory.version,
        "session_id": memory.session_id,
        "turns": list(memory.turns),
        "created_at": memory.created_at,
    }


def _show(memories: list[MemoryRecord]) -> None:
    console = Console()
    if not memories:
        console.print("Nothing waits for a review.")
        return
    table = Table("id", "reason", "said by", "user", "memory", box=None, padding=(0, 2))
    for one in memories:
        # As text: what a memory says is no markup, and no control sequence for the terminal.
        said = "".join(letter if letter.isprintable() else " " for letter in one.content)
        table.add_row(
            str(one.id), one.quarantine_reason or "-", one.source, Text(one.user or "-"), Text(said)
        )
    console.print(table)
