"""`ibex export …`: memories, sessions and injections as files, and all that is known of a user."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from ibex.cli.admin import Json, Org
from ibex.cli.progress import counted
from ibex.errors import InvalidRequestError
from ibex.settings import load_settings
from ibex.stores.identity import IdentityStore
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.turns import TurnReader
from ibex.transfer.exporting import Exporter, Scope, encoded
from ibex.transfer.formats import Format, format_of, writer
from ibex.transfer.person import write_person
from ibex.transfer.saving import STANDARD_OUTPUT, opened
from ibex.transfer.tables import Table, columns_of

export_app = typer.Typer(
    help="Memories, sessions, injections or a user's data as files.", no_args_is_help=True
)

Output = Annotated[
    Path, typer.Option("--output", "-o", dir_okay=False, help="The file; - is standard output.")
]
OfAgent = Annotated[str | None, typer.Option("--agent", help="Of this agent only.")]
OfUser = Annotated[
    str | None, typer.Option("--user", help="Of this user only, by the application's own id.")
]
InFormat = Annotated[
    Format | None,
    typer.Option("--format", help="Without: what the file's name says; jsonl on standard output."),
]


@export_app.command("memories")
def export_memories(
    org: Org = "demo",
    agent: OfAgent = None,
    user: OfUser = None,
    output: Output = STANDARD_OUTPUT,
    form: InFormat = None,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="With their vectors: an import needs no embedder.")
    ] = False,
    json: Json = False,
) -> None:
    """Every memory, also quarantined, rejected and ended ones, with its provenance. 'ibex import
    memories' brings the file back in."""
    _export(Table.MEMORIES, org, agent, user, output, form, json=json, embeddings=embeddings)


@export_app.command("sessions")
def export_sessions(
    org: Org = "demo",
    agent: OfAgent = None,
    user: OfUser = None,
    output: Output = STANDARD_OUTPUT,
    form: InFormat = None,
    json: Json = False,
) -> None:
    """Every session with its turns, wherever they are kept by now."""
    _export(Table.SESSIONS, org, agent, user, output, form, json=json)


@export_app.command("injections")
def export_injections(
    org: Org = "demo",
    agent: OfAgent = None,
    user: OfUser = None,
    output: Output = STANDARD_OUTPUT,
    form: InFormat = None,
    json: Json = False,
) -> None:
    """Which memories each request was given: a row a memory, with its score; no content."""
    _export(Table.INJECTIONS, org, agent, user, output, form, json=json)


@export_app.command("user")
def export_user(
    user: Annotated[str, typer.Argument(help="The application's own id of the user.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", dir_okay=False, help="The zip archive.")
    ],
    org: Org = "demo",
    json: Json = False,
) -> None:
    """Everything that is known of one user, over all agents, as one archive."""

    async def work() -> dict[str, int]:
        async with _opened_stores() as stores:
            scope = await _scope(stores, org, None, user)
            with opened(output) as file:
                return await write_person(file, stores.exporter, scope, user)

    counts = asyncio.run(work())
    _report({"file": str(output), **counts}, output, json=json)


@dataclass(frozen=True)
class _Stores:
    identity: IdentityStore
    exporter: Exporter


@asynccontextmanager
async def _opened_stores() -> AsyncIterator[_Stores]:
    settings = load_settings()
    async with AsyncExitStack() as stack:
        database = await Database.connect(
            settings.app_dsn, name="export", max_size=2, command_timeout=120.0
        )
        stack.push_async_callback(database.close)
        objects = ObjectStore(settings)
        stack.push_async_callback(objects.close)
        turns = TurnReader.of(database, objects, settings)
        yield _Stores(IdentityStore(database), Exporter(database, turns))


async def _scope(stores: _Stores, org: str, agent: str | None, user: str | None) -> Scope:
    org_id = await stores.identity.organization(org)
    agent_id = (await stores.identity.agent(org_id, agent)).id if agent else None
    user_id = await stores.identity.known_user(org_id, user) if user is not None else None
    return Scope(org_id, agent_id, user_id)


def _export(
    table: Table,
    org: str,
    agent: str | None,
    user: str | None,
    output: Path,
    form: Format | None,
    *,
    json: bool,
    embeddings: bool = False,
) -> None:
    to_screen = output == STANDARD_OUTPUT
    if to_screen and json:
        raise InvalidRequestError("--json reports on a file: name one with --output.")
    chosen = form or (Format.JSONL if to_screen else format_of(output))
    if to_screen and chosen is Format.PARQUET and sys.stdout.isatty():
        raise InvalidRequestError("Parquet is nothing for a terminal.", hint="Name a file with -o.")

    async def work() -> dict[str, int]:
        async with _opened_stores() as stores:
            scope = await _scope(stores, org, agent, user)
            progress = counted(quiet=json or not sys.stderr.isatty())
            done = {"rows": 0, "bytes": 0}
            with progress, opened(output) as file:
                task = progress.add_task(
                    str(table), total=await stores.exporter.count(table, scope)
                )

                def told(count: int) -> None:
                    done["rows"] += count
                    progress.update(task, completed=done["rows"])

                made = writer(chosen, columns_of(table, embeddings=embeddings))
                rows = stores.exporter.rows(table, scope, embeddings=embeddings)
                async with aclosing(encoded(rows, made, told)) as pieces:
                    async for piece in pieces:
                        done["bytes"] += file.write(piece)
            return done

    done = asyncio.run(work())
    if not to_screen:
        _report({"file": str(output), **done}, output, json=json)


def _report(done: dict[str, object], output: Path, *, json: bool) -> None:
    if json:
        sys.stdout.write(orjson.dumps(done).decode() + "\n")
    else:
        listed = ", ".join(f"{count} {name}" for name, count in done.items() if name != "file")
        Console(stderr=True).print(f"{output}: {listed}.", markup=False, highlight=False)
