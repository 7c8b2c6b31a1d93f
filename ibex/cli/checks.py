"""`ibex checks`: what was found by looking whether memories, lists and archives are sound."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import orjson
import redis.asyncio
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from ibex.checks.catalogue import CHECKS, Name, Unit
from ibex.cli.admin import Json, Org
from ibex.settings import Settings, load_settings
from ibex.stores.checks import CheckRecord, CheckStore
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database


def checks(
    org: Org = "demo",
    now: Annotated[
        bool, typer.Option("--now", help="Look now; else: what was found in the last hour.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what each check found in an organization. Exits 1 when one fails."""
    records = asyncio.run(_read(org, now=now, quiet=json))
    if json:
        listed = [asdict(one) for one in records]
        sys.stdout.write(orjson.dumps(listed, default=str, option=orjson.OPT_INDENT_2).decode())
        sys.stdout.write("\n")
    else:
        _show(records)
    if any(not one.passed for one in records):
        raise typer.Exit(1)


async def _read(org: str, *, now: bool, quiet: bool) -> list[CheckRecord]:
    settings = load_settings()
    database = await Database.connect(settings.app_dsn, name="cli", max_size=2)
    try:
        org_id = await IdentityStore(database).organization(org)
        store = CheckStore(database)
        if now:
            await _look(settings, database, store, org_id, quiet=quiet)
        found = {one.check_name: one for one in await store.latest(org_id)}
    finally:
        await database.close()
    return [found[name] for name in CHECKS if name in found]


async def _look(
    settings: Settings, database: Database, store: CheckStore, org_id: UUID, *, quiet: bool
) -> None:
    from ibex.checks.checking import Checker  # noqa: PLC0415 — the other commands start fast
    from ibex.checks.looking import Looking  # noqa: PLC0415
    from ibex.stores.hot import HotCache  # noqa: PLC0415
    from ibex.stores.objects import ObjectStore  # noqa: PLC0415

    client = redis.asyncio.Redis.from_url(
        settings.redis_dsn, socket_connect_timeout=2.0, socket_timeout=5.0
    )
    objects = ObjectStore(settings)
    try:
        hot = HotCache(client, database, settings.embedding_model)
        checker = Checker(Looking(database, objects, hot, settings), store, settings)
        names = track(Name, "looking", console=Console(stderr=True), transient=True, disable=quiet)
        for name in names:
            await checker.check_organization(org_id, [name])
    finally:
        await objects.close()
        await client.aclose()


def _show(records: Sequence[CheckRecord]) -> None:
    if not records:
        Console().print("Nothing was looked at yet. 'ibex checks --now' looks at once.")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("check", "", "value", "at most", "looked at", "since"):
        table.add_column(title, no_wrap=True)
    for one in records:
        check = CHECKS[Name(one.check_name)]
        state = Text("passes") if one.passed else Text(f"fails ({one.severity})", style="red")
        table.add_row(
            check.name.value,
            state,
            _figure(one.value, check.unit),
            _figure(one.threshold, check.unit),
            f"{one.looked_at:,}",
            f"{one.since:%m-%d %H:%M}",
        )
    Console().print(table)
    for one in records:
        if not one.passed:
            where = "".join(f"\n  {example}" for example in one.examples)
            Console().print(
                f"{one.check_name}: {one.error or _found(one.found)}{where}",
                markup=False,
                highlight=False,
            )


def _found(found: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in found.items())


def _figure(value: float, unit: Unit) -> str:
    if unit is Unit.SHARE:
        return f"{value:.1%}"
    return f"{value:,.0f} s" if unit is Unit.SECONDS else f"{value:,.0f}"
