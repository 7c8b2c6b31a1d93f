"""The pipeline's work: what waits, what failed, and what is tried again."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.auth import Reader, Writer
from api.pages import Page, Paging
from api.routers.agents import AgentFilter, filtered_agent
from api.routers.sessions import VisibleSession
from api.schemas.base import Text
from api.schemas.pipeline import (
    DeadLetterCount,
    Failure,
    Job,
    Jobs,
    Pipeline,
    Requeue,
    Requeued,
    Run,
)
from api.services import CurrentServices
from ibex.errors import NotFoundError

router = APIRouter(tags=["pipeline"])


@router.get("/pipeline")
async def pipeline(services: CurrentServices, caller: Reader, agent_id: AgentFilter) -> Pipeline:
    """What extraction and archiving have still to do, and what failed."""
    who = (caller.org_id, agent_id)
    jobs = await services.pipeline.counts(*who)
    sessions = await services.management.overview(*who)
    return Pipeline(
        accepted=jobs.accepted,
        jobs=Jobs.model_validate(jobs),
        oldest_waiting_at=jobs.oldest_waiting_at,
        unarchived_sessions=sessions.completed - sessions.archived,
        dead_letters=[
            DeadLetterCount.model_validate(one)
            for one in await services.pipeline.dead_by_code(*who)
        ],
        failures=[Failure.model_validate(one) for one in await services.pipeline.failures(*who)],
        runs=[Run.model_validate(one) for one in await services.pipeline.runs(*who)],
    )


@router.get("/pipeline/dead-letters")
async def list_dead_letters(
    services: CurrentServices,
    caller: Reader,
    paging: Paging,
    agent_id: AgentFilter,
    code: Annotated[Text | None, Query(description="Those that ended with this error.")] = None,
) -> Page[Job]:
    """Sessions that were given up after their last try; the one that was completed last comes
    first."""
    rows = await services.pipeline.dead_letters(
        caller.org_id, agent_id, code=code, after=paging.after, limit=paging.one_more
    )
    return paging.page(rows, Job.model_validate)


@router.get("/pipeline/sessions/{session}")
async def read_job(services: CurrentServices, caller: Reader, session: VisibleSession) -> Job:
    """Where one session is."""
    job = await services.pipeline.job(caller.org_id, session)
    if job is None:
        raise NotFoundError(
            "The session was never completed.", hint="Complete it, and it is extracted."
        )
    return Job.model_validate(job)


@router.post("/pipeline/sessions/{session}/retry")
async def retry_session(services: CurrentServices, caller: Writer, session: VisibleSession) -> Job:
    """The next run takes it, within seconds, with all its tries: a dead letter, or one that waits
    for another try."""
    await services.jobs.retry(caller.org_id, session)
    return await read_job(services, caller, session)


@router.post("/pipeline/requeue")
async def requeue(services: CurrentServices, caller: Writer, which: Requeue) -> Requeued:
    """Make dead letters wait again. Doing it again changes nothing."""
    agent_id = await filtered_agent(services, caller, which.agent)
    session_id = None
    if which.session:
        session_id = await services.management.find_session(caller.org_id, which.session, agent_id)
    count = await services.jobs.requeue(
        caller.org_id, agent_id=agent_id, session_id=session_id, code=which.code
    )
    return Requeued(requeued=count)
