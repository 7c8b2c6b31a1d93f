"""What several users of an agent said."""

import time
from collections import defaultdict
from uuid import UUID

from dagster import AssetExecutionContext, Failure, ResourceParam, asset

from assets.each import each, error_code
from assets.memories import LearnedSession
from assets.stores import GROUP, OWNERS, Stores
from ibex.memory.writing import MemoryWriter
from ibex.stores.promotion import Promotion

_AT_ONCE = 4


@asset(group_name=GROUP, owners=OWNERS, kinds={"postgres"})
def promoted_memories(
    context: AssetExecutionContext,
    stores: ResourceParam[Stores],
    memories: list[LearnedSession],
) -> None:
    """Facts that IBEX_PROMOTION_USERS users of an agent said and nobody denies, as the agent's own.

    Never a wish, nothing personal, nothing that was redacted or waits for a review.
    """
    started = time.monotonic()
    writer = MemoryWriter(stores.database, stores.embedder, stores.settings)
    promotion = Promotion(stores.database, writer, stores.settings.promotion_users)
    learned: defaultdict[tuple[UUID, UUID], list[UUID]] = defaultdict(list)
    for one in memories:
        if one.job.user_id is not None:
            learned[one.job.org_id, one.job.agent_id] += one.written.created

    async def promote(agent: tuple[UUID, UUID]) -> int:
        done = await promotion.promote(*agent, learned[agent], context.run.run_id)
        if done.created:
            await stores.hot.refresh(*agent)
        return len(done.created)

    outcomes = stores.wait(each(learned, promote, at_once=_AT_ONCE))
    if outcomes.failed:
        codes = sorted({error_code(error) for _, error in outcomes.failed})
        raise Failure(
            f"What the users of {len(outcomes.failed)} agents agree on was not promoted "
            f"({', '.join(codes)}). It is when one of them says it again."
        )
    context.add_output_metadata(
        {
            "agents": len(learned),
            "promoted": sum(outcomes.done),
            "seconds": round(time.monotonic() - started, 3),
        }
    )
