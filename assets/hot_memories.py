"""The memories that are at hand in Redis."""

import time

from dagster import AssetExecutionContext, Failure, ResourceParam, asset

from assets.each import each, error_code
from assets.memories import LearnedSession
from assets.session_episodes import RecordedSession
from assets.stores import GROUP, OWNERS, Stores

_AT_ONCE = 4


@asset(group_name=GROUP, owners=OWNERS, kinds={"redis"})
def hot_memories(
    context: AssetExecutionContext,
    stores: ResourceParam[Stores],
    session_episodes: list[RecordedSession],
    memories: list[LearnedSession],
) -> None:
    """The 50 memories that matter most of every agent, and of every user, whose have changed.

    A cache: each list is made anew from PostgreSQL and swapped in at once.
    """
    started = time.monotonic()
    changed = [one.job for one in session_episodes if one.written.changed]
    changed += [one.job for one in memories if one.written.changed]
    touched = {(job.org_id, job.agent_id, job.user_id) for job in changed}
    outcomes = stores.wait(
        each(touched, lambda owner: stores.hot.refresh(*owner), at_once=_AT_ONCE)
    )
    if outcomes.failed:
        codes = sorted({error_code(error) for _, error in outcomes.failed})
        raise Failure(
            f"{len(outcomes.failed)} hot lists are stale ({', '.join(codes)}). The memories are "
            "stored and found by search; the lists expire within a day."
        )
    context.add_output_metadata(
        {
            "lists": len(touched),
            "organizations": len({org_id for org_id, _, _ in touched}),
            "memories": sum(outcomes.done),
            "seconds": round(time.monotonic() - started, 3),
        }
    )
