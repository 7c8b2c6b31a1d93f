"""What the commands of `ibex vectors` work with, and how they show what they found."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import orjson
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from ibex.cli.progress import counted
from ibex.errors import InvalidRequestError
from ibex.ids import parse_id
from ibex.settings import Settings, load_settings
from ibex.stores.identity import IdentityStore
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.vectors.searching import as_of
from ibex.vectors.snapshots import Snapshot, Snapshots, Watch

if TYPE_CHECKING:
    from ibex.vectors.comparing import Memories

T = TypeVar("T")
_LIMIT = 300.0  # seconds, of one statement: a snapshot reads all memories
_SHOWN = 80  # characters of a memory in a table


@dataclass(frozen=True)
class Tools:
    settings: Settings
    identity: IdentityStore
    database: Database
    snapshots: Snapshots
    org_id: UUID
    watch: Watch

    async def agent(self, id_or_name: str | None) -> UUID:
        return (await self.identity.agent(self.org_id, id_or_name or "")).id

    async def user(self, external_id: str) -> UUID:
        return await self.identity.known_user(self.org_id, external_id)

    async def names(self) -> dict[str, str]:
        """Of the agents there are, by id."""
        names = await self.identity.agent_names(self.org_id)
        return {str(agent_id): name for agent_id, name in names.items()}

    async def of_day(self, day: datetime | None) -> Snapshot:
        until = (day or datetime.now(UTC)).date()
        return as_of(await self.snapshots.all(self.org_id), until)

    async def memories(
        self, day: datetime | None, agent: str | None, model: str | None
    ) -> tuple["Memories", date]:
        from ibex.vectors.comparing import load  # noqa: PLC0415

        agent_id = await self.agent(agent) if agent else None
        chosen = await self.of_day(day)
        async with self.snapshots.fetched(self.org_id, chosen.day, self.watch) as table:
            loaded = await load(table, model or self.settings.embedding_model, agent_id)
        return loaded, chosen.day


def run_command(org: str, quiet: bool, doing: str, work: Callable[[Tools], Awaitable[T]]) -> T:
    progress = counted(quiet=quiet or not doing, transient=True)

    async def run() -> T:
        async with _opened(org, watch) as tools:
            return await work(tools)

    def watch(done: int, of: int) -> None:
        progress.update(task, completed=done, total=of)

    with progress:
        task = progress.add_task(doing, total=None)
        return asyncio.run(run())


@asynccontextmanager
async def _opened(org: str, watch: Watch) -> AsyncIterator[Tools]:
    settings = load_settings()
    database = await Database.connect(
        settings.app_dsn, name="cli", max_size=2, command_timeout=_LIMIT
    )
    objects = ObjectStore(settings)
    try:
        identity = IdentityStore(database)
        org_id = await identity.organization(org)
        made = Snapshots(database, objects, settings)
        yield Tools(settings, identity, database, made, org_id, watch)
    finally:
        await objects.close()
        await database.close()


def show_snapshots(listed: Sequence[Snapshot], json: bool) -> None:
    if json:
        write_json([asdict(one) for one in listed])
        return
    table = Table("day", "vectors", "MiB", "files", "made at", box=None, padding=(0, 2))
    for one in listed:
        size = f"{one.size / 2**20:,.1f}"
        table.add_row(
            str(one.day), f"{one.rows:,}", size, str(one.files), f"{one.made_at:%Y-%m-%d %H:%M}"
        )
    Console().print(table if listed else "There is no snapshot yet; 'ibex vectors snapshot'.")


def show(title: str, table: Table, *, sampled: bool = False) -> None:
    console = Console()
    console.print(title, highlight=False)
    if sampled:
        console.print("By a sample: there are too many memories to compare them all.")
    console.print(table if table.row_count else "Nothing.")


def whole(name: str) -> Column:
    """A column whose values are not cut."""
    return Column(name, no_wrap=True)


def tell(values: dict[str, Any], json: bool) -> None:
    if json:
        write_json(values)
        return
    for name, value in values.items():
        sys.stdout.write(f"{name}: {figure(value)}\n")


def write_json(value: Any) -> None:
    sys.stdout.write(orjson.dumps(value, default=str).decode() + "\n")


def figure(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(figure, value))
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def line(content: str) -> Text:
    """As text: what a memory says is no markup, and no control sequence for the terminal."""
    said = "".join(letter if letter.isprintable() else " " for letter in content)
    return Text(said if len(said) <= _SHOWN else f"{said[: _SHOWN - 1]}…")


def id_of(text: str) -> UUID:
    identifier = parse_id(text)
    if identifier is None:
        raise InvalidRequestError("This is not an id: it is a UUID.")
    return identifier
