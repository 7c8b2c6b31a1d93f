"""From a memory, a request or a session to all that it came from and went to."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.auth import Reader
from api.pages import Paging
from api.schemas.base import Text
from api.schemas.lineage import Lineage
from api.services import CurrentServices
from ibex.cursor import encode_cursor

router = APIRouter(tags=["lineage"])


@router.get("/lineage/{id}")
async def read_lineage(
    services: CurrentServices,
    caller: Reader,
    id: Text,  # noqa: A002 — the name in the address
    paging: Paging,
    archive_urls: Annotated[
        bool,
        Query(description="Sign a URL of each archive, good for 15 minutes. Needs 'content'."),
    ] = False,
) -> Lineage:
    """Of a memory, a request (its `x-request-id`) or a session (also by the application's own id).

    Backwards: versions, statements, runs, extractors, prompts, models, sessions, turns, archives.
    Forwards: the requests that were given the memories, in pages, the newest session's first.
    """
    if archive_urls:
        caller.require("content")
    found = await services.lineage.of(
        caller.org_id, id, agent_id=caller.agent_id, after=paging.after, limit=paging.limit
    )
    lineage = Lineage.of(found, with_content=caller.sees_content)
    if found.more_requests:
        lineage.next_cursor = encode_cursor(found.requests[-1].id)
    if archive_urls:
        for session in lineage.sessions:
            if session.archive is not None:
                archive = session.archive
                archive.url = await services.objects.presign(archive.bucket, archive.key)
    return lineage
