"""Counts: of everything, and of the pipeline's work."""

from fastapi import APIRouter

from api.auth import Reader
from api.schemas.overview import Failure, Jobs, Overview, Pipeline
from api.services import CurrentServices

router = APIRouter(tags=["overview"])


@router.get("/overview")
async def overview(services: CurrentServices, caller: Reader) -> Overview:
    """Of the organization, or of the agent that the token is bound to."""
    counts = await services.management.overview(caller.org_id, caller.agent_id)
    return Overview.of(counts, await services.management.jobs(caller.org_id, caller.agent_id))


@router.get("/pipeline")
async def pipeline(services: CurrentServices, caller: Reader) -> Pipeline:
    """What extraction and archiving have still to do, and what failed."""
    who = (caller.org_id, caller.agent_id)
    jobs = await services.management.jobs(*who)
    counts = await services.management.overview(*who)
    failures = await services.management.failed_jobs(*who)
    return Pipeline(
        jobs=Jobs.model_validate(jobs),
        oldest_waiting_at=jobs.oldest_waiting_at,
        unarchived_sessions=counts.completed - counts.archived,
        failures=[Failure.of(failure) for failure in failures],
    )
