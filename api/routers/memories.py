"""What was learned."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from api.auth import Reader
from api.pages import Page, Paging
from api.routers.agents import VisibleAgent
from api.schemas.base import Text
from api.schemas.history import History
from api.schemas.memories import Memory, MemoryStatus
from api.services import CurrentServices
from ibex.errors import MemoryNotFoundError
from ibex.memory.model import Category
from ibex.stores.management import MemoryFilter

router = APIRouter(tags=["memories"])


@router.get("/agents/{agent}/memories")
async def list_memories(
    services: CurrentServices,
    caller: Reader,
    agent: VisibleAgent,
    paging: Paging,
    category: Category | None = None,
    status: MemoryStatus | None = None,
    user: Annotated[Text | None, Query(description="The application's own id.")] = None,
    q: Annotated[
        Text | None,
        Query(description="Words, or a part of the text. Needs the scope 'content'."),
    ] = None,
    include_past: Annotated[
        bool, Query(description="Also those whose validity has ended.")
    ] = False,
    as_of: Annotated[
        AwareDatetime | None,
        Query(description="What was believed at this time, with its zone, instead of now."),
    ] = None,
    tag: Annotated[Text | None, Query(description="Needs the scope 'content'.")] = None,
) -> Page[Memory]:
    """Newest first."""
    if q or tag:
        caller.require("content")  # else the text could be guessed letter by letter
    wanted = MemoryFilter(
        category=category,
        status=status,
        user=user or None,
        include_past=include_past,
        query=q or None,
        as_of=as_of,
        tag=tag or None,
    )
    rows = await services.management.memories(
        caller.org_id, agent.id, wanted, after=paging.after, limit=paging.one_more
    )
    return paging.page(rows, lambda row: Memory.of(row, with_content=caller.sees_content))


@router.get("/memories/{memory_id}")
async def read_memory(services: CurrentServices, caller: Reader, memory_id: UUID) -> Memory:
    memory = await services.management.memory(caller.org_id, memory_id)
    if not caller.may_see(memory.agent_id):
        raise MemoryNotFoundError
    return Memory.of(memory, with_content=caller.sees_content)


@router.get("/memories/{memory_id}/history")
async def read_memory_history(
    services: CurrentServices, caller: Reader, memory_id: UUID
) -> History:
    """What it was, each time that it was said, and what it supersedes or contradicts."""
    memory = await services.management.memory(caller.org_id, memory_id)
    if not caller.may_see(memory.agent_id):
        raise MemoryNotFoundError
    history = await services.history.of(caller.org_id, memory_id)
    return History.of(history, with_content=caller.sees_content)
