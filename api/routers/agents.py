"""Agents and their directives."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from api.auth import AnyCaller, Reader, Writer
from api.pages import Page, Paging
from api.schemas.agents import Agent, AgentChange, Directive, NewAgent, NewDirective
from api.schemas.base import Text
from api.services import CurrentServices
from ibex.errors import AgentNotFoundError, NotFoundError
from ibex.stores.identity import Agent as KnownAgent

router = APIRouter(tags=["agents"])


async def _visible_agent(services: CurrentServices, caller: AnyCaller, agent: Text) -> KnownAgent:
    found = await services.identity.agent(caller.org_id, agent)
    if not caller.may_see(found.id):
        raise AgentNotFoundError
    return found


async def filtered_agent(
    services: CurrentServices, caller: AnyCaller, agent: Text | None
) -> UUID | None:
    """The agent that a listing is about; None: all that the caller may see are."""
    if not agent:
        return caller.agent_id
    return (await _visible_agent(services, caller, agent)).id


async def _agent_filter(
    services: CurrentServices,
    caller: AnyCaller,
    agent: Annotated[Text | None, Query(description="Id or name.")] = None,
) -> UUID | None:
    return await filtered_agent(services, caller, agent)


#: The agent of the query, by id or name. Comes after the caller's scope.
AgentFilter = Annotated[UUID | None, Depends(_agent_filter)]
#: The agent of the path, by id or name, that the caller may see. Comes after the caller's scope.
VisibleAgent = Annotated[KnownAgent, Depends(_visible_agent)]


@router.get("/agents")
async def list_agents(services: CurrentServices, caller: Reader, paging: Paging) -> Page[Agent]:
    """Newest first."""
    rows = await services.management.agents(
        caller.org_id, only=caller.agent_id, after=paging.after, limit=paging.one_more
    )
    return paging.page(rows, Agent.of)


@router.post("/agents", status_code=201)
async def create_agent(services: CurrentServices, caller: Writer, new: NewAgent) -> Agent:
    caller.require_whole_organization()
    agent_id = await services.identity.create_agent(
        caller.org_id,
        new.name,
        description=new.description,
        default_model=new.default_model,
        allowed_models=new.allowed_models,
        memory_token_budget=new.memory_token_budget,
        provider=new.provider,
        fallbacks=new.known_fallbacks(),
        retries=new.retries,
        first_byte_timeout=new.first_byte_timeout,
    )
    return Agent.of(await services.management.agent(caller.org_id, agent_id))


@router.get("/agents/{agent}")
async def read_agent(services: CurrentServices, caller: Reader, agent: VisibleAgent) -> Agent:
    return Agent.of(await services.management.agent(caller.org_id, agent.id))


@router.patch("/agents/{agent}")
async def change_agent(
    services: CurrentServices, caller: Writer, agent: VisibleAgent, change: AgentChange
) -> Agent:
    """In force everywhere within a second: a suspended agent is refused, a policy holds."""
    caller.require_whole_organization()
    await services.identity.change_agent(caller.org_id, agent.id, change.columns(), change.policy())
    await services.invalidations.agent_changed(caller.org_id, agent.id)
    if "memory_token_budget" in change.model_fields_set:
        await services.invalidations.directive_changed(caller.org_id, agent.id)
    return Agent.of(await services.management.agent(caller.org_id, agent.id))


@router.get("/agents/{agent}/directive")
async def read_directive(
    services: CurrentServices, caller: Reader, agent: VisibleAgent
) -> Directive:
    """The version in force."""
    directive = await services.identity.directive(caller.org_id, agent.id)
    if directive is None:
        raise NotFoundError("The agent has no directive.", hint="PUT one at this address.")
    return Directive(
        version=directive.version, content=directive.content if caller.sees_content else None
    )


@router.put("/agents/{agent}/directive")
async def set_directive(
    services: CurrentServices, caller: Writer, agent: VisibleAgent, new: NewDirective
) -> Directive:
    """A new version, in force everywhere within a second."""
    version = await services.identity.set_directive(caller.org_id, agent.id, new.content)
    await services.invalidations.directive_changed(caller.org_id, agent.id)
    return Directive(version=version, content=new.content if caller.sees_content else None)
