"""`ibex org|agent retention`: how long memories are kept, and how many."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated

import orjson
import typer

from ibex.cli.admin import Json, Org
from ibex.memory.forgetting import LONGEST, MOST, Retention
from ibex.settings import load_settings
from ibex.stores.forgetting import RetentionStore
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database

Procedural = Annotated[
    int | None, typer.Option(min=0, max=LONGEST, help="Days for procedural ones; 0: without end.")
]
Declarative = Annotated[int | None, typer.Option(min=0, max=LONGEST, help="For declarative ones.")]
Episodic = Annotated[int | None, typer.Option(min=0, max=LONGEST, help="For episodic ones.")]
Memories = Annotated[
    int | None, typer.Option(min=0, max=MOST, help="How many; the least valuable go. 0: any.")
]
Default = Annotated[bool, typer.Option("--default", help="Go back to the default first.")]


def org_retention(
    name: str,
    procedural: Procedural = None,
    declarative: Declarative = None,
    episodic: Episodic = None,
    memories: Memories = None,
    default: Default = False,
    json: Json = False,
) -> None:
    """Show or set how long an organization's memories are kept, and how many it has."""

    async def work(identity: IdentityStore, store: RetentionStore) -> Retention:
        org_id = await identity.organization(name)
        return await _changed(
            await store.organization(org_id),
            Retention(procedural, declarative, episodic, memories),
            lambda rules: store.set_organization(org_id, rules),
            default=default,
        )

    _run(work, json=json)


def agent_retention(
    name: str,
    org: Org = "demo",
    procedural: Procedural = None,
    declarative: Declarative = None,
    episodic: Episodic = None,
    memories: Memories = None,
    default: Default = False,
    json: Json = False,
) -> None:
    """Show or set how long an agent's memories are kept after they were last said, and how many."""

    async def work(identity: IdentityStore, store: RetentionStore) -> Retention:
        org_id = await identity.organization(org)
        agent_id = (await identity.agent(org_id, name)).id
        return await _changed(
            await store.agent(org_id, agent_id),
            Retention(procedural, declarative, episodic, memories),
            lambda rules: store.set_agent(org_id, agent_id, rules),
            default=default,
        )

    _run(work, json=json)


async def _changed(
    current: Retention,
    said: Retention,
    store: Callable[[Retention], Awaitable[None]],
    *,
    default: bool,
) -> Retention:
    """What is said here afterwards; nothing said changes nothing."""
    if not said.as_dict() and not default:
        return current
    wanted = said.over(Retention() if default else current)
    await store(wanted)
    return wanted


def _run(
    work: Callable[[IdentityStore, RetentionStore], Awaitable[Retention]], *, json: bool
) -> None:
    async def run() -> Retention:
        database = await Database.connect(load_settings().app_dsn, name="cli", max_size=1)
        try:
            return await work(IdentityStore(database), RetentionStore(database))
        finally:
            await database.close()

    values = asdict(asyncio.run(run()))
    if json:
        sys.stdout.write(orjson.dumps(values).decode() + "\n")
        return
    for name, value in values.items():
        shown = "the default" if value is None else value or "without end"
        sys.stdout.write(f"{name}: {shown}\n")
