"""How long memories are kept, and how many; the hourly forgetting goes by it."""

from fastapi import APIRouter

from api.auth import Reader, Writer
from api.routers.agents import VisibleAgent
from api.schemas.retention import RetentionRules
from api.services import CurrentServices

router = APIRouter(tags=["retention"])


@router.get("/retention")
async def read_retention(services: CurrentServices, caller: Reader) -> RetentionRules:
    """Of all agents that have no rule of their own; `memories`: of all of them together."""
    return RetentionRules.of(await services.retention.organization(caller.org_id))


@router.put("/retention")
async def set_retention(
    services: CurrentServices, caller: Writer, new: RetentionRules
) -> RetentionRules:
    """What is beyond the new rules is deleted within the hour, and cannot be brought back."""
    caller.require_whole_organization()
    await services.retention.set_organization(caller.org_id, new.as_retention())
    return new


@router.get("/agents/{agent}/retention")
async def read_agent_retention(
    services: CurrentServices, caller: Reader, agent: VisibleAgent
) -> RetentionRules:
    return RetentionRules.of(await services.retention.agent(caller.org_id, agent.id))


@router.put("/agents/{agent}/retention")
async def set_agent_retention(
    services: CurrentServices, caller: Writer, agent: VisibleAgent, new: RetentionRules
) -> RetentionRules:
    """An agent's own token does not make it forget. Otherwise as for the organization."""
    caller.require_whole_organization()
    await services.retention.set_agent(caller.org_id, agent.id, new.as_retention())
    return new
