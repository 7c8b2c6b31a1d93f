"""`ibex lake status|refresh|compact`: the lake's tables."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import orjson
import typer
from rich.console import Console
from rich.table import Table

from ibex.cli.admin import Json, Org
from ibex.cli.progress import counted
from ibex.errors import IbexError, InvalidRequestError
from ibex.lake.manifest import Manifest, TableStatus
from ibex.lake.schemas import TABLES
from ibex.settings import load_settings
from ibex.stores.identity import IdentityStore
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.turns import TurnReader

if TYPE_CHECKING:
    from ibex.lake.export import Exported
    from ibex.lake.upkeep import Kept, Lake

_LIMIT = 300.0  # seconds, of one statement: finding what has changed goes through all rows
SomeTables = Annotated[
    list[str] | None, typer.Option("--table", help="Only this table; repeat. All without.")
]


def lake_status(org: Org = "demo", json: Json = False) -> None:
    """Show the tables of an organization: files, rows, bytes, days, when they were written (UTC),
    and how many old files wait to be deleted."""

    async def work() -> list[TableStatus]:
        database = await Database.connect(load_settings().app_dsn, name="cli", max_size=1)
        try:
            org_id = await IdentityStore(database).organization(org)
            return await Manifest(database).status(org_id)
        finally:
            await database.close()

    found = asyncio.run(work())
    if json:
        _print_json([asdict(one) for one in found])
        return
    table = Table(
        "table",
        "files",
        "rows",
        "MB",
        "from",
        "to",
        "written",
        "old",
        box=None,
        padding=(0, 1, 0, 0),
    )
    for one in found:
        table.add_row(
            one.table,
            f"{one.files:,}",
            f"{one.rows:,}",
            f"{one.bytes / 1e6:,.1f}",
            str(one.since or ""),
            str(one.until or ""),
            f"{one.written_at.astimezone(UTC):%m-%d %H:%M}",
            f"{one.retired:,}",
        )
    console = Console()
    console.print(table)
    if not found:
        console.print("Nothing is written yet: 'ibex lake refresh' does it now, Dagster hourly.")


def lake_refresh(
    org: Org = "demo",
    table: SomeTables = None,
    day: Annotated[
        list[datetime] | None,
        typer.Option(formats=["%Y-%m-%d"], help="Changed or not: this day as well; repeat."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All days, changed or not.")] = False,
    json: Json = False,
) -> None:
    """Write the days that have changed since they were written. Harmless to stop and to repeat."""
    tables = tuple(table or TABLES)
    if unknown := set(tables) - set(TABLES):
        raise InvalidRequestError(
            f"There is no table {', '.join(sorted(unknown))}.",
            hint=f"There are {', '.join(TABLES)}.",
        )
    days = {one.date() for one in day or ()}
    progress = counted(quiet=json, transient=True)
    tasks = {name: progress.add_task(name, total=None) for name in tables}

    def again(one: date) -> bool:
        return everything or one in days

    def watch(name: str, done: int, total: int) -> None:
        progress.update(tasks[name], completed=done, total=total)

    async def work() -> "tuple[dict[str, Exported], dict[str, IbexError]]":
        done: dict[str, Exported] = {}
        away: dict[str, IbexError] = {}
        async with _opened(org) as (lake, org_id):
            for name in tables:
                # A table by itself: where ClickHouse is away, the others are written.
                try:
                    done |= await lake.export.run(org_id, [name], again=again, watch=watch)
                except IbexError as error:
                    away[name] = error
                else:
                    progress.update(tasks[name], completed=1, total=1)
        return done, away

    with progress:
        done, away = asyncio.run(work())
    for name, error in away.items():
        Console(stderr=True).print(f"{name}: {error.message} {error.advice}", style="red")
    for name, one in done.items():
        for failed, why in one.failed:
            told = why.message if isinstance(why, IbexError) else type(why).__name__
            Console(stderr=True).print(f"{name}, {failed}: {told}", style="red")
    rows = [
        {
            "table": name,
            "days": one.days,
            "rows": one.rows,
            "files": one.files,
            "bytes": one.bytes,
            "failed": len(one.failed),
        }
        for name, one in done.items()
    ]
    if json:
        _print_json(rows)
    else:
        shown = Table("table", "days", "rows", "files", "MB", box=None, padding=(0, 2))
        for name, one in done.items():
            shown.add_row(
                name, f"{one.days:,}", f"{one.rows:,}", f"{one.files:,}", f"{one.bytes / 1e6:,.1f}"
            )
        Console().print(shown)
    if away or any(one.failed for one in done.values()):
        raise typer.Exit(1)


def lake_compact(
    org: Org = "demo",
    grace: Annotated[
        float | None,
        typer.Option(
            min=0, help="Delete what was replaced so many hours ago. Default: the setting."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Merge the small files of each month, and delete those that were replaced."""
    hours = load_settings().lake_grace_hours if grace is None else grace

    async def work() -> "Kept":
        async with _opened(org) as (lake, org_id):
            return await lake.keep(org_id, datetime.now(UTC) - timedelta(hours=hours))

    with Console(stderr=True).status("merging"):
        done = asyncio.run(work())
    values = asdict(done.compacted) | {"deleted": done.deleted}
    if json:
        _print_json(values)
    else:
        for name, value in values.items():
            sys.stdout.write(f"{name}: {value:,}\n")
    if done.compacted.damaged:
        raise typer.Exit(1)


def _print_json(value: object) -> None:
    sys.stdout.write(orjson.dumps(value, default=str).decode() + "\n")


@asynccontextmanager
async def _opened(org: str) -> "AsyncIterator[tuple[Lake, UUID]]":
    from ibex.lake.upkeep import opened_lake  # noqa: PLC0415 — the other commands start faster

    settings = load_settings()
    database = await Database.connect(
        settings.app_dsn, name="cli", max_size=4, command_timeout=_LIMIT
    )
    objects = ObjectStore(settings)
    try:
        org_id = await IdentityStore(database).organization(org)
        turns = TurnReader.of(database, objects, settings)
        async with opened_lake(settings, database, objects, turns) as lake:
            yield lake, org_id
    finally:
        await objects.close()
        await database.close()
