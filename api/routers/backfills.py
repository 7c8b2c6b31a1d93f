"""Backfills. What is asked for here, the pipeline does: an answer of 202 says that it will."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.auth import AnyCaller, Caller, Reader, Writer
from api.pages import Page, Paging
from api.routers.agents import AgentFilter, filtered_agent
from api.schemas.backfills import Backfill, BackfillDifference, MemoryChange, NewBackfill
from api.services import CurrentServices
from ibex.backfills.model import Backfill as StoredBackfill
from ibex.backfills.model import Kind, State
from ibex.backfills.wishing import wish
from ibex.errors import BackfillNotFoundError
from ibex.ids import parse_id
from ibex.stores.audit import Actor

router = APIRouter(tags=["backfills"])


async def _visible(services: CurrentServices, caller: AnyCaller, backfill: str) -> StoredBackfill:
    """With the figures of the sessions that the caller may see."""
    backfill_id = parse_id(backfill)
    if backfill_id is None:
        raise BackfillNotFoundError
    return await services.backfills.backfill(caller.org_id, backfill_id, agent_id=caller.agent_id)


Visible = Annotated[StoredBackfill, Depends(_visible)]


@router.get("/backfills")
async def list_backfills(
    services: CurrentServices, caller: Reader, paging: Paging, agent_id: AgentFilter
) -> Page[Backfill]:
    """Newest first."""
    rows = await services.backfills.backfills(
        caller.org_id, agent_id=agent_id, after=paging.after, limit=paging.one_more
    )
    return paging.page(rows, Backfill.of)


@router.post("/backfills", status_code=202)
async def create_backfill(services: CurrentServices, caller: Writer, new: NewBackfill) -> Backfill:
    """Read sessions again; nothing that is believed changes before it is switched."""
    wanted = wish(
        services.settings,
        new.since,
        new.until,
        agent_id=await filtered_agent(services, caller, new.agent),
        prompt=new.prompt,
        model=new.model,
    )
    return Backfill.of(await services.backfills.create(caller.org_id, wanted, _actor(caller)))


@router.get("/backfills/{backfill}")
async def read_backfill(caller: Reader, found: Visible) -> Backfill:
    """How far it is."""
    return Backfill.of(found)


@router.get("/backfills/{backfill}/difference")
async def read_difference(
    services: CurrentServices, caller: Reader, found: Visible
) -> BackfillDifference:
    """What switching changes, by agent, and both readings side by side."""
    difference = await services.backfills.difference(
        caller.org_id, found.id, agent_id=caller.agent_id
    )
    return BackfillDifference.of(difference, found, whole=_is_whole(caller, found))


@router.get("/backfills/{backfill}/changes")
async def list_changes(
    services: CurrentServices,
    caller: Reader,
    found: Visible,
    paging: Paging,
    agent_id: AgentFilter,
    kind: Annotated[Kind | None, Query(description="Of this kind only.")] = None,
) -> Page[MemoryChange]:
    """The memories that are added, gone and changed."""
    rows = await services.backfills.changes(
        caller.org_id,
        found.id,
        agent_id=agent_id,
        kind=kind,
        after=paging.after,
        limit=paging.one_more,
    )
    return paging.page(rows, lambda row: MemoryChange.of(row, with_content=caller.sees_content))


@router.post("/backfills/{backfill}/run", status_code=202)
async def run_backfill(services: CurrentServices, caller: Writer, found: Visible) -> Backfill:
    """Go on with one that was stopped; sessions that could not be read are tried again."""
    return await _ask(services, caller, found, State.WAITING)


@router.post("/backfills/{backfill}/switch", status_code=202)
async def switch_backfill(services: CurrentServices, caller: Writer, found: Visible) -> Backfill:
    """Believe what it found, instead of what the same sessions taught before."""
    return await _ask(services, caller, found, State.SWITCHING)


@router.post("/backfills/{backfill}/revert", status_code=202)
async def revert_backfill(services: CurrentServices, caller: Writer, found: Visible) -> Backfill:
    """Believe again what was believed before the switch."""
    return await _ask(services, caller, found, State.REVERTING)


@router.post("/backfills/{backfill}/discard")
async def discard_backfill(services: CurrentServices, caller: Writer, found: Visible) -> Backfill:
    """Delete what it found, unless it is switched."""
    _require_all_of(caller, found)
    return Backfill.of(await services.backfills.discard(caller.org_id, found.id, _actor(caller)))


async def _ask(
    services: CurrentServices, caller: Caller, found: StoredBackfill, state: State
) -> Backfill:
    _require_all_of(caller, found)
    return Backfill.of(await services.backfills.ask(caller.org_id, found.id, state, _actor(caller)))


def _is_whole(caller: Caller, found: StoredBackfill) -> bool:
    """The caller may see all of its sessions."""
    return caller.agent_id is None or found.wish.agent_id == caller.agent_id


def _require_all_of(caller: Caller, found: StoredBackfill) -> None:
    if not _is_whole(caller, found):
        caller.require_whole_organization()


def _actor(caller: Caller) -> Actor:
    return Actor("token", str(caller.token.token_id))
