"""Conversations: listed, replayed with what was injected, completed, downloaded."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends

from api.auth import AnyCaller, Reader, Writer
from api.injected import describe_injections
from api.pages import Page, Paging
from api.routers.agents import AgentFilter
from api.schemas.base import Text
from api.schemas.sessions import Archive, Session, SessionStatus, Turn
from api.services import CurrentServices
from ibex.errors import ConflictError
from ibex.stores.objects import PRESIGNED_FOR

router = APIRouter(tags=["sessions"])


async def _visible_session(services: CurrentServices, caller: AnyCaller, session: Text) -> UUID:
    return await services.management.find_session(caller.org_id, session, caller.agent_id)


#: The session of the path, by its id or the application's own, that the caller may see.
VisibleSession = Annotated[UUID, Depends(_visible_session)]


@router.get("/sessions")
async def list_sessions(
    services: CurrentServices,
    caller: Reader,
    paging: Paging,
    agent_id: AgentFilter,
    status: SessionStatus | None = None,
) -> Page[Session]:
    """The one recorded last comes first."""
    rows = await services.management.sessions(
        caller.org_id, agent_id=agent_id, status=status, after=paging.after, limit=paging.one_more
    )
    return paging.page(rows, Session.of)


@router.get("/sessions/{session}")
async def read_session(
    services: CurrentServices, caller: Reader, session: VisibleSession
) -> Session:
    return Session.of(await services.management.session(caller.org_id, session))


@router.get("/sessions/{session}/turns")
async def list_turns(
    services: CurrentServices, caller: Reader, session: VisibleSession, paging: Paging
) -> Page[Turn]:
    """In the order of the conversation, each with what was put into its request."""
    rows = await services.management.turns(
        caller.org_id, session, after=paging.after, limit=paging.one_more
    )
    if caller.sees_content:
        rows = await services.turns.filled(caller.org_id, session, rows)
    injections = await services.management.injections(
        caller.org_id, [row.request_id for row in rows]
    )
    described = await describe_injections(services, caller, injections)
    return paging.page(
        rows,
        lambda row: Turn.of(row, described.get(row.request_id), with_content=caller.sees_content),
    )


@router.post("/sessions/{session}/complete")
async def complete_session(
    services: CurrentServices, caller: Writer, session: VisibleSession
) -> Session:
    """Say that the conversation is over: its extraction starts. Doing it again changes nothing."""
    await services.sessions.complete(caller.org_id, session)
    return Session.of(await services.management.session(caller.org_id, session))


@router.get("/sessions/{session}/archive")
async def read_archive(
    services: CurrentServices, caller: Reader, session: VisibleSession
) -> Archive:
    """A pre-signed URL of the session's NDJSON, good for 15 minutes. Needs the scope 'content'."""
    caller.require("content")
    record = await services.management.session_archive(caller.org_id, session)
    if record is None:
        raise ConflictError(
            "The session is not archived yet.",
            hint="Complete it; its archive follows within seconds.",
        )
    expires_at = datetime.now(UTC) + PRESIGNED_FOR
    url = await services.objects.presign(record.bucket, record.key)
    return Archive.of(record, url, expires_at)
