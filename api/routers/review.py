"""Quarantine and what an operator decides about memories."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends

from api.auth import Caller, Reader, Writer
from api.pages import Page, Paging
from api.routers.agents import AgentFilter
from api.schemas.memories import Decision, Expiry, Memory
from api.services import CurrentServices
from ibex.memory.trust import Status
from ibex.stores.audit import Actor
from ibex.stores.management import MemoryFilter

router = APIRouter(tags=["review"])


async def _reviewer(caller: Writer) -> Caller:
    """Nobody decides about words that they may not read, and no application about its own."""
    caller.require("content")
    caller.require_whole_organization()
    return caller


Reviewer = Annotated[Caller, Depends(_reviewer)]


@router.get("/quarantine")
async def list_quarantine(
    services: CurrentServices,
    caller: Reader,
    paging: Paging,
    agent_id: AgentFilter,
) -> Page[Memory]:
    """Memories that wait for a review, newest first. They are never recalled meanwhile."""
    rows = await services.management.memories(
        caller.org_id,
        agent_id,
        MemoryFilter(status=Status.QUARANTINED),
        after=paging.after,
        limit=paging.one_more,
    )
    return paging.page(rows, lambda row: Memory.of(row, with_content=caller.sees_content))


@router.post("/memories/{memory_id}/approve")
async def approve_memory(
    services: CurrentServices, caller: Reviewer, memory_id: UUID, decision: Decision
) -> Memory:
    """It is recalled from now on. Also takes a rejection back; doing it again changes nothing."""
    await services.review.approve(
        caller.org_id, memory_id, _actor(caller), version=decision.version
    )
    return await _decided(services, caller, memory_id)


@router.post("/memories/{memory_id}/reject")
async def reject_memory(
    services: CurrentServices, caller: Reviewer, memory_id: UUID, decision: Decision
) -> Memory:
    """It is never recalled, and the same words do not become a memory again. Also for one that
    is active."""
    await services.review.reject(caller.org_id, memory_id, _actor(caller), version=decision.version)
    return await _decided(services, caller, memory_id)


@router.post("/memories/{memory_id}/promote", status_code=201)
async def promote_memory(
    services: CurrentServices, caller: Reviewer, memory_id: UUID, decision: Decision
) -> Memory:
    """A user's memory becomes one of the agent's own, which all of its users get; the user's
    stays. The answer is the new memory."""
    promoted = await services.review.promote(
        caller.org_id, memory_id, _actor(caller), version=decision.version
    )
    return await _decided(services, caller, promoted)


@router.put("/memories/{memory_id}/expiry")
async def set_expiry(
    services: CurrentServices, caller: Reviewer, memory_id: UUID, expiry: Expiry
) -> Memory:
    """From then on it is not recalled, and within the hour it is deleted with its history."""
    await services.review.expire(
        caller.org_id, memory_id, expiry.expires_at, _actor(caller), version=expiry.version
    )
    return await _decided(services, caller, memory_id)


def _actor(caller: Caller) -> Actor:
    return Actor("token", str(caller.token.token_id))


async def _decided(services: CurrentServices, caller: Caller, memory_id: UUID) -> Memory:
    memory = await services.management.memory(caller.org_id, memory_id)
    return Memory.of(memory, with_content=True)
