"""`ibex backfill …`: read sessions again with another prompt or model, compare, switch, revert."""

import asyncio
import getpass
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import UUID

import orjson
import typer
from rich.console import Console

from ibex.cli.admin import Json, Org
from ibex.cli.backfill_views import (
    as_dict,
    change_of,
    difference_of,
    show_backfill,
    show_difference,
    show_list,
    show_samples,
)
from ibex.cli.progress import counted
from ibex.errors import InvalidRequestError
from ibex.ids import parse_id
from ibex.settings import Settings, load_settings
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database

if TYPE_CHECKING:
    from ibex.backfills.model import Backfill, Difference, Kind, ShownChange, State

backfill_app = typer.Typer(
    help="Read sessions again with another prompt or model.", no_args_is_help=True
)

T = TypeVar("T")
_PAGE = 100
_Id = Annotated[str, typer.Argument(help="The backfill's id.")]
_Agent = Annotated[str | None, typer.Option(help="Of this agent only.")]
_Background = Annotated[
    bool, typer.Option("--background", help="Let the pipeline do it, and return at once.")
]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@backfill_app.command("memories")
def memories(
    since: Annotated[datetime, typer.Option(help="Sessions that began from here on, UTC.")],
    until: Annotated[datetime | None, typer.Option(help="And before this.")] = None,
    agent: _Agent = None,
    prompt: Annotated[str | None, typer.Option(help="Its name; default: the one in use.")] = None,
    model: Annotated[str | None, typer.Option(help="Default: the one in use.")] = None,
    org: Org = "demo",
    background: _Background = False,
    json: Json = False,
) -> None:
    """Extract facts from sessions once more, beside what is believed, and show the difference.

    Nothing that is believed changes before 'ibex backfill switch'. Harmless to stop: 'ibex backfill
    run' goes on.
    """
    from ibex.backfills.model import State  # noqa: PLC0415 — not for the CLI's start
    from ibex.backfills.wishing import wish  # noqa: PLC0415

    async def create(opened: "_Opened") -> "Backfill":
        agent_id = await opened.agent_id(agent)
        wanted = wish(opened.settings, since, until, agent_id=agent_id, prompt=prompt, model=model)
        state = State.WAITING if background else State.PAUSED
        return await opened.store.create(opened.org_id, wanted, _actor(), state=state)

    made = _with(org, create)
    if not json:
        _console().print(f"Backfill {made.id}: {made.sessions:,} sessions.")
    _go_on(made, org, background=background, json=json)


@backfill_app.command("run")
def run(
    backfill: _Id, org: Org = "demo", background: _Background = False, json: Json = False
) -> None:
    """Go on with one that was stopped; sessions that could not be read are tried again."""
    from ibex.backfills.model import State  # noqa: PLC0415

    state = State.WAITING
    _go_on(_ask(backfill, org, state), org, background=background, json=json)


@backfill_app.command("list")
def list_backfills(org: Org = "demo", agent: _Agent = None, json: Json = False) -> None:
    """All backfills, the newest first."""

    async def work(opened: "_Opened") -> list["Backfill"]:
        agent_id = await opened.agent_id(agent)
        found: list[Backfill] = []
        while True:
            page = await opened.store.backfills(
                opened.org_id,
                agent_id=agent_id,
                after=found[-1].id if found else None,
                limit=_PAGE,
            )
            found += page
            if len(page) < _PAGE:
                return found

    found = _with(org, work)
    if json:
        _print([as_dict(one) for one in found])
        return
    if not found:
        Console().print("There is none. 'ibex backfill memories --since 2026-01-01' makes one.")
        return
    show_list(found)


@backfill_app.command("show")
def show(backfill: _Id, org: Org = "demo", json: Json = False) -> None:
    """How far one is, what it has cost, and how its statements compare with those before."""
    found, difference = _read(backfill, org)
    if json:
        _print(as_dict(found) | difference_of(difference, found))
    else:
        show_backfill(found, difference)


@backfill_app.command("diff")
def diff(
    backfill: _Id,
    org: Org = "demo",
    agent: _Agent = None,
    samples: Annotated[
        int, typer.Option(min=0, max=10_000, help="Show what so many of them say.")
    ] = 0,
    kind: Annotated[
        str | None, typer.Option(help="Samples of this kind: added, gone or changed.")
    ] = None,
    json: Json = False,
) -> None:
    """What switching changes, by agent: memories that are added, gone and changed."""
    from ibex.backfills.model import Kind  # noqa: PLC0415

    if kind is not None and kind not in set(Kind):
        raise InvalidRequestError(f"A kind is one of {', '.join(Kind)}.")
    wanted = Kind(kind) if kind else None
    found, difference = _read(backfill, org, agent)
    shown = _samples(backfill, org, agent, wanted, samples) if samples else []
    if json:
        listed = {"samples": [change_of(one) for one in shown]} if samples else {}
        told = difference_of(difference, found)
        if agent is not None:
            del told["unchanged"]  # is of all agents
        _print({"id": found.id, "status": found.status} | told | listed)
        return
    if found.compared_at is None:
        raise InvalidRequestError(
            "The backfill is not compared yet.", hint="See 'ibex backfill show'."
        )
    show_difference(found, difference, whole=agent is None)
    show_samples(shown)


@backfill_app.command("switch")
def switch(
    backfill: _Id,
    org: Org = "demo",
    background: _Background = False,
    yes: _Yes = False,
    json: Json = False,
) -> None:
    """Believe what the backfill found, instead of what the same sessions taught before."""
    from ibex.backfills.model import State  # noqa: PLC0415

    found, difference = _read(backfill, org)
    if not yes:
        show_difference(found, difference)
        typer.confirm("Switch?", abort=True)
    _go_on(_ask(backfill, org, State.SWITCHING), org, background=background, json=json)


@backfill_app.command("revert")
def revert(
    backfill: _Id, org: Org = "demo", background: _Background = False, json: Json = False
) -> None:
    """Believe what was believed before the switch; possible for IBEX_BACKFILL_GRACE_DAYS."""
    from ibex.backfills.model import State  # noqa: PLC0415

    _go_on(_ask(backfill, org, State.REVERTING), org, background=background, json=json)


@backfill_app.command("discard")
def discard(backfill: _Id, org: Org = "demo", yes: _Yes = False, json: Json = False) -> None:
    """Delete what a backfill found that is not switched. Its figures stay."""
    backfill_id = _id(backfill)
    if not yes:
        typer.confirm("Delete what this backfill found?", abort=True)
    found = _with(org, lambda opened: opened.store.discard(opened.org_id, backfill_id, _actor()))
    _print(as_dict(found)) if json else Console().print("Discarded.")


def _go_on(made: "Backfill", org: str, *, background: bool, json: bool) -> None:
    """Work on it here, with progress, or leave it to the pipeline."""
    if background:
        if json:
            _print(as_dict(made))
        else:
            _console().print(f"The pipeline works on it: 'ibex backfill show {made.id}'.")
        return
    done = _work(made, org, quiet=json)
    difference = _read(str(made.id), org)[1]
    if json:
        _print(as_dict(done) | difference_of(difference, done))
        return
    show_backfill(done, difference)


def _work(made: "Backfill", org: str, *, quiet: bool) -> "Backfill":
    progress = counted(quiet=quiet)

    async def work() -> "Backfill":
        from ibex.backfills.model import State  # noqa: PLC0415
        from ibex.backfills.opening import open_tools  # noqa: PLC0415
        from ibex.backfills.running import BackfillRunner  # noqa: PLC0415

        tasks: dict[str, Any] = {}

        def watch(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what)
            progress.update(tasks[what], completed=done, total=total)

        async with open_tools(load_settings()) as tools:
            org_id = await IdentityStore(tools.database).organization(org)
            runner = BackfillRunner(tools, f"backfill-{made.id}", watch=watch)
            return await runner.run(org_id, made.id, on_error=State.PAUSED)

    try:
        with progress:
            return asyncio.run(work())
    except (KeyboardInterrupt, asyncio.CancelledError):
        if not quiet:
            _console().print(f"Stopped. 'ibex backfill run {made.id}' goes on.")
        raise KeyboardInterrupt from None


class _Opened:
    def __init__(self, settings: Settings, database: Database, org_id: UUID) -> None:
        from ibex.stores.backfills import BackfillStore  # noqa: PLC0415

        self.settings = settings
        self.org_id = org_id
        self.store: BackfillStore = BackfillStore(database)
        self._identity = IdentityStore(database)

    async def agent_id(self, name: str | None) -> UUID | None:
        return (await self._identity.agent(self.org_id, name)).id if name else None


def _with(org: str, work: Callable[[_Opened], Awaitable[T]]) -> T:
    async def run() -> T:
        async with _opened(org) as opened:
            return await work(opened)

    return asyncio.run(run())


@asynccontextmanager
async def _opened(org: str) -> AsyncIterator[_Opened]:
    settings = load_settings()
    database = await Database.connect(
        settings.app_dsn, name="cli", max_size=1, command_timeout=60.0
    )
    try:
        yield _Opened(settings, database, await IdentityStore(database).organization(org))
    finally:
        await database.close()


def _ask(backfill: str, org: str, state: "State") -> "Backfill":
    backfill_id = _id(backfill)
    return _with(org, lambda one: one.store.ask(one.org_id, backfill_id, state, _actor()))


def _read(backfill: str, org: str, agent: str | None = None) -> tuple["Backfill", "Difference"]:
    backfill_id = _id(backfill)

    async def work(opened: _Opened) -> tuple["Backfill", "Difference"]:
        agent_id = await opened.agent_id(agent)
        found = await opened.store.backfill(opened.org_id, backfill_id, agent_id=agent_id)
        return found, await opened.store.difference(opened.org_id, backfill_id, agent_id=agent_id)

    return _with(org, work)


def _samples(
    backfill: str, org: str, agent: str | None, kind: "Kind | None", limit: int
) -> list["ShownChange"]:
    backfill_id = _id(backfill)

    async def work(opened: _Opened) -> list["ShownChange"]:
        return await opened.store.changes(
            opened.org_id,
            backfill_id,
            agent_id=await opened.agent_id(agent),
            kind=kind,
            limit=limit,
        )

    return _with(org, work)


def _actor() -> Any:
    from ibex.stores.audit import Actor  # noqa: PLC0415

    return Actor("cli", getpass.getuser())


def _id(text: str) -> UUID:
    identifier = parse_id(text)
    if identifier is None:
        raise InvalidRequestError("This is not a backfill's id: it is a UUID.")
    return identifier


def _print(value: object) -> None:
    sys.stdout.write(orjson.dumps(value, default=str).decode() + "\n")


def _console() -> Console:
    return Console(stderr=True)
