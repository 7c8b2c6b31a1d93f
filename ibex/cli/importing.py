"""`ibex import …`: conversations and memories out of files; conversations where it does not say."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import redis.asyncio
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from typer.core import TyperGroup

from ibex.cli.admin import Json, Org
from ibex.embedding import EmbedderClient
from ibex.errors import CacheUnavailableError
from ibex.importing import Importer, ImportSummary, LineError, read_lines
from ibex.settings import Settings, load_settings
from ibex.stores.hot import HotCache
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from ibex.stores.sessions import SessionStore
from ibex.transfer.formats import Format, format_of
from ibex.transfer.tables import Table, columns_of

if TYPE_CHECKING:
    from ibex.transfer.memories import MemoryImport, MemoryImporter

_DEFAULT = "conversations"
_EMBEDDING = 60.0  # seconds for 512 texts
console = Console(stderr=True)


class _OrConversations(TyperGroup):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


import_app = typer.Typer(
    cls=_OrConversations,
    help="Conversations or memories from a file. 'ibex import FILE' takes conversations.",
    no_args_is_help=True,
)
File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The file.")]
CreateAgents = Annotated[
    bool, typer.Option("--create-agents", help="Make agents that do not exist.")
]


@import_app.command(_DEFAULT)
def import_conversations(
    file: File, org: Org = "demo", create_agents: CreateAgents = False, json: Json = False
) -> None:
    """Bring history in: JSON lines of conversations become completed sessions.

    Doing it again changes nothing. A wrong line is reported with its number, the rest goes in, and
    the exit code is 1.
    """
    summary = asyncio.run(_conversations(file, org, create_agents, quiet=json))
    counts = {
        "sessions": summary.sessions,
        "turns": summary.turns,
        "unchanged": summary.unchanged,
    }
    _report(
        counts,
        summary.errors,
        f"{summary.sessions} sessions with {summary.turns} turns recorded, "
        f"{summary.unchanged} were there already, {len(summary.errors)} lines are wrong.",
        json=json,
    )
    if summary.sessions and not json:
        console.print("The pipeline turns them into memories now; the dashboard shows how far.")
    if summary.errors:
        raise typer.Exit(1)


@import_app.command("memories")
def import_memories(
    file: File,
    org: Org = "demo",
    agent: Annotated[
        str | None, typer.Option(help="Whose memories they are, where a row names no agent.")
    ] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="Without: what the file's name says.")
    ] = None,
    create_agents: CreateAgents = False,
    reviewed: Annotated[
        bool,
        typer.Option(
            "--reviewed",
            help="What the file calls active stays active. Without: what reads like an "
            "instruction from outside waits for a review again.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Bring memories back that 'ibex export memories' wrote, or in from elsewhere.

    Ids, provenance and validity are kept; what is there stays as it is, so doing it again changes
    nothing, and what was erased stays so. A wrong row is reported with its line, the rest goes in,
    and the exit code is 1.
    """
    from ibex.transfer.memories import MemoryImporter  # noqa: PLC0415 — all of the redaction

    chosen = format_of(file, form)
    settings = load_settings()

    async def work() -> "MemoryImport":
        database = await Database.connect(settings.app_dsn, name="import", command_timeout=120.0)
        embedder = EmbedderClient(settings.embedder_endpoint, timeout=_EMBEDDING)
        try:
            importer = MemoryImporter(
                await IdentityStore(database).organization(org),
                database,
                embedder,
                settings.embedding_model,
                agent=agent,
                create_agents=create_agents,
                reviewed=reviewed,
            )
            return await _memories(file, chosen, importer, database, settings, quiet=json)
        finally:
            await embedder.close()
            await database.close()

    done = asyncio.run(work())
    counts = {
        "created": done.created,
        "unchanged": done.unchanged,
        "kept": done.kept,
        "erased": done.erased,
        "quarantined": done.quarantined,
        "embedded": done.embedded,
        "wrong": done.wrong,
    }
    _report(
        counts,
        done.errors,
        f"{done.created} memories came in, {done.unchanged} were there already, {done.kept} say "
        f"something else here and stay so, {done.erased} were erased and stay so, {done.wrong} "
        "rows are wrong.",
        json=json,
    )
    if done.quarantined and not json:
        console.print(
            f"{done.quarantined} of them read like instructions from outside and wait for a review "
            "('ibex memory quarantine')."
        )
    if done.wrong:
        raise typer.Exit(1)


async def _conversations(
    file: Path, org: str, create_agents: bool, *, quiet: bool
) -> ImportSummary:
    database = await Database.connect(load_settings().app_dsn, name="import")
    try:
        identity = IdentityStore(database)
        importer = Importer(
            await identity.organization(org),
            identity,
            SessionStore(database),
            create_agents=create_agents,
        )
        summary = ImportSummary()
        with _progress(quiet=quiet) as progress:
            task = progress.add_task("importing", total=file.stat().st_size)
            for line in read_lines(file):
                summary = await importer.add(line, summary)
                progress.update(
                    task, completed=line.end, description=f"{summary.sessions} sessions"
                )
    finally:
        await database.close()
    return summary


async def _memories(
    file: Path,
    form: Format,
    importer: "MemoryImporter",
    database: Database,
    settings: Settings,
    *,
    quiet: bool,
) -> "MemoryImport":
    """First the memories, then what ties them; the hot lists follow."""
    from ibex.transfer.memories import MemoryImport, batched  # noqa: PLC0415
    from ibex.transfer.reading import read_rows  # noqa: PLC0415

    columns = columns_of(Table.MEMORIES, embeddings=True)
    done = MemoryImport()
    with _progress(quiet=quiet) as progress:
        task = progress.add_task("importing", total=file.stat().st_size)
        for batch in batched(read_rows(file, form, columns)):
            done = await importer.add(batch, done)
            progress.update(task, completed=batch[-1].end, description=f"{done.created:,} memories")
        if importer.has_edges:
            task = progress.add_task("edges", total=file.stat().st_size)
            for batch in batched(read_rows(file, form, columns)):
                await importer.tie(batch)
                progress.update(task, completed=batch[-1].end)
    await importer.finish()
    client = redis.asyncio.Redis.from_url(
        settings.redis_dsn, socket_connect_timeout=2.0, socket_timeout=2.0
    )
    try:
        hot = HotCache(client, database, settings.embedding_model)
        for owner in importer.touched:
            await hot.refresh(owner.org_id, owner.agent_id, owner.user_id)
    except CacheUnavailableError:
        console.print("Redis does not answer: the hot lists follow within the hour.")
    finally:
        await client.aclose()
    return done


def _progress(*, quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=quiet,
    )


def _report(
    counts: dict[str, int], errors: tuple[LineError, ...], said: str, *, json: bool
) -> None:
    if json:
        listed = [{"line": wrong.line, "reason": wrong.reason} for wrong in errors]
        typer.echo(orjson.dumps({**counts, "errors": listed}).decode())
        return
    for wrong in errors:
        console.print(f"line {wrong.line}: {wrong.reason}", style="red", markup=False)
    console.print(said)
