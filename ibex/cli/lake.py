"""`ibex lake`: what lies in the object store."""

import asyncio
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from ibex.cli.admin import Json
from ibex.cli.progress import counted
from ibex.settings import load_settings
from ibex.stores.archive import SessionArchive
from ibex.stores.identity import IdentityStore
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.verifying import StoreVerifier, Verification

lake_app = typer.Typer(help="Archives and the lake in the object store.", no_args_is_help=True)

_LIMIT = 60.0  # seconds, of one statement
_SHOWN = 50  # findings


@lake_app.command("verify")
def verify(
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Write anew what the database has; delete old orphans."),
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every object and compare its checksum.")
    ] = False,
    org: Annotated[str | None, typer.Option(help="Only this organization; all without.")] = None,
    json: Json = False,
) -> None:
    """Compare the manifest with the objects in both buckets. Exits 1 when something is missing or
    is not as it was written."""
    settings = load_settings()
    progress = counted(quiet=json, transient=True)

    async def work() -> Verification:
        async with AsyncExitStack() as opened:
            database = await Database.connect(
                settings.app_dsn, name="cli", max_size=4, command_timeout=_LIMIT
            )
            opened.push_async_callback(database.close)
            objects = ObjectStore(settings)
            opened.push_async_callback(objects.close)
            org_id = await IdentityStore(database).organization(org) if org else None
            archive = SessionArchive(database, objects, settings)
            task = progress.add_task("files", total=None)
            return await StoreVerifier(database, objects, archive, settings).verify(
                datetime.now(UTC),
                org_id=org_id,
                share=1.0 if deep else 0.0,
                repair=repair,
                watch=lambda done, total: progress.update(task, completed=done, total=total),
            )

    with progress:
        done = asyncio.run(work())
    if json:
        sys.stdout.write(orjson.dumps(done.as_dict()).decode() + "\n")
    else:
        _print(done, deep=deep, repair=repair)
    if done.bad:
        raise typer.Exit(1)


def _print(done: Verification, *, deep: bool, repair: bool) -> None:
    console = Console()
    if done.findings:
        table = Table("fault", "", box=None, padding=(0, 2))
        table.add_column("object", overflow="fold")
        for one in done.findings[:_SHOWN]:
            table.add_row(one.fault, one.outcome, f"{one.bucket}/{one.key}")
        console.print(table)
        more = sum(done.counts.values()) - _SHOWN
        if more > 0:
            sys.stdout.write(f"and {more:,} more; --json lists up to 1,000\n")
    sys.stdout.write(
        f"{done.files:,} files in the manifest, {done.objects:,} objects of {done.bytes:,} bytes"
        f"{f', {done.read:,} read' if deep else ''}: "
        + (", ".join(f"{count:,} {name}" for name, count in done.counts.items()) or "all well")
        + "\n"
    )
    if done.counts and not repair:
        sys.stdout.write(
            "--repair writes anew what the database has, and deletes orphans older than "
            "IBEX_ORPHAN_HOURS.\n"
        )
    outcomes = {name.rpartition(" ")[2] for name in done.counts}
    if "due" in outcomes:
        sys.stdout.write("What is due is written anew by 'ibex lake refresh', hourly by itself.\n")
    if "lost" in outcomes:
        sys.stdout.write("What is lost nobody has: put the object back from a copy.\n")
