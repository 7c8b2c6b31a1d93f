"""Say whether an answer, or a memory, helped."""

import logging
from collections.abc import Iterable
from uuid import UUID

from fastapi import APIRouter

from api.auth import Speaker, Writer
from api.schemas.base import Text
from api.schemas.feedback import AnswerVote, Feedback, MemoryVote
from api.schemas.memories import Memory
from api.services import CurrentServices, Services
from ibex.errors import CacheUnavailableError, MemoryNotFoundError, NotFoundError
from ibex.stores.memories_write import Owner

router = APIRouter(tags=["feedback"])
_log = logging.getLogger("ibex.api")


@router.post("/injections/{request_id}/feedback")
async def vote_on_answer(
    services: CurrentServices, caller: Speaker, request_id: Text, vote: AnswerVote
) -> Feedback:
    """One vote on each answer, by the `x-request-id` of the proxy's answer; the last one counts.

    It counts for the memories that the answer rests on, and more than many answers do.
    """
    record = await services.management.injection(caller.org_id, request_id)
    if not caller.may_see(record.agent_id):
        raise NotFoundError("Nothing was recorded as injected into this request.")
    observed = await services.observer.observe_request(caller.org_id, request_id)
    voted = await services.usefulness.vote_on_request(
        caller.org_id,
        request_id,
        caller.token.token_id,
        helpful=vote.helpful,
        memory_ids=vote.memories,
    )
    await _refresh(services, observed.owners | voted.owners)
    return Feedback(request_id=request_id, helpful=vote.helpful, memories=list(voted.memories))


@router.post("/memories/{memory_id}/feedback")
async def vote_on_memory(
    services: CurrentServices, caller: Writer, memory_id: UUID, vote: MemoryVote
) -> Memory:
    """One vote of each token on a memory; the last one counts."""
    memory = await services.management.memory(caller.org_id, memory_id)
    if not caller.may_see(memory.agent_id):
        raise MemoryNotFoundError
    voted = await services.usefulness.vote_on_memory(
        caller.org_id, memory_id, caller.token.token_id, helpful=vote.helpful
    )
    await _refresh(services, voted.owners)
    now = await services.management.memory(caller.org_id, memory_id)
    return Memory.of(now, with_content=caller.sees_content)


async def _refresh(services: Services, owners: Iterable[Owner]) -> None:
    """The hot lists follow at once; without Redis, when it is back."""
    try:
        for owner in owners:
            await services.hot.refresh(owner.org_id, owner.agent_id, owner.user_id)
    except CacheUnavailableError:
        _log.warning("hot lists were not refreshed: Redis does not answer")
