"""`ibex org|agent|token limits`: show and set rate limits."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

import orjson
import redis.asyncio
import typer

from ibex.cli.admin import Json, Org
from ibex.errors import InvalidRequestError
from ibex.ids import parse_id
from ibex.rate_limits import LARGEST, NO_LIMITS, Limits
from ibex.settings import load_settings
from ibex.stores.identity import IdentityStore
from ibex.stores.invalidation import Invalidations
from ibex.stores.limits import LimitStore
from ibex.stores.postgres import Database

Requests = Annotated[
    int | None, typer.Option(min=0, max=LARGEST, help="Requests a minute; 0: no limit.")
]
Tokens = Annotated[
    int | None, typer.Option(min=0, max=LARGEST, help="Model tokens a minute; 0: no limit.")
]
Default = Annotated[bool, typer.Option("--default", help="Go back to the deployment's default.")]


def org_limits(
    name: str,
    requests: Requests = None,
    tokens: Tokens = None,
    default: Default = False,
    json: Json = False,
) -> None:
    """Show or set what all of an organization's requests may use in a minute."""

    async def work(stores: "_Stores") -> Limits:
        org_id = await stores.identity.organization(name)
        return await stores.change(
            await stores.limits.organization(org_id),
            lambda limits: stores.limits.set_organization(org_id, limits),
            lambda: stores.invalidations.organization_changed(org_id),
        )

    _run(work, Limits(requests, tokens), default=default, json=json)


def agent_limits(
    name: str,
    org: Org = "demo",
    requests: Requests = None,
    tokens: Tokens = None,
    default: Default = False,
    json: Json = False,
) -> None:
    """Show or set what an agent may use in a minute."""

    async def work(stores: "_Stores") -> Limits:
        org_id = await stores.identity.organization(org)
        agent = await stores.identity.agent(org_id, name)
        return await stores.change(
            agent.limits,
            lambda limits: stores.limits.set_agent(org_id, agent.id, limits),
            lambda: stores.invalidations.agent_changed(org_id, agent.id),
        )

    _run(work, Limits(requests, tokens), default=default, json=json)


def token_limits(
    token_id: str,
    org: Org = "demo",
    requests: Requests = None,
    tokens: Tokens = None,
    default: Default = False,
    json: Json = False,
) -> None:
    """Show or set what an access token may use in a minute."""
    identifier = parse_id(token_id)
    if identifier is None:
        raise InvalidRequestError("This is not a token's id: it is a UUID, not the token itself.")

    async def work(stores: "_Stores", token: UUID = identifier) -> Limits:
        org_id = await stores.identity.organization(org)
        return await stores.change(
            await stores.limits.token(org_id, token),
            lambda limits: stores.limits.set_token(org_id, token, limits),
            lambda: stores.invalidations.token_changed(token),
        )

    _run(work, Limits(requests, tokens), default=default, json=json)


class _Stores:
    def __init__(
        self, database: Database, client: redis.asyncio.Redis, said: Limits, default: bool
    ) -> None:
        self.identity = IdentityStore(database)
        self.limits = LimitStore(database)
        self.invalidations = Invalidations(client)
        self._said = said
        self._default = default

    async def change(
        self,
        current: Limits,
        store: Callable[[Limits], Awaitable[None]],
        announce: Callable[[], Awaitable[None]],
    ) -> Limits:
        """What holds afterwards; nothing said changes nothing."""
        if self._said == NO_LIMITS and not self._default:
            return current
        wanted = self._said.over(NO_LIMITS if self._default else current)
        await store(wanted)
        await announce()
        return wanted


def _run(
    work: Callable[[_Stores], Awaitable[Limits]], said: Limits, *, default: bool, json: bool
) -> None:
    async def run() -> Limits:
        settings = load_settings()
        database = await Database.connect(settings.app_dsn, name="cli", max_size=1)
        client = redis.asyncio.Redis.from_url(
            settings.redis_dsn, socket_connect_timeout=2.0, socket_timeout=2.0
        )
        try:
            return await work(_Stores(database, client, said, default))
        finally:
            await client.aclose()
            await database.close()

    limits = asyncio.run(run())
    values = {
        "requests_per_minute": limits.requests,
        "tokens_per_minute": limits.tokens,
    }
    if json:
        sys.stdout.write(orjson.dumps(values).decode() + "\n")
        return
    for label, value in values.items():
        shown = "the default" if value is None else value or "no limit"
        sys.stdout.write(f"{label}: {shown}\n")
