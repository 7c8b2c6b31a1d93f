"""Counts of everything."""

from fastapi import APIRouter

from api.auth import Reader
from api.schemas.overview import Overview
from api.services import CurrentServices

router = APIRouter(tags=["overview"])


@router.get("/overview")
async def overview(services: CurrentServices, caller: Reader) -> Overview:
    """Of the organization, or of the agent that the token is bound to."""
    counts = await services.management.overview(caller.org_id, caller.agent_id)
    return Overview.of(counts, await services.pipeline.counts(caller.org_id, caller.agent_id))
