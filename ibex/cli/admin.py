"""`ibex org|token|directive`: what an operator does before there is a token for the API."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar
from uuid import UUID

import orjson
import redis.asyncio
import typer

from ibex.errors import InvalidRequestError
from ibex.ids import parse_id
from ibex.provisioning import ALL_SCOPES
from ibex.settings import load_settings
from ibex.stores.identity import IdentityStore
from ibex.stores.invalidation import Invalidations
from ibex.stores.postgres import Database

org_app = typer.Typer(help="Organizations: the tenants.", no_args_is_help=True)
token_app = typer.Typer(help="Access tokens.", no_args_is_help=True)
directive_app = typer.Typer(help="Directives: an agent's system text.", no_args_is_help=True)

T = TypeVar("T")
Org = Annotated[str, typer.Option(help="The organization's name.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def with_store(
    work: Callable[[IdentityStore], Awaitable[T]],
    announce: Callable[[Invalidations, T], Awaitable[None]] | None = None,
) -> T:
    """Do `work`, then tell every process what to forget."""

    async def run() -> T:
        settings = load_settings()
        database = await Database.connect(settings.app_dsn, name="cli", max_size=1)
        try:
            done = await work(IdentityStore(database))
        finally:
            await database.close()
        if announce is not None:
            client = redis.asyncio.Redis.from_url(
                settings.redis_dsn, socket_connect_timeout=2.0, socket_timeout=2.0
            )
            try:
                await announce(Invalidations(client), done)
            finally:
                await client.aclose()
        return done

    return asyncio.run(run())


def print_values(values: Mapping[str, object], json: bool) -> None:
    if json:
        sys.stdout.write(orjson.dumps(values, default=str).decode() + "\n")
    else:
        for name, value in values.items():
            sys.stdout.write(f"{name}: {value}\n")


@org_app.command("create")
def create_org(name: str, json: Json = False) -> None:
    """Make an organization."""
    print_values({"org_id": with_store(lambda store: store.create_organization(name))}, json)


@token_app.command("create")
def create_token(
    name: str,
    org: Org = "demo",
    agent: Annotated[str | None, typer.Option(help="Bind it to one agent.")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="chat, read, write, content; repeat. chat without.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days until it expires.")] = None,
    json: Json = False,
) -> None:
    """Make a token. It is shown once; the database keeps only its SHA-256."""
    scopes = scope or ["chat"]
    if unknown := set(scopes) - set(ALL_SCOPES):
        raise InvalidRequestError(f"There is no scope {', '.join(sorted(unknown))}.")

    async def work(store: IdentityStore) -> dict[str, object]:
        org_id = await store.organization(org)
        agent_id = (await store.agent(org_id, agent)).id if agent else None
        token = await store.create_token(
            org_id,
            name,
            agent_id=agent_id,
            scopes=scopes,
            expires_at=datetime.now(UTC) + timedelta(days=days) if days else None,
        )
        return {"token_id": token.id, "token": token.text}

    print_values(with_store(work), json)


@token_app.command("revoke")
def revoke_token(token_id: str, org: Org = "demo") -> None:
    """Revoke a token: every proxy refuses it within a second."""
    identifier = parse_id(token_id)
    if identifier is None:
        raise InvalidRequestError("This is not a token's id: it is a UUID, not the token itself.")

    async def work(store: IdentityStore) -> None:
        await store.revoke_token(await store.organization(org), identifier)

    with_store(work, lambda processes, _: processes.token_revoked(identifier))
    print_values({"revoked": identifier}, json=False)


@directive_app.command("set")
def set_directive(
    agent: str,
    file: Annotated[typer.FileText, typer.Argument(help="The text; - reads standard input.")],
    org: Org = "demo",
    json: Json = False,
) -> None:
    """Give an agent its directive; the earlier versions are kept."""
    text = file.read().strip()
    if not text:
        raise InvalidRequestError("The directive is empty.")

    async def work(store: IdentityStore) -> tuple[UUID, UUID, int]:
        org_id = await store.organization(org)
        agent_id = (await store.agent(org_id, agent)).id
        return org_id, agent_id, await store.set_directive(org_id, agent_id, text)

    done = with_store(work, lambda processes, changed: processes.directive_changed(*changed[:2]))
    print_values({"version": done[2]}, json)
