"""Rate limits of the organization, its agents and its tokens; in force within a second."""

from uuid import UUID

from fastapi import APIRouter

from api.auth import Reader, Writer
from api.routers.agents import VisibleAgent
from api.schemas.limits import RateLimits
from api.services import CurrentServices

router = APIRouter(tags=["limits"])


@router.get("/limits")
async def read_limits(services: CurrentServices, caller: Reader) -> RateLimits:
    """Of all the organization's requests together."""
    return RateLimits.of(await services.limits.organization(caller.org_id))


@router.put("/limits")
async def set_limits(services: CurrentServices, caller: Writer, new: RateLimits) -> RateLimits:
    caller.require_whole_organization()
    await services.limits.set_organization(caller.org_id, new.as_limits())
    await services.invalidations.organization_changed(caller.org_id)
    return new


@router.get("/agents/{agent}/limits")
async def read_agent_limits(
    services: CurrentServices, caller: Reader, agent: VisibleAgent
) -> RateLimits:
    return RateLimits.of(await services.limits.agent(caller.org_id, agent.id))


@router.put("/agents/{agent}/limits")
async def set_agent_limits(
    services: CurrentServices, caller: Writer, agent: VisibleAgent, new: RateLimits
) -> RateLimits:
    """An agent's own token does not raise its limits."""
    caller.require_whole_organization()
    await services.limits.set_agent(caller.org_id, agent.id, new.as_limits())
    await services.invalidations.agent_changed(caller.org_id, agent.id)
    return new


@router.get("/tokens/{token_id}/limits")
async def read_token_limits(
    services: CurrentServices, caller: Reader, token_id: UUID
) -> RateLimits:
    caller.require_whole_organization()
    return RateLimits.of(await services.limits.token(caller.org_id, token_id))


@router.put("/tokens/{token_id}/limits")
async def set_token_limits(
    services: CurrentServices, caller: Writer, token_id: UUID, new: RateLimits
) -> RateLimits:
    caller.require_whole_organization()
    await services.limits.set_token(caller.org_id, token_id, new.as_limits())
    await services.invalidations.token_changed(token_id)
    return new
