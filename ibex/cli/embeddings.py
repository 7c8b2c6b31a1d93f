"""`ibex embeddings`: which models' vectors there are, making another's, forgetting them."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import orjson
import typer
from rich.console import Console
from rich.table import Table

from ibex.cli.admin import Json, print_values
from ibex.cli.progress import counted
from ibex.embedding_models import registered
from ibex.errors import InvalidRequestError
from ibex.settings import Settings, load_settings
from ibex.stores.embeddings import EmbeddingStore
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database

embeddings_app = typer.Typer(help="Embedding models and their vectors.", no_args_is_help=True)

SomeOrg = Annotated[str | None, typer.Option(help="Only this organization; all without.")]
_LIMIT = 300.0  # seconds, of one statement: counting goes through all memories


@embeddings_app.command("list")
def list_models(org: SomeOrg = None, json: Json = False) -> None:
    """Every model that is registered or has vectors, and how many memories have one of it."""

    async def work() -> tuple[Settings, int, dict[str, int]]:
        settings = load_settings()
        memories, counts = 0, dict.fromkeys(registered(settings), 0)
        async with _opened(settings, org) as (store, organizations):
            for org_id in organizations:
                memories += await store.total(org_id)
                for model, count in (await store.counts(org_id)).items():
                    counts[model] = counts.get(model, 0) + count
        return settings, memories, counts

    settings, memories, counts = asyncio.run(work())
    known = registered(settings)
    rows = [
        {
            "model": model,
            "registered": model in known,
            "served": model == settings.embedding_model,
            "vectors": count,
            "memories": memories,
        }
        for model, count in sorted(counts.items())
    ]
    if json:
        sys.stdout.write(orjson.dumps(rows).decode() + "\n")
        return
    table = Table("model", "", "memories with a vector", box=None, padding=(0, 2))
    for row in rows:
        state = "served" if row["served"] else "" if row["registered"] else "not registered"
        table.add_row(str(row["model"]), state, f"{row['vectors']:,} of {memories:,}")
    Console().print(table)


@embeddings_app.command("backfill")
def backfill(
    model: Annotated[str | None, typer.Argument(help="Default: the one that is served.")] = None,
    org: SomeOrg = None,
    json: Json = False,
) -> None:
    """Make a model's vectors for all memories that have none. Harmless to stop and to repeat."""
    settings = load_settings()
    wanted = model or settings.embedding_model
    served = wanted == settings.embedding_model
    progress = counted(quiet=json)

    async def work() -> dict[str, int]:
        from ibex.reembedding import Reembedding, embedder_of  # noqa: PLC0415 — starts processes

        async with _opened(settings, org) as (store, organizations):
            task = progress.add_task(f"starting {wanted}", total=None)
            async with embedder_of(settings, wanted) as embedder:

                def watch(done: int, total: int) -> None:
                    progress.update(task, description=wanted, completed=done, total=total)

                return asdict(
                    await Reembedding(store).run(
                        organizations, wanted, embedder, served=served, watch=watch
                    )
                )

    with progress:
        done = asyncio.run(work())
    print_values({"model": wanted, "served": served, **done}, json)
    if not served and not json:
        sys.stdout.write(
            f"Serve it with IBEX_EMBEDDING_MODEL={wanted}, restart, then run this once more.\n"
        )


@embeddings_app.command("forget")
def forget(
    model: str,
    org: SomeOrg = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Delete the vectors of a model that is not served. Those in memories' rows stay until another
    model's take their place."""
    settings = load_settings()
    if model == settings.embedding_model:
        raise InvalidRequestError(
            "This model is served.", hint="Serve another one first: IBEX_EMBEDDING_MODEL."
        )
    if not yes:
        typer.confirm("Delete this model's vectors?", abort=True)

    async def work() -> int:
        from ibex.reembedding import Reembedding  # noqa: PLC0415 — starts processes

        async with _opened(settings, org) as (store, organizations):
            return await Reembedding(store).forget(organizations, model)

    print_values({"deleted": asyncio.run(work())}, json)


@asynccontextmanager
async def _opened(
    settings: Settings, org: str | None
) -> AsyncIterator[tuple[EmbeddingStore, list[UUID]]]:
    database = await Database.connect(
        settings.app_dsn, name="cli", max_size=1, command_timeout=_LIMIT
    )
    try:
        store = EmbeddingStore(database)
        if org is None:
            organizations = await store.organizations()
        else:
            organizations = [await IdentityStore(database).organization(org)]
        yield store, organizations
    finally:
        await database.close()
