"""Whole tables as files."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from api.auth import Caller, Reader
from api.schemas.base import Text
from api.services import CurrentServices, Services
from ibex.errors import AgentNotFoundError
from ibex.transfer.exporting import Scope
from ibex.transfer.formats import Format
from ibex.transfer.tables import Table

router = APIRouter(tags=["exports"])

_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file, streamed; a connection that breaks means that it is not whole.",
        "content": {form.media_type: {} for form in Format},
    }
}
Wanted = Annotated[Format, Query(alias="format", description="Of the file.")]
OfAgent = Annotated[Text | None, Query(description="Of this agent only, by name or id.")]
OfUser = Annotated[Text | None, Query(description="Of this user only, the application's own id.")]


@router.get("/memories/export", response_class=StreamingResponse, responses=_FILE)
async def export_memories(
    services: CurrentServices,
    caller: Reader,
    form: Wanted = Format.JSONL,
    agent: OfAgent = None,
    user: OfUser = None,
    embeddings: Annotated[bool, Query(description="With their vectors.")] = False,
) -> StreamingResponse:
    """Every memory with its provenance, as 'ibex import memories' takes it. Needs the scope
    'content'."""
    caller.require("content")
    scope = await _scope(services, caller, agent, user)
    return await services.exports.answer(Table.MEMORIES, scope, form, embeddings=embeddings)


@router.get("/sessions/export", response_class=StreamingResponse, responses=_FILE)
async def export_sessions(
    services: CurrentServices,
    caller: Reader,
    form: Wanted = Format.JSONL,
    agent: OfAgent = None,
    user: OfUser = None,
) -> StreamingResponse:
    """Every session with its turns. Needs the scope 'content'."""
    caller.require("content")
    scope = await _scope(services, caller, agent, user)
    return await services.exports.answer(Table.SESSIONS, scope, form)


@router.get("/injections/export", response_class=StreamingResponse, responses=_FILE)
async def export_injections(
    services: CurrentServices,
    caller: Reader,
    form: Wanted = Format.JSONL,
    agent: OfAgent = None,
    user: OfUser = None,
) -> StreamingResponse:
    """Which memories each request was given: ids, scores, tokens; no content."""
    scope = await _scope(services, caller, agent, user)
    return await services.exports.answer(Table.INJECTIONS, scope, form)


async def _scope(services: Services, caller: Caller, agent: str | None, user: str | None) -> Scope:
    agent_id: UUID | None = caller.agent_id
    if agent:
        agent_id = (await services.identity.agent(caller.org_id, agent)).id
        if not caller.may_see(agent_id):
            raise AgentNotFoundError
    user_id = await services.identity.known_user(caller.org_id, user) if user else None
    return Scope(caller.org_id, agent_id, user_id)
